"""Marks for classes that have an order (one to five stars): how far off, not only whether right.

The mean absolute error counts steps. Quadratic weighted kappa (Cohen 1968, Psychological Bulletin 70(4)) divides the
mean squared step by what it would be if predictions and labels were paired at random, and takes it from 1: 1 is
perfect, 0 is no better than chance, and a constant answer is 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modeledge.metrics.metric import Floats, Tally, label_pair, mean_of


def mean_absolute_error(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """The mean of |prediction − label|, in classes."""
    guess, truth = label_pair(predictions, labels)
    return mean_of(np.abs(guess - truth).astype(np.float64))


def weighted_kappa(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """Quadratic weighted kappa, ≤ 1; 0 where both sides are one and the same constant, which knows nothing.

    With Σ over items, the mean squared step of random pairs is (nΣp² + nΣt² − 2ΣpΣt) / n²: sums are all it needs.
    """
    guess, truth = label_pair(predictions, labels)
    lowest = min(guess.min(), truth.min())
    p, t = (guess - lowest).astype(np.float64), (truth - lowest).astype(np.float64)
    return Tally(np.column_stack([np.ones(len(p)), (p - t) ** 2, p, t, p**2 + t**2]), kappa, "weights:quadratic")


def kappa(sums: Floats) -> Floats:
    """1 − observed / expected, off the sums (n, Σ(p − t)², Σp, Σt, Σp² + Σt²)."""
    n, off, p, t, squares = np.moveaxis(sums, -1, 0)
    expected = n * squares - 2 * p * t
    known = expected > 1e-12 * n * squares  # two equal constants: 0 but for rounding
    return np.asarray(np.where(known, 1 - n * off / np.where(known, expected, 1), 0.0), np.float64)
