"""A run that was stopped goes on as if nothing had happened: bit for bit, whatever stopped it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from train_small import examples, moving_parts, rates, trainer

from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.train import Session, StepRecord, Stopped

CASES = {
    "masked": ("masked", {}),
    "causal, momentum": ("causal", {"optimizer": "sgd", "learning_rate": 0.1}),
    "causal, no momentum": ("causal", {"optimizer": "sgd", "momentum": 0.0}),
    "label, split batches": ("label", {"micro_batch": 2, "schedule": "wsd"}),
    "masked, recomputed": ("masked", {"recompute": True}),
    "label, unpacked, bf16": ("label", {"packed": False, "precision": "bf16"}),
}


def start(folder: Path, case: str, **fields: object) -> Session:
    kind, more = CASES[case]
    run = trainer(folder, kind, strategies=rates() if kind == "label" else (), **{**more, **fields})
    (folder / "run").mkdir(exist_ok=True)
    return Session(folder / "run", run, say=lambda text: None)


@pytest.mark.parametrize("case", CASES)
def test_a_stop_at_any_step_changes_nothing(tmp_path: Path, case: str) -> None:
    whole = start(tmp_path, case)
    whole.run()
    told = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    for stop in range(1, 10):
        folder = tmp_path / f"stop-{stop}"
        folder.mkdir()
        first = start(folder, case)
        first.run(until=stop)
        second = start(folder, case)
        assert second.resume() == stop
        assert moving_parts(second.trainer) == moving_parts(first.trainer)
        second.run()
        assert moving_parts(second.trainer) == moving_parts(whole.trainer)
        assert (folder / "run" / "metrics.jsonl").read_bytes() == told


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_with_its_status(tmp_path: Path, number: int, status: int) -> None:
    whole = start(tmp_path, "masked")
    whole.run()
    folder = tmp_path / "signalled"
    folder.mkdir()
    said: list[str] = []
    run = start(folder, "masked")
    run.say = said.append
    with pytest.raises(Stopped) as caught:
        run.run([lambda record: os.kill(os.getpid(), number) if record.step == 4 else None])
    assert caught.value.code == status
    assert "stopped after step 4" in said[-1]
    assert signal.getsignal(number) is not run.run
    again = start(folder, "masked")
    assert again.resume() == 4
    again.run()
    assert moving_parts(again.trainer) == moving_parts(whole.trainer)


def test_a_second_interrupt_ends_at_once_and_the_last_checkpoint_stands(tmp_path: Path) -> None:
    run = start(tmp_path, "masked", save_every=2)

    def impatient(record: StepRecord) -> None:
        if record.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.run([impatient])
    again = start(tmp_path, "masked", save_every=2)
    assert again.resume() == 4
    again.run()


def test_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    start(tmp_path, "causal, momentum").run()
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_lines_of_steps_that_are_run_again_are_forgotten(tmp_path: Path) -> None:
    """A kill leaves metrics of steps after the checkpoint, and a torn last line."""
    run = start(tmp_path, "masked", save_every=3)
    run.run(until=7)
    log = tmp_path / "run" / "metrics.jsonl"
    (tmp_path / "run" / "checkpoints" / "step-7" / "state.json").unlink()
    log.write_text(log.read_text() + '{"step": 8, "lo')
    again = start(tmp_path, "masked", save_every=3)
    assert again.resume() == 6
    again.run()
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 11))


def test_a_metrics_line_that_was_altered_is_refused(tmp_path: Path) -> None:
    start(tmp_path, "masked").run(until=4)
    log = tmp_path / "run" / "metrics.jsonl"
    log.write_text(log.read_text().replace('"step": 2', '"stop": 2'))
    again = start(tmp_path, "masked")
    again.resume()
    with pytest.raises(ModeledgeError, match="E-RUN-FOLDER") as caught:
        again.run()
    assert "metrics.jsonl:2" in str(caught.value)


def test_a_run_that_is_another_run_is_refused(tmp_path: Path) -> None:
    start(tmp_path, "label, split batches").run(until=4)
    kept = start(tmp_path, "label, split batches").checkpoints.load(4)

    def refused(run: Session, code: str = "E-RESUME") -> str:
        with pytest.raises(ModeledgeError) as caught:
            run.trainer.load(*kept)
        assert caught.value.code == code
        return str(caught.value)

    refused(Session(tmp_path, trainer(tmp_path, "label", strategies=rates(), seed=1)))
    other = start(tmp_path, "label, split batches")
    other.trainer.stream = ListStream(examples(23), 0)
    refused(other)
    assert "is sgd" in refused(start(tmp_path, "label, split batches", optimizer="sgd"))
    judged = start(tmp_path, "label, split batches")
    judged.trainer.judge = None
    assert "judge" in refused(judged)


@pytest.mark.parametrize("part", ["exp_avg", "exp_avg_sq", "step"])
def test_optimizer_state_that_is_missing_or_too_much_is_refused(tmp_path: Path, part: str) -> None:
    start(tmp_path, "masked").run(until=3)
    tensors, state = start(tmp_path, "masked").checkpoints.load(3)
    name = next(n for n in tensors if n.endswith(f"|{part}"))
    with pytest.raises(ModeledgeError, match="E-RESUME"):
        start(tmp_path, "masked").trainer.load({n: t for n, t in tensors.items() if n != name}, state)
    with pytest.raises(ModeledgeError, match="E-RESUME"):
        start(tmp_path, "masked").trainer.load({**tensors, f"optimizer|nobody|{part}": tensors[name]}, state)


def test_a_run_without_a_good_checkpoint_says_so(tmp_path: Path) -> None:
    start(tmp_path, "masked").run(until=3)
    for path in (tmp_path / "run" / "checkpoints").glob("*/state.json"):
        path.write_text("{}")
    said: list[str] = []
    again = start(tmp_path, "masked")
    again.say = said.append
    with pytest.raises(ModeledgeError, match="E-NO-CHECKPOINT"):
        again.resume()
    assert "state.json" in said[0]


def test_another_machine_is_mentioned(tmp_path: Path) -> None:
    run = start(tmp_path, "masked")
    run.run(until=3)
    tensors, state = run.checkpoints.load(3)
    state["environment"]["packages"]["torch"] = "1.0"
    run.checkpoints.save(4, tensors, state)
    said: list[str] = []
    again = start(tmp_path, "masked")
    again.say = said.append
    again.resume()
    assert any("1.0" in line and "last bits" in line for line in said)
