"""The k nearest neighbours: nothing is learned, the training rows themselves are the head (Fix and Hodges 1951).

On frozen states this asks the plainest question of a body: do rows of one label lie near each other? Its size grows
with the rows, and so does the time to answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from modeledge.classical.head import Floats, Head, Ints, check_array, damaged
from modeledge.errors import ModeledgeError

CHUNK = 1 << 24  # distances held at once: 128 MiB


@dataclass(frozen=True, eq=False)
class Neighbours(Head):
    """The share of each class, or the mean value, among the `count` nearest rows by Euclidean distance, each with one
    voice. Of equally near rows the earlier one counts.

    `rows [n, inputs]`; `answers [n, classes]` hold a 1 at the class of a row, or `[n, 1]` its value.
    """

    kind: ClassVar[str] = "neighbours"

    rows: Floats
    answers: Floats
    count: int

    @property
    def inputs(self) -> int:
        return int(self.rows.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.answers.shape[1])

    def told(self, x: Floats) -> Floats:
        step = max(1, CHUNK // len(self.rows))
        parts = [self.answers[self.nearest(x[i : i + step])].mean(1) for i in range(0, len(x), step)]
        return np.concatenate(parts) if parts else np.zeros((0, self.outputs))

    def nearest(self, x: Floats) -> Ints:
        """The numbers of the nearest rows of each, `[rows, count]`, the nearest first."""
        far = (self.rows**2).sum(1) - 2 * (x @ self.rows.T)  # |x|² is the same for all rows
        if self.count < len(self.rows):
            edge = np.partition(far, self.count - 1, axis=1)[:, self.count - 1 : self.count]
            far = np.where(far <= edge, far, np.inf)
        return np.argsort(far, axis=1, kind="stable")[:, : self.count].astype(np.int64)

    def checked(self) -> Neighbours:
        check_array("rows", self.rows, (None, None))
        check_array("answers", self.answers, (len(self.rows), None))
        if isinstance(self.count, bool) or not isinstance(self.count, int) or not 1 <= self.count <= len(self.rows):
            damaged(f"{self.count!r} neighbours of {len(self.rows)} rows")
        return self


def neighbours_of(estimator: Any) -> Neighbours:
    """The rows of a fitted `KNeighborsClassifier` or `KNeighborsRegressor`.

    Only Euclidean distances and equal voices are known here; others are `E-CONFIG-VALUE`.
    """
    metric = getattr(estimator, "effective_metric_", estimator.metric)
    if metric != "euclidean" or estimator.weights != "uniform":
        what = f"neighbours by {metric!r} with {estimator.weights!r} weights are not saved"
        raise ModeledgeError("E-CONFIG-VALUE", what, remedy='metric="euclidean", weights="uniform"')
    rows, answers = np.asarray(estimator._fit_X, np.float64), np.asarray(estimator._y)
    if hasattr(estimator, "classes_"):
        answers = np.eye(len(estimator.classes_))[answers]
    answers = answers.reshape(len(rows), -1).astype(np.float64)
    return Neighbours(rows, answers, int(estimator.n_neighbors)).checked()
