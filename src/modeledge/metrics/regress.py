"""Marks for real-valued answers: Pearson's and Spearman's correlation, and the mean squared error.

Correlations ignore scale: a model that is right up to a factor marks 1. Pearson asks for a straight line, Spearman
only for the right order; GLUE's similarity task reports both. The squared error keeps the scale.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modeledge.metrics.metric import Floats, value_pair


def mean_squared_error(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The mean of (prediction − label)², in squared units of the label."""
    guess, truth = value_pair(predictions, labels)
    return float(np.mean((guess - truth) ** 2))


def pearson(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Pearson's correlation, −1 … 1; 0 where one side is constant, which orders nothing."""
    return correlation(*value_pair(predictions, labels))


def spearman(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Spearman's rank correlation, −1 … 1, ties sharing their mean rank; 0 where one side is constant."""
    guess, truth = value_pair(predictions, labels)
    return correlation(ranks(guess), ranks(truth))


def correlation(first: Floats, second: Floats) -> float:
    """The cosine of two centred vectors, each scaled first so that large values cannot overflow."""
    sides = []
    for side in (first, second):
        if np.all(side == side[0]):  # exact: the centred values of a constant need not be exactly 0
            return 0.0
        scaled = side / np.max(np.abs(side))
        centred = scaled - scaled.mean()
        norm = np.linalg.norm(centred)
        if norm == 0:
            return 0.0
        sides.append(centred / norm)
    return float(np.clip(sides[0] @ sides[1], -1.0, 1.0))


def ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their places."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank: Floats = np.cumsum(counts) - (counts - 1) / 2
    return mean_rank[places]
