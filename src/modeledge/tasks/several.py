"""Several labels a text, or none: emotions, topics, keywords. Each class is a yes or a no of its own.

A class is answered where its probability reaches the threshold: 0.5 for all, a number that is given, or one for each
class that makes its F1 on the validation rows largest (`threshold = "tuned"`; Lipton et al. 2014, arXiv 1402.1892: the
best threshold for F1 is half the best F1, so 0.5 is too high for rare classes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch

from modeledge.errors import ModeledgeError, printable
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.model.heads import ClassHead
from modeledge.objectives import ClassifySeveral
from modeledge.records import Example, FloatArray
from modeledge.tasks.columns import field_of, where_of
from modeledge.tasks.label import LabelTask
from modeledge.tasks.labels import Labels, spelling
from modeledge.tasks.task import Answer, Asked, Request, Row, Say, Score, known_options, mean_shares, role_columns
from modeledge.tasks.wording import WORDING, worded
from modeledge.tokens import Tokenizer

MARKS = ("multilabel_f1_micro", "multilabel_exact", "multilabel_f1_macro")
TUNED = "tuned"


class SeveralTask(LabelTask):
    """A set of classes a row: the label column holds a list of names, or a text that `split` cuts (`split = "|"`).

    `thresholds` are one for each class. Probabilities are each class's own and do not add up to 1.
    """

    kind: ClassVar[str] = "multilabel"
    labelling: ClassVar[Literal["class", "value", "auto"]] = "class"
    options: ClassVar[tuple[str, ...]] = ("pool", "hidden", "lm", "split", "threshold", *WORDING)

    def __init__(
        self,
        labels: Labels,
        *args: Any,
        split: str | None = None,
        thresholds: Sequence[float] = (),
        tuned: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(labels, *args, **options)
        count = len(labels.names)
        self.split, self.needs_validation = split, tuned
        self.thresholds = tuple(thresholds) or (0.5,) * count
        self.prepare = replace(self.prepare, kind="set", outputs=count)
        head = replace(cast(ClassHead, self.objective.heads["class"]), several=True)
        self.objective = ClassifySeveral(self.prepare, head, lm=self.objective.lm)

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> SeveralTask:
        """The classes that any training row names, in the order of their names."""
        columns: dict[str, Any] = role_columns(cls, asked.columns)
        options = known_options(cls, asked.options)
        split, threshold = options.get("split"), options.pop("threshold", 0.5)
        if split is not None and (not isinstance(split, str) or not split):
            raise ModeledgeError("E-CONFIG-VALUE", f"{split!r} is no delimiter", where="options.split")
        number = isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 < threshold < 1
        if threshold != TUNED and not number:
            what, remedy = f"{threshold!r} is no threshold", 'a number between 0 and 1, or "tuned"'
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.threshold", remedy=remedy)
        if not rows:
            raise ModeledgeError("E-EMPTY-SPLIT", "there is no training row")
        told = [names_of(row, columns["label"], split, i) for i, row in enumerate(rows)]
        names = sorted({name for names in told for name in names})
        if len(names) < 2:
            what = f"the rows name {'one class alone' if names else 'no class'}"
            raise ModeledgeError("E-ONE-CLASS", what, where=columns["label"])
        refuse_near(names, told, [where_of(row, i) for i, row in enumerate(rows)])
        mean = sum(map(len, told)) / len(told)
        say(f"task: {len(names)} classes, {mean:.2f} a row: {', '.join(names[:8])}")
        cuts = () if threshold == TUNED else (float(threshold),) * len(names)
        options = {"dropout": asked.dropout, "start": asked.start, **worded(options, names)}
        options["tuned"] = threshold == TUNED
        labels = Labels("class", tuple(names))
        return cls(labels, tokenizer, facts, length=asked.length, thresholds=cuts, **columns, **options)

    def described(self) -> dict[str, Any]:
        """What any task of labels says, and where the classes' probabilities are cut."""
        return {**super().described(), "split": self.split, "thresholds": list(self.thresholds)}

    @classmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> SeveralTask:
        """The inverse of `described`."""
        task = super().restored(said, tokenizer, facts)
        assert isinstance(task, SeveralTask)
        task.split, task.thresholds = said["split"], tuple(said["thresholds"])
        return task

    def number_of(self, row: Row, index: int) -> tuple[int, ...]:
        """The numbers of a row's classes, each once, rising."""
        names, where = names_of(row, self.columns["label"], self.split, index), where_of(row, index)
        return tuple(sorted({int(self.labels.number(name, where)) for name in names}))

    def unlabelled(self, example: Example) -> Example:
        """The empty set, which nobody reads."""
        return example if example.label is not None else replace(example, label=())

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """The classes whose probabilities reach their thresholds."""
        with torch.no_grad():
            shares = torch.sigmoid(self.objective.scores(model, batch)).cpu().double().numpy()
        return [self.chosen(int(i), s) for i, s in zip(batch.indices, shares, strict=True)]

    def chosen(self, index: int, shares: FloatArray, cuts: tuple[float, ...] | None = None) -> Answer:
        """The classes of one row by the task's thresholds, or by others; `details` are the thresholds."""
        cuts = self.thresholds if cuts is None else cuts
        held = tuple(n for n, (p, cut) in enumerate(zip(shares, cuts, strict=True)) if p >= cut)
        return Answer(index, held, tuple(float(p) for p in shares), cuts)

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """The classes whose mean probability reaches the mean of the models' thresholds for them."""
        cuts = tuple(np.mean([answer.details for answer in answers], axis=0).tolist())
        return self.chosen(answers[0].index, np.array(mean_shares(answers)), cuts)

    def tune(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Sequence[str]:
        """The threshold of each class with the largest F1 on validation rows, where that was asked for."""
        if not self.needs_validation or not answers:
            return ()
        told = {answer.index: answer.probabilities for answer in answers}
        shares = np.array([told[example.index] for example in examples])
        _, held = self.sides(MARKS[0], answers, examples)
        self.thresholds = tuple(best_cut(shares[:, n], held[:, n]) for n in range(shares.shape[1]))
        cuts = ", ".join(f"{name} {cut:.3f}" for name, cut in zip(self.labels.names, self.thresholds, strict=True))
        return [f"thresholds by validation rows: {cuts}"]

    def check(self, learned: Sequence[Row], asked: Sequence[Row], *, apart: bool) -> None:
        """Refuse rows with classes that training never shows."""
        for index, row in enumerate(asked):
            self.number_of(row, index)

    def request(self, row: Row) -> Request:
        """A yes and a no for each class."""
        words = self.wording.words or self.labels.names
        return Score(self.prompt(row), tuple(f" {word}: {told}" for word in words for told in ("yes", "no")))

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """Each class's probability is that of its yes beside its no."""
        yes, no = np.asarray(told, dtype=np.float64).reshape(-1, 2).T
        return self.chosen(index, 1 / (1 + np.exp(np.clip(no - yes, -700, 700))))

    @property
    def metrics(self) -> tuple[str, ...]:
        """F1 over all decisions, and how often the whole set is right."""
        return MARKS

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """Zeros and ones `[rows, classes]`; for "f1" one decision behind the other, for "accuracy" a number a set."""
        told = {answer.index: answer.value for answer in answers}
        sets = [told[example.index] for example in examples], [example.label for example in examples]
        if metric == "accuracy":
            numbers: dict[tuple[int, ...], int] = {}
            guess, truth = (np.array([numbers.setdefault(tuple(s), len(numbers)) for s in side]) for side in sets)
            return guess, truth
        held = tuple(np.zeros((len(side), len(self.labels.names)), dtype=np.int64) for side in sets)
        for matrix, side in zip(held, sets, strict=True):
            for row, chosen in enumerate(side):
                matrix[row, list(chosen)] = 1
        return (held[0].ravel(), held[1].ravel()) if metric == "f1" else (held[0], held[1])

    @property
    def answered(self) -> tuple[str, ...]:
        """The classes, and the probability of each."""
        return ("prediction", *(f"p({name})" for name in self.labels.names))

    def shown(self, answer: Answer) -> dict[str, Any]:
        """The names of the classes, as the label column writes them."""
        names = [self.labels.names[n] for n in answer.value]
        written = names if self.split is None else self.split.join(names)
        return dict(zip(self.answered, (written, *(round(p, 6) for p in answer.probabilities)), strict=True))


def names_of(row: Row, column: str, split: str | None, index: int) -> list[str]:
    """The names in a row's label column (`E-LABEL-TYPE` for what is no list of names)."""
    value, where = field_of(row, column, index), where_of(row, index)
    if value is None:
        remedy = "write an empty list where a row has no class"
        raise ModeledgeError("E-LABEL-MISSING", "the label is empty", where=where, remedy=remedy)
    if isinstance(value, str) and split is not None:
        return [part.strip() for part in value.split(split)] if value.strip() else []
    if isinstance(value, str) or not isinstance(value, Sequence):
        what = f"{printable(repr(value), 60)} is not a list of classes"
        remedy = 'write ["…", "…"] in a jsonl file, or say what splits the text: options.split = "|"'
        raise ModeledgeError("E-LABEL-TYPE", what, where=where, remedy=remedy)
    wrong = [name for name in value if not isinstance(name, str | int) or isinstance(name, bool)]
    if wrong:
        raise ModeledgeError("E-LABEL-TYPE", f"{printable(repr(wrong[0]), 60)} is not a class's name", where=where)
    return [str(name) for name in value]


def refuse_near(names: Sequence[str], told: Sequence[Sequence[str]], wheres: Sequence[str]) -> None:
    """Refuse names that are one name spelled twice (`E-LABEL-UNKNOWN`)."""
    usual: dict[str, str] = {}
    for name in names:
        other = usual.setdefault(spelling(name), name)
        if other != name or not name.strip():
            where = next(w for held, w in zip(told, wheres, strict=True) if name in held)
            what = f"the label {printable(name, 60)!r} stands beside {printable(other, 60)!r}"
            what = what if name.strip() else "a class has no name"
            raise ModeledgeError(
                "E-LABEL-UNKNOWN",
                what,
                where=where,
                remedy="spaces and case count, and 1.0 is not 1: write one of them",
            )


def best_cut(shares: FloatArray, held: Any) -> float:
    """The threshold with the largest F1, in the middle between two probabilities; 0.5 for a class that never holds."""
    if not held.any():
        return 0.5
    order = np.argsort(-shares, kind="stable")
    right = np.cumsum(held[order])
    scores = 2 * right / (np.arange(1, len(order) + 1) + held.sum())
    sorted_shares = shares[order]
    last = np.append(sorted_shares[:-1] > sorted_shares[1:], True)  # a threshold does not part equal probabilities
    best = int(np.argmax(np.where(last, scores, -1.0)))
    below = sorted_shares[best + 1] if best + 1 < len(order) else 0.0
    return float((sorted_shares[best] + below) / 2)
