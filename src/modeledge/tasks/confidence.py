"""How sure a classifier says it is, made honest by one number that validation rows fit.

Fine-tuned transformers are surer than they are right (Desai and Durrett 2020, arXiv 2003.07892). A temperature mends
it and changes no answer (`modeledge.metrics.temperature`). It is kept beside the weights, in the task's own file: other
libraries, which do not read that, see the logits as they were trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, softmax

from modeledge.errors import ModeledgeError
from modeledge.metrics import calibration_error, fit_temperature, tempered
from modeledge.metrics.calibrate import SMALLEST
from modeledge.metrics.metric import Floats
from modeledge.records import Example
from modeledge.tasks.task import Answer


@dataclass(frozen=True)
class Scaling:
    """The temperature of a task's probabilities, and how many validation rows it was fitted on; 0: it was not."""

    temperature: float = 1.0
    rows: int = 0

    @staticmethod
    def of(said: Mapping[str, Any]) -> Scaling:
        """What a task's file says."""
        scaling = Scaling(**said.get("scaling", {}))
        if not 0 < scaling.temperature < np.inf:
            what, remedy = f"the temperature is {scaling.temperature}", "write a number above 0"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="scaling", remedy=remedy)
        return scaling

    def shares(self, scores: Tensor) -> list[list[float]]:
        """Logits `[items, classes]` → probabilities."""
        shares: list[list[float]] = softmax(scores / self.temperature, -1).tolist()
        return shares

    def undone(self, shares: Floats) -> Floats:
        """Probabilities `[items, classes]` as they would be at a temperature of 1."""
        return tempered(np.log(np.maximum(shares, SMALLEST)), 1 / self.temperature)


def fitted(answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Scaling, str]:
    """The scaling that makes the labels of validation rows likeliest, out of answers at a temperature of 1, and what to
    say of it. Where no temperature is best (all of them right, or no better than chance) nothing is scaled, and said.
    """
    told = {answer.index: answer.probabilities for answer in answers}
    shares = np.array([told[example.index] for example in examples], dtype=np.float64)
    labels, logs = [int(example.label) for example in examples], np.log(np.maximum(shares, SMALLEST))
    try:
        scaling = Scaling(fit_temperature(logs, labels), len(labels))
    except ModeledgeError as error:
        if error.code != "E-SCORES":
            raise
        return Scaling(), f"confidences are left as they are: {error.what} ({len(labels)} validation rows)"
    before, after = (calibration_error(s, labels) for s in (shares, tempered(logs, scaling.temperature)))
    fit = f"temperature {scaling.temperature:.3g}, fitted on {len(labels)} validation rows"
    return scaling, f"{fit}: their calibration error {before:.3f} became {after:.3f}"
