"""Does a model that says 80 % come true 80 % of the time?

The expected calibration error sorts answers into bins by their confidence and compares, bin by bin, the mean
confidence with the share that was right (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599, equation 3). It is 0
for a model that always gives the base rate. Brier's score and the negative log-likelihood are proper scores: only the
true probabilities are best for them, so they ask for sharpness too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Floats, Ids, Tally, finite, label_ids, mean_of, same_length

BINS = 15  # Guo et al. 2017, table 1
SMALLEST = 2.0**-149  # the least positive float32
SUM_TOLERANCE = 1e-2  # bf16 softmax rows miss 1 by up to 2^-8; logits miss it by far more


@dataclass(frozen=True)
class Reliability:
    """The numbers of a reliability diagram, lowest confidence first: for each bin its upper border, the mean confidence
    and the share that was right (NaN where it is empty), and how many items it holds; all `[bins]`."""

    upper: Floats
    confidence: Floats
    accuracy: Floats
    count: Ids


def calibration_error(predictions: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = BINS) -> float:
    """The expected calibration error, 0 … 1, over equally wide bins of the winning class's probability.

    `predictions` are probabilities `[items, classes]` whose rows sum to one; `labels` are class ids `[items]`. A
    confidence on a border belongs to the lower bin, as in Guo et al. Logits are refused with `E-SCORES`.
    """
    confidence, right, place = binned(predictions, labels, bins)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(right))


def reliability(predictions: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = BINS) -> Reliability:
    """What a reliability diagram draws, from the same bins as `calibration_error` (Guo et al. 2017, figure 1)."""
    confidence, right, place = binned(predictions, labels, bins)
    count = np.bincount(place, minlength=bins)
    held = np.where(count > 0, count, np.nan)
    sums = [np.bincount(place, weights=values, minlength=bins) / held for values in (confidence, right)]
    return Reliability(np.arange(1, bins + 1) / bins, sums[0], sums[1], count)


def brier(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """Brier's score (1950, Monthly Weather Review 78(1)): the mean of Σ over classes (probability − truth)², 0 … 2.

    Both halves of a two-class problem count, so it is twice the binary form that some libraries give.
    """
    chances, truth = probability_pair(predictions, labels)
    return mean_of(np.sum((chances - np.eye(chances.shape[1])[truth]) ** 2, axis=1), "classes:all")


def negative_log_likelihood(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """The mean of −ln of the true class's probability, in nats.

    A probability of 0 (an underflow, or a claim of certainty) is read as the smallest that float32 tells from it.
    """
    chances, truth = probability_pair(predictions, labels)
    true = chances[np.arange(len(truth)), truth]
    return mean_of(-np.log(np.maximum(true, SMALLEST)), "unit:nat|floor:2^-149")


def binned(predictions: npt.ArrayLike, labels: npt.ArrayLike, bins: int) -> tuple[Floats, Floats, Ids]:
    """For each item its confidence, whether it is right, and its bin."""
    if bins < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"bins is {bins}", remedy="pass at least 1")
    chances, truth = probability_pair(predictions, labels)
    confidence = chances.max(axis=1)
    right = (chances.argmax(axis=1) == truth).astype(np.float64)
    return confidence, right, np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def probability_pair(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Ids]:
    """Probabilities `[items, classes]` whose rows sum to one, and one class id an item; `E-SCORES` for logits."""
    chances = finite(predictions, "predictions")
    if chances.ndim != 2:
        raise ModeledgeError("E-SCORES", f"predictions must be [items, classes], not {list(chances.shape)}")
    truth = label_ids(labels, "labels", chances.shape[1])
    same_length(chances, truth)
    off = np.abs(chances.sum(axis=1) - 1) > SUM_TOLERANCE
    wrong = off | (chances < 0).any(axis=1) | (chances > 1 + SUM_TOLERANCE).any(axis=1)
    if wrong.any():
        item = int(np.argmax(wrong))
        what = f"the row sums to {chances[item].sum():.4g} with a smallest value of {chances[item].min():.4g}"
        raise ModeledgeError("E-SCORES", what, where=f"predictions[{item}]", remedy="pass probabilities, not logits")
    return chances, truth
