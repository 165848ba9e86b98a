"""What one update does, against torch's own optimizers and plain formulas; the judge; recomputation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from train_small import counted, moving_parts, rates, trainer

from modeledge.adapt.strategy import Clock, Group, Neutral
from modeledge.errors import ModeledgeError
from modeledge.model.transformer import Transformer
from modeledge.train import Judge, TrainConfig
from modeledge.train.optim import Optimizer


def weights(count: int = 3) -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (5,), (2, 2, 2)]
    return {f"w{n}": torch.nn.Parameter(torch.randn(shapes[n], generator=generator)) for n in range(count)}


def gradients(step: int, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step + 1)
    return [torch.randn(p.shape, generator=generator) for p in parameters]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_updates_are_those_of_torch(kind: str, decay: float) -> None:
    """Matrices decay, vectors do not: two groups of torch's optimizer, not fused."""
    config = TrainConfig(optimizer=kind, weight_decay=decay, beta1=0.8, beta2=0.95, eps=1e-6, momentum=0.7)
    ours, theirs = weights(), list(weights().values())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in theirs if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in theirs if p.ndim < 2], "weight_decay": 0.0},
    ]
    if kind == "adamw":
        oracle: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.8, 0.95), eps=1e-6, fused=False)
    else:
        oracle = torch.optim.SGD(groups, lr=1.0, momentum=0.7, fused=False)
    optimizer = Optimizer(ours, config)
    for step in range(5):
        rate = 0.1 / (step + 1)
        for mine, other, gradient in zip(ours.values(), theirs, gradients(step, theirs), strict=True):
            mine.grad, other.grad = gradient.clone(), gradient.clone()
        for group in oracle.param_groups:
            group["lr"] = rate
        optimizer.update(rate, dict.fromkeys(ours, 1.0))
        oracle.step()
        for mine, other in zip(ours.values(), theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_a_late_mover_counts_its_own_steps() -> None:
    """Adam's first update is about the rate in each direction: also for a weight whose first update is the tenth."""
    parameters = weights()
    optimizer = Optimizer(parameters, TrainConfig(weight_decay=0.0))
    before = parameters["w2"].detach().clone()
    for step in range(10):
        for parameter, gradient in zip(parameters.values(), gradients(step, list(parameters.values())), strict=True):
            parameter.grad = gradient
        optimizer.update(0.01, {"w0": 1.0, "w1": 1.0} | ({"w2": 1.0} if step == 9 else {}))
    moved = (parameters["w2"].detach() - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=0.0)
    assert optimizer.state_dict()["steps"] == {"w0": 10, "w1": 10, "w2": 1}
    assert {n.split("|")[0] for n in optimizer.tensors()} == {"w0", "w1", "w2"}


def test_factors_scale_the_rate() -> None:
    one, half = weights(1), weights(1)
    start = one["w0"].detach().clone()
    for parameters, factor in ((one, 1.0), (half, 0.5)):
        parameters["w0"].grad = torch.ones(4, 3)
        Optimizer(parameters, TrainConfig(weight_decay=0.0)).update(0.1, {"w0": factor})
    torch.testing.assert_close(start - one["w0"].detach(), 2 * (start - half["w0"].detach()))


def test_clipping_scales_all_gradients_by_one_number(tmp_path: Path) -> None:
    """SGD without momentum: the length of the step is the rate times the clipped norm."""
    fields: dict[str, Any] = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "learning_rate": 0.5,
    }
    run = trainer(tmp_path, "causal", clip=0.01, schedule="constant", **fields)
    before = {n: p.detach().clone() for n, p in run.module.named_parameters()}
    record = run.step()
    assert record.norm > 0.01
    moved = math.sqrt(
        sum(float((p.detach() - before[n]).double().square().sum()) for n, p in run.module.named_parameters())
    )
    assert moved == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_the_norm_is_that_of_all_gradients(tmp_path: Path) -> None:
    """Clipped or not, the record says the norm before clipping."""
    loose, tight = (trainer(tmp_path, "causal", clip=clip).step() for clip in (None, 1e-3))
    assert loose.norm == tight.norm
    assert loose.loss == tight.loss


@pytest.mark.parametrize("kind", ["masked", "causal", "label"])
def test_recomputed_blocks_change_no_bit(tmp_path: Path, kind: str) -> None:
    runs = [trainer(tmp_path, kind, recompute=recompute) for recompute in (False, True)]
    for _ in range(3):
        first, second = (run.step() for run in runs)
        assert (first.loss, first.norm) == (second.loss, second.norm)
    assert moving_parts(runs[0]) == moving_parts(runs[1])


def test_a_record_says_what_was_read(tmp_path: Path) -> None:
    run = trainer(tmp_path, "label", micro_batch=2)
    record = run.step()
    shown = [run.stream.at(n) for n in range(4)]  # type: ignore[attr-defined]
    assert record.examples == 4
    assert record.tokens == sum(len(e.ids) for e in shown)
    assert record.loss == pytest.approx(sum(record.terms.values()))
    assert record.step == 1


def test_a_run_ends_where_its_stream_ends(tmp_path: Path) -> None:
    run = trainer(tmp_path, "label", judge=None, steps=100)
    run.stream._epochs = 1  # type: ignore[attr-defined]
    run.fit()
    assert run.done == 6


# ---- what a strategy adds


class Pull(Neutral):
    """Moves all, and adds half the squared distance from 0 of one vector to the loss."""

    seen: list[Clock]

    def __init__(self) -> None:
        self.seen = []

    def moving(self, model: Transformer, clock: Clock) -> Sequence[Group]:
        return (Group(tuple(n for n, _ in model.named_parameters())),)

    def penalty(self, model: Transformer, clock: Clock) -> torch.Tensor:
        return 0.5 * model.tokens.square().sum()

    def after_step(self, model: Transformer, clock: Clock) -> None:
        assert model.tokens.grad is not None
        self.seen.append(clock)


@pytest.mark.parametrize("micro", [4, 1])
def test_a_penalty_counts_once_whatever_the_split(tmp_path: Path, micro: int) -> None:
    plain, pulled = (trainer(tmp_path, "causal", strategies=s, micro_batch=micro, judge=None) for s in ((), (Pull(),)))
    size = 0.5 * float(pulled.model.tokens.detach().square().sum())
    assert pulled.step().loss - plain.step().loss == pytest.approx(size, rel=1e-4)
    assert pulled.strategies[0].seen == [Clock(0, 10, 0.0, {})]  # type: ignore[attr-defined]


# ---- the judge


def judge_of(values: Sequence[float], **fields: Any) -> Judge:
    told = iter(values)
    return Judge(lambda model: {"score": next(told)}, "score", every=1, **fields)


MODEL: Any = torch.nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("values", "greater", "best", "step"),
    [
        ([0.1, 0.3, 0.2], True, 0.3, 2),
        ([0.1, 0.3, 0.2], False, 0.1, 1),
        ([0.3, 0.3], True, 0.3, 1),
        ([math.nan, 0.1, math.nan], True, 0.1, 2),
        ([math.nan, math.nan], True, None, None),
    ],
)
def test_the_best_is_the_first_best_number(
    values: list[float], greater: bool, best: float | None, step: int | None
) -> None:
    judge = judge_of(values, greater=greater)
    for number in range(1, len(values) + 1):
        judge.mark(MODEL, number)
    assert (judge.best, judge.best_step) == (best, step)


def test_patience_counts_verdicts_without_a_better_one() -> None:
    judge = judge_of([0.5, 0.4, 0.6, 0.6, math.nan], patience=2)
    stops = []
    for number in range(1, 6):
        judge.mark(MODEL, number)
        stops.append(judge.stop)
    assert stops == [False, False, False, False, True]


def test_a_judge_goes_on_where_it_was() -> None:
    first = judge_of([0.5, 0.4], patience=2)
    first.mark(MODEL, 1)
    second = judge_of([0.4], patience=2)
    second.load_state_dict(first.state_dict())
    second.mark(MODEL, 2)
    first.mark(MODEL, 2)
    assert second.state_dict() == first.state_dict()


def test_marking_leaves_the_modes_as_they_were(tmp_path: Path) -> None:
    run = trainer(tmp_path, "label", strategies=rates())
    seen = []

    def evaluate(model: Transformer) -> dict[str, float]:
        seen.append(any(m.training for m in model.modules()))
        raise ZeroDivisionError

    before = [m.training for m in run.model.modules()]
    with pytest.raises(ZeroDivisionError):
        Judge(evaluate, "score", every=1).mark(run.model, 1)
    assert seen == [False]
    assert [m.training for m in run.model.modules()] == before


def test_an_early_stop_ends_the_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, "masked", judge=lambda model: {"score": 0.0}, patience=2, steps=100)
    run.fit()
    assert run.done == 9  # the first verdict at 3 is the best; those at 6 and 9 are not better
    assert run.judge is not None
    assert run.judge.best_step == 3


def test_the_last_step_is_marked_too(tmp_path: Path) -> None:
    run = trainer(tmp_path, "masked", judge=counted, steps=4)
    marked = [record.step for record in run.records() if record.scores]
    assert marked == [3, 4]


def test_examples_that_see_each_other_are_not_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modeledge.objectives import CausalLM

    monkeypatch.setattr(CausalLM, "couples", True)
    with pytest.raises(ModeledgeError, match="E-SPLIT"):
        trainer(tmp_path, "causal", micro_batch=2)
    assert trainer(tmp_path, "causal", micro_batch=4).step().step == 1


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_an_absent_device_is_named(device: str) -> None:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if present[device]:
        assert TrainConfig(device=device).chosen_device().type == device
    else:
        with pytest.raises(ModeledgeError, match="E-DEVICE"):
            TrainConfig(device=device).chosen_device()
