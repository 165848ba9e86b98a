"""Temperature scaling: one number that makes a classifier's confidence honest.

Guo et al. 2017 (arXiv 1706.04599, section 4.2). Logits are divided by T before the softmax. The order of the classes
does not change, so neither does any answer, only how sure it is. T is fitted on *validation* data by the least negative
log-likelihood, which is convex in β = 1/T: its slope is Σ (mean logit under the softmax − true logit), which only grows
with β, so halving an interval finds its zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Floats, Ids, finite, label_ids, same_length

LEAST, MOST = 1e-4, 1e4  # the temperatures that are searched


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature that makes labels `[items]` likeliest under softmax(logits / T), logits `[items, classes]`.

    Log-probabilities are logits too. Raises `E-SCORES` where no temperature is best: every item right by any margin
    (T → 0), or the logits no better than chance (T → ∞).
    """
    scores, truth = logit_pair(logits, labels)
    low, high = np.log(1 / MOST), np.log(1 / LEAST)
    if slope(scores, truth, np.exp(low)) >= 0:
        what = "the logits say no more of the labels than chance, so no temperature is best"
        raise ModeledgeError("E-SCORES", what, remedy="check that logits and labels belong together")
    if slope(scores, truth, np.exp(high)) <= 0:
        what = "every label has the largest logit, so any lower temperature is better"
        raise ModeledgeError("E-SCORES", what, remedy="fit on more validation items, with mistakes among them")
    while high - low > 1e-12:
        middle = (low + high) / 2
        if slope(scores, truth, np.exp(middle)) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp(-(low + high) / 2))


def tempered(logits: npt.ArrayLike, temperature: float) -> Floats:
    """softmax(logits / temperature), `[items, classes]`."""
    if not temperature > 0:
        raise ModeledgeError("E-CONFIG-VALUE", f"the temperature is {temperature}", remedy="pass a number above 0")
    scores = finite(logits, "logits")
    if scores.ndim != 2:
        raise ModeledgeError("E-SCORES", f"logits must be [items, classes], not {list(scores.shape)}")
    return softmax(scores / temperature)


def slope(scores: Floats, truth: Ids, beta: float) -> float:
    """The derivative of the summed negative log-likelihood by β."""
    shares = softmax(scores * beta)
    return float(np.sum(shares * scores) - np.sum(scores[np.arange(len(truth)), truth]))


def softmax(scores: Floats) -> Floats:
    """Shares that sum to 1 along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


def logit_pair(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Ids]:
    """Finite logits `[items, classes]` and one class id an item."""
    scores = finite(logits, "logits")
    if scores.ndim != 2:
        raise ModeledgeError("E-SCORES", f"logits must be [items, classes], not {list(scores.shape)}")
    truth = label_ids(labels, "labels", scores.shape[1])
    same_length(scores, truth)
    return scores - scores.max(axis=1, keepdims=True), truth
