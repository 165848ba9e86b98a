"""Each schedule against its formula, written again from the paper."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from modeledge.train import TrainConfig

STEPS = 200


def rates(schedule: str, **fields: object) -> list[float]:
    config = TrainConfig(steps=STEPS, schedule=schedule, learning_rate=2.0, **fields)
    return [config.rate(step) for step in range(STEPS)]


def test_inverse_square_root_is_the_one_of_2017() -> None:
    """lr = d^-0.5 · min(n^-0.5, n · W^-1.5), scaled so that its peak, at n = W, is the rate that was asked for."""
    warm, d = 41, 512
    paper = [d**-0.5 * min(n**-0.5, n * warm**-1.5) for n in range(1, STEPS + 1)]
    assert rates("inverse_sqrt", warmup=0.2) == pytest.approx([2.0 * r / max(paper) for r in paper], rel=1e-12)


def test_t5_is_flat_and_then_the_inverse_square_root() -> None:
    """1 / √max(n, k), with k = W, over its own first value; no warm-up."""
    paper = [1 / math.sqrt(max(n, 41)) for n in range(1, STEPS + 1)]
    found = rates("t5", warmup=0.2)
    assert found == pytest.approx([2.0 * r / paper[0] for r in paper], rel=1e-12)
    assert found[0] == found[40] == 2.0 > found[41]


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_decays_end_where_they_say(final: float) -> None:
    warm, floor = 20, 2.0 * final
    ramp = [2.0 * (n + 1) / (warm + 1) for n in range(warm)]
    gone = [n / (STEPS - warm) for n in range(STEPS - warm)]
    linear = ramp + [floor + (2.0 - floor) * (1 - g) for g in gone]
    cosine = ramp + [floor + (2.0 - floor) * (1 + math.cos(math.pi * g)) / 2 for g in gone]
    assert rates("linear", warmup=0.1, final=final) == pytest.approx(linear, rel=1e-12)
    assert rates("cosine", warmup=0.1, final=final) == pytest.approx(cosine, rel=1e-12)
    assert rates("constant", warmup=0.1, final=final) == pytest.approx(ramp + [2.0] * (STEPS - warm))


@pytest.mark.parametrize("shape", ["linear", "sqrt"])
def test_warm_up_stable_decay(shape: str) -> None:
    """Hägele et al. 2024, equation 1: f = 1 − √((n − (N − D)) / D) over the last D of N steps, or a line."""
    cooled = 50
    form = (lambda g: 1 - g) if shape == "linear" else (lambda g: 1 - math.sqrt(g))
    told = [2.0] * (STEPS - cooled) + [2.0 * form(n / cooled) for n in range(cooled)]
    assert rates("wsd", warmup=0.0, cooldown=0.25, cooldown_shape=shape) == pytest.approx(told, rel=1e-12)


def test_a_longer_run_begins_like_a_shorter_one_where_no_end_is_looked_at() -> None:
    for schedule in ("constant", "inverse_sqrt", "t5"):
        short = TrainConfig(steps=100, warmup=0.1, schedule=schedule)
        long = TrainConfig(steps=1000, warmup=0.01, schedule=schedule)
        assert [short.rate(n) for n in range(100)] == [long.rate(n) for n in range(100)]


@pytest.mark.parametrize(("ratio", "cut_frac"), [(32.0, 0.1), (10.0, 0.25)])
def test_the_slanted_triangle_is_equation_3(ratio: float, cut_frac: float) -> None:
    """Howard and Ruder 2018, section 3.2, as it is printed, t = 0, 1, …; the cut is whole here."""
    cut = math.floor(STEPS * cut_frac)
    paper = []
    for t in range(STEPS):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        paper.append(2.0 * (1 + p * (ratio - 1)) / ratio)
    found = rates("slanted", warmup=cut_frac, ratio=ratio)
    assert found == pytest.approx(paper, rel=1e-12)
    assert found[0] == 2.0 / ratio
    assert max(found) == found[cut] == 2.0
    odd = TrainConfig(steps=15, schedule="slanted", warmup=0.1, learning_rate=1.0)
    assert min(odd.rate(n) for n in range(15)) == 1 / 32, "the printed form falls below its own floor here"


@pytest.mark.parametrize("schedule", ["linear", "cosine", "slanted", "wsd"])
def test_restarts_are_runs_one_after_the_other(schedule: str) -> None:
    whole = rates(schedule, warmup=0.1, restarts=(0.25, 0.6), final=0.05)
    parts = [TrainConfig(steps=n, schedule=schedule, learning_rate=2.0, warmup=0.1, final=0.05) for n in (50, 70, 80)]
    assert whole == [part.rate(step) for part in parts for step in range(part.steps)]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mean_of_last": 2}, "save_every"),
        ({"mean_of_last": 2, "save_every": 5, "ema": 0.9}, "ema"),
        ({"mean_of_last": 2, "save_every": 5, "judge_every": 5}, "judge_every"),
        ({"ema": 1.0}, "ema"),
        ({"restarts": (0.5, 0.2)}, "rising shares"),
        ({"restarts": (0.0,)}, "rising shares"),
        ({"base_width": 8, "optimizer": "sgd"}, "adamw"),
    ],
)
def test_averages_that_contradict_are_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TrainConfig(**fields)
