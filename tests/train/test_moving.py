"""Splits in the trainer: what moves, from when on, with what of Adam's counts, and after a stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from train_small import examples, moving_parts, trainer

from modeledge.adapt import STRATEGIES, Strategy
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.model import LMHead, Transformer
from modeledge.seed import Noise
from modeledge.train import Session, Trainer

SPLITS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "probe": (("probe", {}),),
    "freeze": (("freeze", {"first": 1}),),
    "named": (("named", {"only": "tower.blocks.1.attention.*"}),),
    "bitfit": (("bitfit", {}),),
    "lp-ft": (("lp-ft", {"share": 0.5}),),
    "unfreeze": (("unfreeze", {"per": "steps", "every": 4}),),
    "top two of the stack": (("unfreeze", {"per": "steps", "every": 1, "layers": 1}), ("rates", {"decay": 0.4})),
    "new-input": (("new-input", {"body": "frozen"}),),
    "l2-sp": (("l2-sp", {}), ("freeze", {"first": 1})),
}


def made(rows: tuple[tuple[str, dict[str, Any]], ...]) -> tuple[Strategy, ...]:
    return tuple(STRATEGIES[kind](**fields) for kind, fields in rows)


def short(folder: Path, rows: tuple[tuple[str, dict[str, Any]], ...], **fields: Any) -> Trainer:
    return trainer(folder, "label", strategies=made(rows), **fields)


@pytest.mark.parametrize("name", SPLITS)
def test_exactly_the_declared_weights_move(tmp_path: Path, name: str) -> None:
    """Bit for bit, buffers included: what was not in the trainer's list at any step is what it was."""
    run = short(tmp_path, SPLITS[name])
    run.model.add_heads({"lm": LMHead(bias="fixed")}, Noise(0))
    assert [n for n, _ in run.module.named_buffers()] == ["model.heads.lm.bias"]
    before = {n: value.clone() for n, value in run.module.state_dict().items()}
    declared: set[str] = set()
    for _ in run.records(6):
        declared |= run._moving.keys()
    after = run.module.state_dict()
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert changed == declared, changed ^ declared


def test_a_layer_that_begins_late_counts_from_one(tmp_path: Path) -> None:
    """Its first update is Adam's first, of the size of the rate, not one of a stale count."""
    rows = (("unfreeze", {"per": "steps", "every": 2}),)
    fields = {"weight_decay": 0.0, "clip": None, "schedule": "constant", "warmup": 0.0, "learning_rate": 1e-3}
    run = short(tmp_path, rows, judge=None, judge_every=None, **fields)
    name = "model.tower.blocks.0.attention.query.weight"
    moved = []
    for _ in range(10):
        before = run.optimizer.parameters[name].detach().clone()
        run.step()
        moved.append(float((run.optimizer.parameters[name] - before).abs().median().detach()))
    assert moved[:4] == [0.0] * 4
    assert moved[4] == pytest.approx(1e-3, rel=0.01)
    steps = {n.removeprefix("model."): count for n, count in run.optimizer.steps.items()}
    expected = {"heads.": 10, "tower.final_norm.": 10, "tower.blocks.1.": 8, "tower.blocks.0.": 6, "tokens": 4}
    for own, count in steps.items():
        assert count == next(value for prefix, value in expected.items() if own.startswith(prefix)), own
        state = run.optimizer.kernel.state[run.optimizer.parameters[f"model.{own}"]]
        assert float(state["step"]) == count
    assert len(steps) == len(list(run.model.parameters()))


STOPPED: dict[str, tuple[tuple[tuple[str, dict[str, Any]], ...], dict[str, Any]]] = {
    "by steps": ((("unfreeze", {"per": "steps", "every": 3}), ("rates", {"decay": 0.4})), {}),
    "by epochs, no momentum": ((("unfreeze", {"every": 0.5}),), {"optimizer": "sgd", "momentum": 0.0}),
    "on a plateau": ((("unfreeze", {"per": "plateau", "every": 2}),), {"judge_every": 1}),
    "head first": ((("lp-ft", {"share": 0.4}), ("l2-sp", {})), {"restarts": (0.4,), "ema": 0.9}),
}


def falling(model: Transformer) -> Mapping[str, float]:
    """A mark that gets better now and then."""
    total = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
    return {"score": math.sin(1e4 * total)}


def session(folder: Path, name: str) -> Session:
    rows, fields = STOPPED[name]
    run = short(folder, rows, judge=falling, **fields)
    assert run.judge is not None
    run.judge.every = fields.get("judge_every", 3)
    (folder / "run").mkdir(exist_ok=True)
    return Session(folder / "run", run, say=lambda text: None)


@pytest.mark.parametrize("name", STOPPED)
def test_a_stop_in_the_middle_changes_nothing(tmp_path: Path, name: str) -> None:
    whole = session(tmp_path, name)
    sizes = []
    whole.run([lambda record: sizes.append(len(whole.trainer._moving))])
    assert len(set(sizes)) > 1, "nothing was unfrozen"
    for stop in range(1, 10):
        folder = tmp_path / f"stop-{stop}"
        folder.mkdir()
        first = session(folder, name)
        first.run(until=stop)
        second = session(folder, name)
        assert second.resume() == stop
        assert moving_parts(second.trainer) == moving_parts(first.trainer)
        second.run()
        assert moving_parts(second.trainer) == moving_parts(whole.trainer)


def test_a_plateau_without_a_judge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match=r"E-CONFIG: strategies: .*waits for verdicts.*judge_every"):
        short(tmp_path, (("unfreeze", {"per": "plateau"}),), judge=None, judge_every=None)


def test_epochs_are_counted_where_there_are_any(tmp_path: Path) -> None:
    run = short(tmp_path, (("unfreeze", {}),), judge=None, judge_every=None)
    stream = ListStream(examples(), 0)

    class Endless:
        """The same examples, of which nobody says how many there are."""

        fingerprint, replayable = stream.fingerprint, True

        def __iter__(self) -> Any:
            return iter(stream)

        def state_dict(self) -> Any:
            return stream.state_dict()

        def load_state_dict(self, state: Any) -> None:
            stream.load_state_dict(state)

    run.stream = Endless()
    with pytest.raises(ModeledgeError, match="how long an epoch"):
        run.step()
