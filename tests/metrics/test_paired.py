"""Marks over several seeds, drawn again together: the mean case is `paired_difference`, the others a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, drawn, drawn_difference, paired_difference
from modeledge.seed import Noise

RNG = np.random.default_rng(3)
TRUTH = RNG.integers(0, 3, 60)
ONE = [(np.where(RNG.random(60) < 0.7, TRUTH, RNG.integers(0, 3, 60)), TRUTH) for _ in range(3)]
OTHER = [(np.where(RNG.random(60) < 0.4, TRUTH, RNG.integers(0, 3, 60)), TRUTH) for _ in range(3)]


def test_for_a_mean_over_items_it_is_the_paired_difference() -> None:
    a, b = (np.stack([guess == truth for guess, truth in runs]).astype(float) for runs in (ONE, OTHER))
    known = paired_difference(a, b, seed=4, n=400)
    accuracy = METRICS["accuracy"]
    found = drawn_difference(drawn(accuracy, ONE, seed=4, n=400), drawn(accuracy, OTHER, seed=4, n=400))
    assert (found.mean, found.low, found.high, found.p) == pytest.approx((known.mean, known.low, known.high, known.p))


@pytest.mark.parametrize("name", ["f1_macro", "bleu", "exact_match"])
def test_each_draw_marks_every_run_anew(name: str) -> None:
    words = np.array(["a red fox ran by", "two old dogs sat still", "we saw the sea at dawn"])
    runs = ONE if name == "f1_macro" else [(list(words[g]), [[str(w)] for w in words[t]]) for g, t in ONE]
    noise = Noise(7).at("paired_difference")
    rows = noise.at("seeds").generator().integers(0, 3, size=(40, 3))
    cols = noise.at("items").generator().integers(0, 60, size=(40, 60))
    metric = METRICS[name]

    def mark(side: tuple[object, object], chosen: np.ndarray) -> float:
        guess, truth = (np.asarray(s) if name == "f1_macro" else s for s in side)
        return metric([guess[i] for i in chosen], [truth[i] for i in chosen])  # type: ignore[index]

    loop = [np.mean([mark(runs[s], col) for s in row]) for row, col in zip(rows, cols, strict=True)]
    found = drawn(metric, runs, seed=7, n=40)
    assert found.marks == pytest.approx(loop, abs=1e-12)
    assert found.value == pytest.approx(np.mean([metric(*side) for side in runs]))
    low, high = found.interval
    assert low <= found.value <= high


def test_what_does_not_pair_is_refused() -> None:
    accuracy = METRICS["accuracy"]
    short = [(guess[:50], truth[:50]) for guess, truth in ONE]
    for runs in ([ONE[0], short[0]], []):
        with pytest.raises(ModeledgeError, match="E-LENGTH-MISMATCH"):
            drawn(accuracy, runs, seed=0, n=5)
    for runs in (short, ONE[:2]):
        with pytest.raises(ModeledgeError, match="E-LENGTH-MISMATCH"):
            drawn_difference(drawn(accuracy, ONE, seed=0, n=5), drawn(accuracy, runs, seed=0, n=5))
    with pytest.raises(ModeledgeError, match="E-SCORES"):
        drawn(METRICS["distinct_1"], [(["a b", "b c"], [[""], [""]])], seed=0, n=5)
