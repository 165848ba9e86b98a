"""Linear heads: one weight a feature and class. Logistic regression, the linear support vector machine, ridge.

All three draw the same kind of boundary and differ in what they minimise over the training rows: the logistic loss, the
squared hinge of the margin (Cortes and Vapnik 1995), the squared error, each with a penalty on Σ w². A linear head on
frozen states is the *probe* of the literature (Alain and Bengio 2016, arXiv 1610.01644): what it can read lies there as
a direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from modeledge.classical.head import Floats, Head, check_array, classes_of, linked


@dataclass(frozen=True, eq=False)
class Linear(Head):
    """x Wᵀ + b: `weights [scores, inputs]`, `bias [scores]`; `link` is what the scores are (`linked`)."""

    kind: ClassVar[str] = "linear"

    weights: Floats
    bias: Floats
    link: str

    @property
    def inputs(self) -> int:
        return int(self.weights.shape[1])

    @property
    def outputs(self) -> int:
        return classes_of(self.link, len(self.weights))

    def told(self, x: Floats) -> Floats:
        return linked(x @ self.weights.T + self.bias, self.link)

    def checked(self) -> Linear:
        check_array("weights", self.weights, (None, None))
        check_array("bias", self.bias, (len(self.weights),))
        classes_of(self.link, len(self.weights))
        return self


def linear_of(estimator: Any) -> Linear:
    """What a fitted `LogisticRegression`, `LinearSVC`, `Ridge` or `LinearSVR` has learned."""
    weights = np.atleast_2d(np.asarray(estimator.coef_, np.float64))
    bias = np.broadcast_to(np.asarray(estimator.intercept_, np.float64), (len(weights),)).copy()
    name = type(estimator).__name__
    if name == "LogisticRegression":
        link = "sigmoid" if len(weights) == 1 else "softmax"
    else:
        link = "margin" if name == "LinearSVC" else "identity"
    return Linear(weights, bias, link).checked()
