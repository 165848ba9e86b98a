"""One update of the trainer: the same for every split, and none at all where a number is not finite."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.model import Attention, ClassHead, FeedForward, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import Classify, LabelPrepare, Step
from modeledge.records import Example
from modeledge.train import TrainConfig, Trainer, track


def examples(count: int = 24) -> list[Example]:
    random = np.random.default_rng(0)
    return [Example(i, random.integers(5, 40, random.integers(2, 14)), label=i % 3) for i in range(count)]


def trainer(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, **fields: object) -> Trainer:
    monkeypatch.setattr(TrainConfig, "chosen_dtype", lambda self: dtype)
    stack = Stack(layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Rotary())
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=40), encoder=stack))
    step = Step(model, Classify(LabelPrepare("source", 16, "class"), ClassHead(outputs=3))).to(dtype)
    config = TrainConfig(**{"steps": 5, "batch": 24, "length": 16, "warmup": 0.0, **fields})
    return Trainer(step, ListStream(examples(), 0), config=config, seed=0)


@pytest.mark.parametrize("micro", [1, 2, 3, 4, 6, 8, 12, 24])
def test_every_split_of_a_batch_makes_the_same_update(monkeypatch: pytest.MonkeyPatch, micro: int) -> None:
    whole, split = (trainer(monkeypatch, torch.float64, micro_batch=m) for m in (24, micro))
    for _ in range(2):
        a, b = whole.step(), split.step()
        assert a.loss == pytest.approx(b.loss, rel=1e-12)
        assert a.norm == pytest.approx(b.norm, rel=1e-12)
    for (name, x), (_, y) in zip(whole.module.named_parameters(), split.module.named_parameters(), strict=True):
        assert float((x - y).detach().norm()) <= 1e-10 * float(x.detach().norm()), (
            name
        )  # Adam divides small numbers by small numbers


def nan_scores(model: Transformer, states: torch.Tensor, batch: object) -> torch.Tensor:
    return torch.full((24, 3), torch.nan) * model.tokens.sum()


@pytest.mark.parametrize("place", ["loss", "gradient"])
def test_a_number_that_is_not_finite_stops_before_the_update(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    run = trainer(monkeypatch, torch.float32)
    run.step()
    weight = run.model.tower.blocks[0].feedforward.up.weight
    if place == "loss":
        monkeypatch.setattr(run.module.objective, "read", nan_scores)
    else:
        weight.register_hook(lambda g: g * torch.inf)
    before = {n: p.detach().clone() for n, p in run.module.named_parameters()}
    with pytest.raises(ModeledgeError) as caught:
        run.step()
    assert caught.value.code == "E-NON-FINITE-LOSS"
    assert "step 2" in str(caught.value)
    assert "records 0, 1, 2" in str(caught.value)
    assert all(torch.equal(before[n], p) for n, p in run.module.named_parameters())


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [("constant", 1.0, 1.0), ("linear", 0.5, 0.1), ("cosine", 0.5, None), ("wsd", 1.0, 0.5)],
)
def test_rates_follow_the_step_alone(schedule: str, middle: float, last: float | None) -> None:
    config = TrainConfig(steps=10, warmup=0.0, schedule=schedule, learning_rate=1.0)
    assert config.rate(5) == pytest.approx(middle)
    if last is not None:
        assert config.rate(9) == pytest.approx(last)
    warm = TrainConfig(steps=100, warmup=0.1, learning_rate=1.0, schedule="constant")
    assert [warm.rate(s) for s in (0, 4, 50)] == pytest.approx([1 / 11, 5 / 11, 1.0])


def test_an_unknown_tracker_extra_says_what_to_install(tmp_path: object) -> None:
    from modeledge.train.track import TRACKERS

    with pytest.raises(ModeledgeError, match="E-EXTRA"):
        TRACKERS["trackio"](tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_trackers_are_told_each_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins with the calls of the real packages; each of them was tried by hand."""
    told: list[tuple[int, float]] = []

    class Writer:
        def add_scalar(self, key: str, value: float, step: int) -> None:
            told.extend([(step, value)] if key == "loss" else [])

        def flush(self) -> None: ...

    def log(values: dict[str, float], step: int) -> None:
        told.append((step, values["loss"]))

    package = SimpleNamespace(
        SummaryWriter=lambda folder: Writer(), init=lambda **words: SimpleNamespace(log=log), log=log
    )
    monkeypatch.setattr(track, "_needed", lambda name: package)
    listen = track.TRACKERS[name](tmp_path)
    run = trainer(monkeypatch, torch.float32)
    for _ in range(3):
        listen(run.step())
    assert [step for step, _ in told] == [1, 2, 3]
    assert all(loss > 0 for _, loss in told)
