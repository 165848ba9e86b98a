"""Ordered classes: probabilities out of ordered thresholds, at ordinary and extreme scores."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objectives_small import config

from modeledge.errors import ModeledgeError
from modeledge.families.heads import heads_as_plain, heads_from_plain
from modeledge.model import OrdinalHead, Transformer
from modeledge.objectives.ordinal import class_logs
from modeledge.seed import Noise
from modeledge.tasks.ordinal import thresholds

START = (-2.0, 0.5, 3.0)
numbers = st.floats(-3, 3)


def head(moves: list[float] | None = None) -> Any:
    model = Transformer(config("decoder"))
    model.add_heads({"ordinal": OrdinalHead(start=START, pool="last")}, Noise(0))
    made = model.heads["ordinal"]
    if moves is not None:
        with torch.no_grad():
            made.bias.copy_(torch.tensor(moves))  # type: ignore[operator,union-attr]
    return made


def test_a_fresh_head_begins_at_its_start() -> None:
    assert head().thresholds().tolist() == pytest.approx(START, abs=1e-6)


@given(st.lists(numbers, min_size=3, max_size=3))
def test_thresholds_rise_whatever_is_learned(moves: list[float]) -> None:
    assert head([10 * move for move in moves]).thresholds().diff().min() > 0


@given(numbers, st.lists(numbers, min_size=3, max_size=3))
def test_probabilities_are_differences_of_sigmoids(score: float, moves: list[float]) -> None:
    """In float64, against the formula as it is written (McCullagh 1980): its own error is about 1e-16 absolute."""
    logits = head(moves).thresholds().detach().double()[None] - score
    shares = class_logs(logits)[0].exp().numpy()
    below = np.array([0.0, *(1 / (1 + np.exp(-logits[0].numpy()))), 1.0])
    assert shares == pytest.approx(np.diff(below), abs=1e-12)
    assert shares.sum() == pytest.approx(1.0)


def test_the_answer_never_falls_where_the_score_rises() -> None:
    scores = torch.linspace(-9, 9, 200)[:, None]
    shares = class_logs(torch.tensor([START]) - scores).exp()
    median = (shares.cumsum(1)[:, :-1] < 0.5).sum(1)
    assert (median.diff() >= 0).all()
    assert median.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("score", [-1e4, -50.0, 50.0, 1e4])
def test_extreme_scores_have_finite_losses_and_gradients(score: float) -> None:
    read = torch.tensor([[score]], requires_grad=True)
    logs = class_logs(torch.tensor([START]) - read)
    logs.sum().backward()
    assert torch.isfinite(logs).all()
    assert read.grad is not None
    assert torch.isfinite(read.grad).all()


def test_thresholds_begin_around_the_mean_class() -> None:
    assert thresholds(2.0, 5) == (-6.0, -2.0, 2.0, 6.0)
    assert thresholds(0.5, 2) == (0.0,)


def test_the_head_in_a_file() -> None:
    spec = OrdinalHead(start=START, hidden=True, dropout=0.1)
    plain = heads_as_plain({"ordinal": spec})
    assert heads_from_plain({"ordinal": {**plain["ordinal"], "start": list(START)}}) == {"ordinal": spec}
    for start in ([], [1.0, 1.0], [2, 1], [float("nan")], "ab", 3, [True, 2]):
        with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: heads.ordinal.start"):
            heads_from_plain({"ordinal": {"kind": "ordinal", "start": start}})
    with pytest.raises(ModeledgeError, match="start is missing"):
        heads_from_plain({"ordinal": {"kind": "ordinal"}})
    assert {f.name for f in dataclasses.fields(spec)} == plain["ordinal"].keys() - {"kind"}
