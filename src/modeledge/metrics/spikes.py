"""How often a training leaps: the share of its steps whose loss or gradient norm is a spike (OLMo 2, Walsh et al. 2025,
arXiv 2501.00656, section 3). Which steps are is decided where they are logged: `train/spikes.py`."""

from __future__ import annotations

from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Tally, mean_of, value_pair


def spike_score(predictions: Any, labels: Any) -> Tally:
    """The mean of 0 (no spike) and 1 over steps `[items]`; labels are counted and not read."""
    leaps, _ = value_pair(predictions, labels)
    if not ((leaps == 0) | (leaps == 1)).all():
        raise ModeledgeError("E-SCORES", "a step leapt or did not: 1 or 0", where="predictions")
    return mean_of(leaps, "unit:step")
