"""Ranking pairs by their vectors: retrieval, duplicates, similarity (see `objectives.rank`).

Fine-tuned with in-batch negatives, or on graded labels; marked by where each text's own pair stands among the pairs and
negatives of all rows (MRR, nDCG@10, recall@10), or for grades by correlation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from modeledge.config import Settings, load_config
from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.model.heads import Pool
from modeledge.objectives import LabelPrepare, Rank, RankPrepare
from modeledge.objectives.rank import texts_of as parts_of
from modeledge.records import Example
from modeledge.tasks.columns import field_of, text_of, texts_of, where_of
from modeledge.tasks.task import Answer, Asked, Row, Say, Task, known_options, role_columns
from modeledge.tokens import Tokenizer

RANKED = ("mrr", "ndcg@10", "recall@10")
GRADED = ("spearman", "pearson")


class Ranking(Settings):
    """The options of `rank`: how a text's states become one vector; the temperature τ; whether labels are grades, from
    `low` to `high`, that a cosine is fitted to; rows of METRICS."""

    pool: Pool = "mean"
    temperature: float = Field(default=0.05, gt=0)
    graded: bool = False
    low: float = 0.0
    high: float = 1.0
    metrics: tuple[str, ...] = ()


class RankTask(Task):
    """`text` and `pair` belong together; `negatives` (a list of texts) do not belong to the text; with `graded` the
    `label` says how well they do. A text of its own is at most `length` tokens long."""

    kind: ClassVar[str] = "rank"
    card: ClassVar[str] = "sentence-similarity"
    inputs: ClassVar[tuple[str, ...]] = ("text",)
    optional: ClassVar[tuple[str, ...]] = ("negatives", "label")
    target: ClassVar[str] = "pair"
    options: ClassVar[tuple[str, ...]] = tuple(Ranking.model_fields)
    stratified: ClassVar[bool] = False

    objective: Rank

    def __init__(
        self, tokenizer: Tokenizer, facts: Facts, ranking: Ranking, *, length: int, columns: Mapping[str, str]
    ) -> None:
        if not ranking.high > ranking.low:
            what = f"grades from {ranking.low} to {ranking.high}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.high", remedy="the highest is above the lowest")
        if ranking.graded != ("label" in columns):
            what = "graded pairs have a label" if ranking.graded else "a label is read where pairs are graded alone"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.graded", remedy="name both or neither")
        self.tokenizer, self.ranking, self.columns = tokenizer, ranking, dict(columns)
        if facts.both:
            what = "a decoder that reads an encoder learns no vectors of texts"
            raise ModeledgeError("E-USAGE", what, remedy="take the encoder alone, or a model of one tower")
        self.reading = reading(tokenizer, facts, length)
        self.length = self.reading.length
        prepare = RankPrepare(self.reading, ranking.graded)
        self.objective = Rank(prepare, pool=ranking.pool, temperature=ranking.temperature)
        self._parts = 2

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> RankTask:
        """As the options say; grades without bounds are taken from the rows, and that is said."""
        columns, options = role_columns(cls, asked.columns), known_options(cls, asked.options)
        if "label" in columns and rows:
            options.setdefault("graded", True)
            grades = [grade_of(row, columns["label"], i) for i, row in enumerate(rows)]
            if "low" not in options and "high" not in options:
                options |= {"low": min(grades), "high": max(grades)}
                say(f"grades from {min(grades):g} to {max(grades):g} (options.low and options.high say otherwise)")
        ranking: Ranking = load_config(Ranking, None, values=options)
        return cls(tokenizer, facts, ranking, length=asked.length, columns=columns)

    def described(self) -> dict[str, Any]:
        """Columns, length and options."""
        return {"columns": dict(self.columns), "length": self.length, "options": self.ranking.model_dump(mode="json")}

    @classmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> RankTask:
        """The inverse of `described`."""
        ranking: Ranking = load_config(Ranking, None, values=said["options"])
        return cls(tokenizer, facts, ranking, length=said["length"], columns=said["columns"])

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        """Rows → examples; text and pair are always read, the label where it is graded and known."""
        text, pair, label = self.columns["text"], self.columns["pair"], self.columns.get("label")
        ids = self.tokenizer.encode_batch([text_of(row, text, i) for i, row in enumerate(rows)])
        pairs = self.tokenizer.encode_batch([text_of(row, pair, i) for i, row in enumerate(rows)])
        found = []
        for i, row in enumerate(rows):
            example = Example(i, ids[i], pairs[i], where=where_of(row, i), channels=self._negatives(row, i))
            if label is not None and labelled:
                low, high = self.ranking.low, self.ranking.high
                example = replace(example, label=(grade_of(row, label, i) - low) / (high - low))
            found.append(example)
        self._parts = max([self._parts, *(2 + len(e.channels.get("negative_lengths", ())) for e in found)])
        return found

    def _negatives(self, row: Row, number: int) -> dict[str, Any]:
        if "negatives" not in self.columns:
            return {}
        ids = self.tokenizer.encode_batch(texts_of(row, self.columns["negatives"], number))
        flat = np.concatenate([np.zeros(0, np.int64), *ids])
        return {"negatives": flat, "negative_lengths": np.array([len(one) for one in ids], dtype=np.int64)}

    @property
    def seq(self) -> int:
        """All texts of an example stand in one row."""
        return self._parts * self.length

    def truncated(self, examples: Sequence[Example]) -> int:
        """How many examples have a text that is cut."""
        return sum(any(self.reading.truncated(Example(e.index, ids)) > 0 for ids in parts_of(e)) for e in examples)

    def unlabelled(self, example: Example) -> Example:
        return replace(example, label=0.0) if self.ranking.graded and example.label is None else example

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """The cosine of text and pair; `details` are the unit vectors of all texts of the row, `[texts, width]`."""
        with torch.inference_mode():
            vectors = self.objective.vectors(model, batch).cpu().numpy()
        starts = np.flatnonzero(batch.labels["role"].cpu().numpy() == 0)
        rows = np.split(vectors, starts[1:])
        return [Answer(int(i), float(own[0] @ own[1]), details=own) for i, own in zip(batch.indices, rows, strict=True)]

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """The mean of the models' cosines: each model's unit vectors behind the other's, over √models."""
        rows = np.concatenate([answer.details for answer in answers], axis=1) / np.sqrt(len(answers))
        return Answer(answers[0].index, float(rows[0] @ rows[1]), details=rows)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of the options, or the usual ones."""
        usual = GRADED if self.ranking.graded else RANKED
        return self.ranking.metrics or usual

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """Cosines and grades; or for rankings each text's cosine with every different pair and negative of all rows,
        `[rows][candidates]`, and 1 for the pairs of equal texts."""
        told = {answer.index: answer for answer in answers}
        chosen = [told[example.index] for example in examples]
        if METRICS[metric].needs == "scores":
            return np.array([a.value for a in chosen]), np.array([e.label for e in examples], dtype=np.float64)
        names = [[tuple(ids.tolist()) for ids in parts_of(example)] for example in examples]
        table: dict[tuple[int, ...], Any] = {}
        right: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
        for own, answer in zip(names, chosen, strict=True):
            right.setdefault(own[0], set()).add(own[1])
            for name, vector in zip(own[1:], answer.details[1:], strict=True):
                table.setdefault(name, vector)
        scores = np.stack([a.details[0] for a in chosen]) @ np.stack(list(table.values())).T
        return scores.tolist(), [[float(name in right[own[0]]) for name in table] for own in names]

    @property
    def answered(self) -> tuple[str, ...]:
        return ("similarity",)

    def shown(self, answer: Answer) -> dict[str, Any]:
        return {"similarity": round(answer.value, 6)}


def reading(tokenizer: Tokenizer, facts: Facts, length: int) -> LabelPrepare:
    """One text as a model reads it to give a vector: between [CLS] and [SEP] for an encoder, before its end for one
    that a decoder reads (`text </s>`), as it is for a decoder; at most `length` tokens, or the model's positions."""
    specials = tokenizer.specials
    length = length if facts.positions is None else min(length, facts.positions)
    if facts.encoder is None:
        return LabelPrepare("target", length, "class")
    ends = specials.eos if facts.both and specials.sep is None else specials.sep
    return LabelPrepare("source", length, "class", specials.cls, None, ends, facts.table.types > 1)


def grade_of(row: Row, column: str, number: int) -> float:
    """A grade: a finite number."""
    value, where = field_of(row, column, number), where_of(row, number)
    try:
        grade = float(value)
    except (TypeError, ValueError):
        what = f"column {column!r} is {type(value).__name__}, not a number"
        raise ModeledgeError("E-LABEL-TYPE", what, where=where, remedy="grade with numbers") from None
    if not np.isfinite(grade):
        raise ModeledgeError("E-NOT-FINITE", f"the grade is {grade}", where=where)
    return grade
