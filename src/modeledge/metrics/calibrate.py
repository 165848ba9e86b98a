"""Does a model that says 80 % come true 80 % of the time?

The expected calibration error sorts answers into bins by their confidence and compares, bin by bin, the mean
confidence with the share that was right (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599, equation 3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import finite, label_ids, same_length

BINS = 15  # Guo et al. 2017, table 1
SUM_TOLERANCE = 1e-2  # bf16 softmax rows miss 1 by up to 2^-8; logits miss it by far more


def calibration_error(predictions: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = BINS) -> float:
    """The expected calibration error, 0 … 1, over equally wide bins of the winning class's probability.

    `predictions` are probabilities `[items, classes]` whose rows sum to one; `labels` are class ids `[items]`. A
    confidence on a border belongs to the lower bin, as in Guo et al. Logits are refused with `E-SCORES`.
    """
    if bins < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"bins is {bins}", remedy="pass at least 1")
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
    confidence = chances.max(axis=1)
    right = (chances.argmax(axis=1) == truth).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))
