"""Classes in an order: stars, grades, degrees of agreement. See `modeledge.objectives.ordinal` for the model.

The answer is the median class, the first one that the class is not above with a probability of at least one half: it
has the least expected absolute error, and it never falls where the model's score rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.model.heads import ClassHead, OrdinalHead
from modeledge.objectives import Order
from modeledge.records import FloatArray
from modeledge.tasks.columns import where_of
from modeledge.tasks.label import LabelTask
from modeledge.tasks.labels import Labels, infer
from modeledge.tasks.task import Answer, Asked, Row, Say, known_options, mean_shares, role_columns
from modeledge.tasks.wording import WORDING, worded
from modeledge.tokens import Tokenizer

GAP = 4.0
MARKS = ("accuracy", "mean_absolute_error", "quadratic_kappa")


class OrdinalTask(LabelTask):
    """One of several ordered classes a row.

    Whole numbers are ordered as they are; other names by the option `order`, a list from the lowest to the highest (or
    one text, `"low < middle < high"`). It is written in the native format: no class of the reference library says it.
    """

    kind: ClassVar[str] = "ordinal"
    labelling: ClassVar[Literal["class", "value", "auto"]] = "class"
    options: ClassVar[tuple[str, ...]] = ("pool", "hidden", "lm", "order", *WORDING)

    def __init__(self, labels: Labels, *args: Any, center: float | None = None, **options: Any) -> None:
        super().__init__(labels, *args, **options)
        head = cast(ClassHead, self.objective.heads["class"])
        names = ("pool", "hidden", "hidden_bias", "activation", "norm", "dropout", "first_dropout")
        fields: dict[str, Any] = {name: getattr(head, name) for name in names}
        count = len(labels.names)
        self.start = thresholds((count - 1) / 2 if center is None else center, count)
        self.objective = Order(self.prepare, OrdinalHead(start=self.start, **fields), lm=self.objective.lm)

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> OrdinalTask:
        """The classes of the training rows in their order, which is said."""
        columns: dict[str, Any] = role_columns(cls, asked.columns)
        options = known_options(cls, asked.options)
        label, wheres = columns["label"], [where_of(row, i) for i, row in enumerate(rows)]
        labels = ordered(infer([row.get(label) for row in rows], wheres, "class"), options.pop("order", None))
        say(f"task: {len(labels.names)} ordered classes: {' < '.join(labels.names[:12])}")
        center = fmean(labels.number(row.get(label), where) for row, where in zip(rows, wheres, strict=True))
        options = {"dropout": asked.dropout, "start": asked.start, **worded(options, labels.names)}
        return cls(labels, tokenizer, facts, length=asked.length, center=center, **columns, **options)

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """The median class of each example, and the probability of every class."""
        with torch.no_grad():
            shares = self.objective.scores(model, batch).exp().cpu().double().numpy()
        return [self.chosen(int(i), s) for i, s in zip(batch.indices, shares, strict=True)]

    def chosen(self, index: int, shares: FloatArray) -> Answer:
        """The median class."""
        below = np.cumsum(shares)[:-1] / shares.sum()
        return Answer(index, int((below < 0.5).sum()), tuple(float(s) for s in shares))

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """The median class of the mean probabilities."""
        return self.chosen(answers[0].index, np.array(mean_shares(answers)))

    @property
    def metrics(self) -> tuple[str, ...]:
        """How often it is right, how far off it is."""
        return MARKS


def ordered(labels: Labels, order: Any) -> Labels:
    """The classes in the order that the option says, or by number (`E-CONFIG-VALUE` where neither tells)."""
    if order is None:
        if all(name.removeprefix("-").isdecimal() for name in labels.names):
            return labels
        what = f"nothing says the order of {', '.join(labels.names[:8])}"
        remedy = f'name it from the lowest to the highest: order = "{" < ".join(labels.names[:8])}"'
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.order", remedy=remedy)
    names = [part.strip() for part in order.split("<")] if isinstance(order, str) else [str(name) for name in order]
    if len(names) < 2 or len(set(names)) < len(names):
        what = f"{order!r} is no order of at least two classes"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.order")
    told = Labels("class", tuple(names))
    for name in labels.names:
        told.number(name, "the training rows")
    return told


def thresholds(center: float, classes: int) -> tuple[float, ...]:
    """Where a fresh head's thresholds stand: `GAP` apart, so that a score of 0 means the mean class of the rows.

    A rate that suits a pre-trained body moves a threshold by a hundredth in a run, and a class between two thresholds g
    apart has at most a probability of tanh(g / 4). So they begin as far apart as they must be in the end, and it is the
    score, a sum over the whole width, that learns their scale.
    """
    return tuple(GAP * (k + 0.5 - center) for k in range(classes - 1))
