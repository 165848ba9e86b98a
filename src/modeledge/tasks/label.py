"""Classification and regression of one text or of a pair, on an encoder or a decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
import torch

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.model.heads import ClassHead, Pool, ValueHead
from modeledge.objectives import Classify, Labelling, Regress
from modeledge.records import Example
from modeledge.tasks.columns import text_of, where_of
from modeledge.tasks.confidence import Scaling, fitted
from modeledge.tasks.labels import Labels, check_sizes, check_unseen, extended, infer
from modeledge.tasks.shapes import checked_share, checked_smooth, checked_smoothing, plain_head, shape_for
from modeledge.tasks.task import Answer, Asked, Row, Say, Task, known_options, role_columns
from modeledge.tasks.wording import WORDING, Worded, Wording, worded
from modeledge.tokens import Tokenizer

NOTHING = "no_relation"  # TACRED's name for the class of no relation
CLASS_METRICS, VALUE_METRICS = ("accuracy", "f1_macro", "matthews"), ("pearson", "spearman", "mean_squared_error")
TWO_METRICS = ("accuracy", "f1", "f1_macro", "matthews")  # F1 of the second class, as MRPC and QQP are marked


class LabelTask(Worded, Task):
    """One label a row. `text` and `pair` name the columns that are read, `label` the one that is learned.

    `own` is what reads the states, as the model's own class has it; without it one is made of `pool`, `hidden` and
    `dropout`. `start` is the token that a decoder begins with which reads an encoder. A head that gives a value without
    a bias learns it from 0, in units of the values' root mean square: there is nothing that could hold their mean.
    """

    kind: ClassVar[str] = "label"
    labelling: ClassVar[Literal["class", "value", "auto"]] = "auto"
    optional: ClassVar[tuple[str, ...]] = ("pair",)
    options: ClassVar[tuple[str, ...]] = (
        "pool",
        "hidden",
        "smoothing",
        "balanced",
        "lm",
        "r3f",
        "r3f_noise",
        *WORDING,
    )

    def __init__(
        self,
        labels: Labels,
        tokenizer: Tokenizer,
        config: Facts,
        *,
        length: int,
        text: str = "text",
        pair: str | None = None,
        label: str = "label",
        own: ClassHead | ValueHead | None = None,
        start: int | None = None,
        pool: Pool | None = None,
        hidden: bool | None = None,
        dropout: float = 0.0,
        smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
        lm: float = 0.0,
        r3f: float = 0.0,
        r3f_noise: float = 1e-5,
        wording: Wording = Wording(),  # noqa: B008
    ) -> None:
        self.labels, self.tokenizer, self.wording, self.scaling = labels, tokenizer, wording, Scaling()
        self.columns = {"text": text, "label": label, **({} if pair is None else {"pair": pair})}
        prepare = shape_for(tokenizer, config, labels.kind, length, tuple(class_weights), start)
        smooth = checked_smooth(r3f, r3f_noise)
        prepare = replace(prepare, lm=checked_share(lm, config) > 0, r3f=smooth.share > 0)
        head = own or plain_head(labels, config, pool, hidden, dropout)
        self.objective: Labelling
        if isinstance(head, ClassHead):
            assert head.outputs == len(labels.names), "one score a class"
            self.objective = Classify(
                prepare, head, smoothing=checked_smoothing(smoothing), lm=lm, smooth=checked_smooth(r3f, r3f_noise)
            )
        else:
            if r3f:
                what = "values have no distribution that could be compared"
                raise ModeledgeError("E-CONFIG-VALUE", what, where="options.r3f", remedy="leave it out")
            center = labels.center if head.bias else 0.0
            scale = labels.scale if head.bias else math.hypot(labels.center, labels.scale)
            self.objective = Regress(prepare, head, center=center, scale=scale, lm=lm)
        self.prepare, self.length = prepare, length

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> LabelTask:
        """Classes or values, as the labels of the training rows suggest or as the kind of the task says."""
        columns: dict[str, Any] = role_columns(cls, asked.columns)
        options = known_options(cls, asked.options)
        if options.get("pool") not in (None, *get_args(Pool)):
            what = f"there is no pooling {options['pool']!r}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.pool", remedy="first, last, mean or max")
        label, wheres = columns["label"], [where_of(row, i) for i, row in enumerate(rows)]
        labels = infer([row.get(label) for row in rows], wheres, cls.labelling)
        if cls.labelling == "auto":
            named = f"{len(labels.names)} classes: {', '.join(labels.names[:8])}" if labels.names else "values"
            other = "regression" if labels.kind == "class" else "classification"
            say(f"task: {named} (inferred from column {label!r}; --task {other} says otherwise)")
        if options.pop("balanced", False) and labels.names:
            counts = np.bincount([int(labels.number(row[label], "")) for row in rows], minlength=len(labels.names))
            options["class_weights"] = (len(rows) / (len(labels.names) * np.maximum(counts, 1))).tolist()
        head, outputs = ("value", 1) if labels.kind == "value" else ("class", len(labels.names))
        fields = {key: options[key] for key in ("pool", "hidden") if options.get(key) is not None}
        own: dict[str, Any] = {"own": asked.own(head, outputs, dropout=asked.dropout, **fields), "start": asked.start}
        options = {"dropout": asked.dropout, **own, **worded(options, labels.names)}
        return cls(labels, tokenizer, facts, length=asked.length, **columns, **options)

    def described(self) -> dict[str, Any]:
        """What `predict` must know beside the weights: columns, classes, length and shape."""
        head = cast(ClassHead | ValueHead, next(iter(self.objective.heads.values())))
        return {
            "kind": self.labels.kind,
            "names": list(self.labels.names),
            "text": self.columns["text"],
            "pair": self.columns.get("pair"),
            "label": self.columns["label"],
            "length": self.length,
            "pool": head.pool,
            "hidden": head.hidden,
            "start": self.prepare.start,
            "scaling": asdict(self.scaling),
            **self.wording.described(),
        }

    @classmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> LabelTask:
        """The inverse of `described`."""
        labels = Labels(said["kind"], tuple(said["names"]))
        names = ("length", "text", "pair", "label", "pool", "hidden")
        wording, start = Wording.of(said, labels.names), said.get("start")
        task = cls(labels, tokenizer, facts, wording=wording, start=start, **{name: said[name] for name in names})
        task.scaling = Scaling.of(said)
        return task

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        """Rows → examples. A missing column or an empty text is an error; rows keep their order."""
        text, pair = self.columns["text"], self.columns.get("pair")
        texts = [text_of(row, text, i) for i, row in enumerate(rows)]
        pairs = [text_of(row, pair, i) for i, row in enumerate(rows)] if pair is not None else None
        ids = self.tokenizer.encode_batch(texts)
        pair_ids = self.tokenizer.encode_batch(pairs) if pairs is not None else None
        examples = []
        for i, row in enumerate(rows):
            value = self.number_of(row, i) if labelled else None
            pair_i = pair_ids[i] if pair_ids is not None else None
            examples.append(Example(i, ids[i], pair_i, value, where=where_of(row, i)))
        return examples

    def number_of(self, row: Row, index: int) -> Any:
        """A row's label as the objective takes it; what does not fit is an error that names the row."""
        return self.labels.number(row.get(self.columns["label"]), where_of(row, index))

    def truncated(self, examples: Sequence[Example]) -> int:
        """How many examples lose tokens to the row length."""
        return sum(self.prepare.truncated(example) > 0 for example in examples)

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """One answer an example; the scores are compared in fp32."""
        with torch.no_grad():
            scores = self.objective.scores(model, batch).cpu()
        if self.labels.kind == "value":
            return [Answer(int(i), float(v)) for i, v in zip(batch.indices, scores, strict=True)]
        shares = self.scaling.shares(scores)
        best = scores.argmax(-1).tolist()
        return [Answer(int(i), b, tuple(s)) for i, b, s in zip(batch.indices, best, shares, strict=True)]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the scores that `mark` gives; with two classes `f1` is that of the second name, and where one
        means that there is no relation TACRED's mark is the first."""
        if self.labels.kind == "value":
            return VALUE_METRICS
        if NOTHING in self.labels.names:
            return ("relation_f1", *CLASS_METRICS)
        return TWO_METRICS if len(self.labels.names) == 2 else CLASS_METRICS

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """Class numbers or values `[rows]` of answers and of labels; for `relation_f1` "no relation" is class 0."""
        told = {answer.index: answer.value for answer in answers}
        dtype = np.int64 if self.labels.kind == "class" else np.float64
        guesses = np.array([told[example.index] for example in examples], dtype=dtype)
        gold = np.array([example.label for example in examples], dtype=dtype)
        if metric == "relation_f1":
            none, order = self.labels.names.index(NOTHING), np.arange(len(self.labels.names))
            order[[0, none]] = none, 0
            return order[guesses], order[gold]
        return guesses, gold

    @property
    def answered(self) -> tuple[str, ...]:
        """The prediction; for classes its confidence and the share of each."""
        shares = (f"p({name})" for name in self.labels.names)
        return ("prediction",) if self.labels.kind == "value" else ("prediction", "confidence", *shares)

    def shown(self, answer: Answer) -> dict[str, Any]:
        """The class's name with the share of each class, or the value."""
        if self.labels.kind == "value":
            return {"prediction": answer.value}
        best = int(answer.value)
        told = (self.labels.names[best], round(answer.probabilities[best], 6))
        return dict(zip(self.answered, (*told, *(round(p, 6) for p in answer.probabilities)), strict=True))

    def check(self, learned: Sequence[Row], asked: Sequence[Row], *, apart: bool) -> None:
        """Refuse classes that training never shows, and classes of one row where one file gives all parts."""
        if self.labels.kind != "class":
            return
        label = self.columns["label"]
        every = extended(self.labels, [row.get(label) for row in asked])
        ours, others = (
            [int(every.number(row.get(label), where_of(row, i))) for i, row in enumerate(rows)]
            for rows in (learned, asked)
        )
        if not apart:
            check_sizes([*ours, *others], every, 2)
        check_unseen(ours, others, every)

    def unlabelled(self, example: Example) -> Example:
        """A label that nobody reads, where there is none."""
        return example if example.label is not None else replace(example, label=0)

    def tune(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Sequence[str]:
        """Fit the temperature of the confidences, where one class a row is scored by a softmax."""
        if not isinstance(self.objective, Classify) or not answers:
            return ()
        self.scaling, words = fitted(answers, examples)
        return [words]

    def finish(self, model: Backbone) -> None:
        """A regression's head learns to speak in the units of the labels."""
        if isinstance(self.objective, Regress):
            self.objective.fold(model)

    def config_words(self) -> dict[str, Any]:
        """The names of the classes, and that there is one of them a row; or that a value is told."""
        if self.labels.kind == "value":
            return {"problem_type": "regression"}
        names = self.labels.names
        ids = {str(n): name for n, name in enumerate(names)}
        back = {name: n for n, name in enumerate(names)}
        return {"id2label": ids, "label2id": back, "problem_type": "single_label_classification"}


class ClassTask(LabelTask):
    """One class a row."""

    kind: ClassVar[str] = "classification"
    labelling: ClassVar[Literal["class", "value", "auto"]] = "class"


class ValueTask(LabelTask):
    """One number a row."""

    kind: ClassVar[str] = "regression"
    labelling: ClassVar[Literal["class", "value", "auto"]] = "value"
    stratified: ClassVar[bool] = False
