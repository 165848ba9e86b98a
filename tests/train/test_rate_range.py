"""The range test finds where training falls and where it diverges, and leaves no trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from train_small import moving_parts, trainer

from modeledge.errors import ModeledgeError
from modeledge.train.rate_range import range_test, smoothed, told


def test_the_trainer_is_left_as_it_was(tmp_path: Path) -> None:
    plain, run = trainer(tmp_path, ema=0.9), trainer(tmp_path, ema=0.9)
    for part in (plain, run):
        part.step()
        part.step()
    before = moving_parts(run)
    found = range_test(run, low=1e-5, high=3.0, steps=30)
    assert moving_parts(run) == before
    assert len(found.rates) == len(found.losses) == len(found.smoothed) > 10
    for _ in range(3):
        assert plain.step().loss == run.step().loss
    assert moving_parts(run) == moving_parts(plain)


def test_rates_rise_exponentially(tmp_path: Path) -> None:
    found = range_test(trainer(tmp_path), low=1e-6, high=1e-4, steps=9)
    assert found.rates == pytest.approx(np.geomspace(1e-6, 1e-4, 9), rel=1e-12)
    assert not found.diverged


def test_a_curve_is_read_where_it_falls_and_where_it_is_lowest() -> None:
    """A made curve: flat, falling fastest around 1e-3, lowest near 1e-2, then a leap."""
    rates = np.geomspace(1e-6, 1.0, 121)
    losses = 4.0 - 2.0 / (1 + np.exp(-4 * (np.log10(rates) + 3))) + np.where(rates > 2e-2, 500 * rates, 0)
    found = told(rates.tolist(), losses.tolist(), True)
    assert 5e-4 < found.steepest < 4e-3  # the smoothing looks back by some steps
    assert 1e-2 < found.lowest < 4e-2
    assert found.suggested == found.lowest / 10


def test_smoothing_is_the_weighted_mean_of_what_was_seen() -> None:
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    for n in range(1, 6):
        weights = 0.9 ** np.arange(n)[::-1]
        assert smoothed(values)[n - 1] == pytest.approx(float(weights @ values[:n] / weights.sum()), rel=1e-12)


@pytest.mark.parametrize("fields", [{"low": 1.0, "high": 0.1}, {"low": 0.0}, {"steps": 3}])
def test_ranges_that_test_nothing_are_refused(tmp_path: Path, fields: dict[str, float]) -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        range_test(trainer(tmp_path), **fields)
