"""A task joins rows of data, an objective to be fine-tuned, and the metrics that mark its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.objectives import Objective
from modeledge.records import Example


@dataclass(frozen=True)
class Answer:
    """What a model said about one example: a class number or a value, and the probability of each class."""

    index: int
    value: float
    probabilities: tuple[float, ...] = ()


class Task(Protocol):
    """Rows in, marked answers out."""

    objective: Objective

    def encode(self, rows: Sequence[Mapping[str, Any]], *, labelled: bool = True) -> list[Example]:
        """Rows → examples, numbered from 0."""
        ...

    def predict(self, model: Backbone, batch: Batch) -> Sequence[Answer]:
        """One answer an example of the batch, in its order."""
        ...

    def mark(self, answers: Sequence[Answer], examples: Sequence[Example]) -> dict[str, float]:
        """Scores by name."""
        ...
