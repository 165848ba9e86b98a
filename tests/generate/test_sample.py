"""Settings of sampling that are no numbers are refused, not computed with."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.generate import Sampling
from modeledge.seed import Noise


@pytest.mark.parametrize("field", ["temperature", "top_p"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_settings_are_finite(field: str, value: float) -> None:
    with pytest.raises(ModeledgeError) as caught:
        Sampling(**{field: value})  # type: ignore[arg-type]
    assert caught.value.code == "E-USAGE"


def test_the_ends_of_the_ranges_are_allowed() -> None:
    assert Sampling(temperature=0.0, top_p=1.0).temperature == 0


@pytest.mark.parametrize("fields", [{"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_p": math.nan}])
def test_cuts_that_keep_nothing_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        Sampling(temperature=1.0, **fields)  # type: ignore[arg-type]


def test_shares_are_those_of_the_formula() -> None:
    """softmax(scores / T) over the k best, cut where the better ones reach p."""
    scores = torch.tensor([[2.0, 0.0, 1.0, -1.0]])
    shares, ids = Sampling(temperature=0.5, top_k=3, top_p=0.9).shares(scores)
    warm = np.exp(np.array([2.0, 1.0, 0.0]) / 0.5)
    warm /= warm.sum()
    kept = np.array([warm[0], warm[1], 0.0])  # 0.867 is short of 0.9, with the next it is reached
    assert ids.tolist() == [[0, 2, 1]]
    np.testing.assert_allclose(shares[0].numpy(), kept / kept.sum(), rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e-40, 1e-37, 5e-324])
def test_a_temperature_next_to_nothing_is_greedy(temperature: float) -> None:
    """Scores divided by it are infinite alike in fp32, so that any token was taken for the best."""
    scores = torch.tensor([[1.0, 2.0, 3.0, 30.0, -math.inf]])
    for seed in range(4):
        assert int(Sampling(temperature=temperature).choose(scores, [Noise(seed)])[0]) == 3
