"""What the quickstart says of its figures, in words."""

from __future__ import annotations

import numpy as np
import pytest

from modeledge.metrics import Interval
from modeledge.recipes.quickstart import story
from modeledge.recipes.quickstart.grid import FULL, SCRATCH, SVD, TFIDF, Gain, gains
from modeledge.recipes.quickstart.run import QuickstartRecipe, command
from modeledge.recipes.quickstart.study import Cell

LONG = {"decoder": 700, "encoder": 1100}


def gain(low: float, mean: float, high: float, ahead: float = 0.1, task: str = "section") -> Gain:
    beside = Interval(ahead, ahead - 0.01, ahead + 0.01, 0.01)
    return Gain("decoder", task, 300, Interval(mean, low, high, 0.05), beside, TFIDF)


def texts(*gained: Gain, steps: dict[str, int] = LONG) -> list[str]:
    return [text for text, _ in story.verdicts(gained, steps)]


def test_help_harm_and_neither_are_told_apart() -> None:
    said = texts(gain(0.01, 0.05, 0.09), gain(-0.09, -0.05, -0.01, task="pair"), gain(-0.01, 0.01, 0.03, task="other"))
    assert [text.split(":")[0] for text in said] == [
        "Pre-training helped",
        "Pre-training hurt",
        "No clear difference from a random start",
    ]
    assert "section, 300 labels (+5.0 points)" in said[0]
    assert "pair, 300 labels (-5.0 points)" in said[1]


def test_a_classical_baseline_that_is_ahead_is_named() -> None:
    assert f"{TFIDF} by 20.0 points" in texts(gain(0.01, 0.05, 0.09, ahead=-0.2))[-1]


@pytest.mark.parametrize(("steps", "short"), [({"decoder": 40, "encoder": 1000}, True), (LONG, False)])
def test_a_short_pre_training_is_said_first(steps: dict[str, int], short: bool) -> None:
    first = texts(gain(-0.09, -0.05, -0.01), steps=steps)[0]
    assert ("decoder, 40 steps" in first and "encoder" not in first) is short


def test_the_headline_takes_only_what_is_shown() -> None:
    assert story.best_gain([gain(-0.01, 0.2, 0.4), gain(0.01, 0.05, 0.09)]).value == "+5.0 points"
    assert story.best_gain([gain(-0.01, 0.2, 0.4)]).value == "none shown"


def test_gains_pair_the_same_seeds_and_rows() -> None:
    random = np.random.default_rng(0)
    base = [(random.random(400) < 0.4).astype(float) for _ in range(3)]
    better = [np.maximum(row, random.random(400) < 0.1) for row in base]
    made = {FULL: better, SCRATCH: base}
    cells = [Cell("decoder", "section", arm, 300, correct=rows) for arm, rows in made.items()]
    cells += [Cell("classical", "section", arm, 300, correct=base) for arm in (TFIDF, SVD)]
    (found,) = gains(cells)
    exact = np.mean(better) - np.mean(base)
    assert found.over_scratch.mean == pytest.approx(exact)
    assert 0 < found.over_scratch.low < exact < found.over_scratch.high < 2 * exact


def test_the_command_says_all_that_was_asked() -> None:
    assert command(QuickstartRecipe(seed=3, minutes=0.5)) == "modeledge quickstart --minutes 0.5 --seed 3"
    assert command(QuickstartRecipe(minutes=8, full=True)) == "modeledge quickstart --minutes 8 --seed 0 --full"
