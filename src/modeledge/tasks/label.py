"""Classification and regression of one text or of a pair, on an encoder or a decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from modeledge.errors import ModeledgeError, nearest
from modeledge.metrics import METRICS
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.config import Tokens
from modeledge.model.facts import Facts
from modeledge.model.heads import ClassHead, Pool, ValueHead
from modeledge.objectives import Classify, LabelPrepare, Regress
from modeledge.records import Example
from modeledge.tasks.labels import Labels
from modeledge.tasks.task import Answer
from modeledge.tokens import Tokenizer

CLASS_METRICS, VALUE_METRICS = ("accuracy", "f1_macro", "matthews"), ("pearson", "spearman", "mean_squared_error")


class LabelTask:
    """One label a row. `text` and `pair` name the columns that are read, `label` the one that is learned.

    `head` is what reads the states, as the model's own class has it; without it one is made of `pool`, `hidden` and
    `dropout`. `start` is the token that a decoder begins with which reads an encoder. A head that gives a value without
    a bias learns it from 0, in units of the values' root mean square: there is nothing that could hold their mean.
    """

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
        head: ClassHead | ValueHead | None = None,
        start: int | None = None,
        pool: Pool | None = None,
        hidden: bool | None = None,
        dropout: float = 0.0,
        smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
    ) -> None:
        self.labels, self.tokenizer = labels, tokenizer
        self.columns = (text, pair, label)
        if tokenizer.vocab_size > config.table.vocab:
            what = f"the tokenizer has {tokenizer.vocab_size} ids, the model {config.table.vocab} rows"
            raise ModeledgeError("E-VOCAB-SIZE", what)
        prepare = shape_for(tokenizer, config, labels.kind, length, tuple(class_weights), start)
        head = head or plain_head(labels, config, pool, hidden, dropout)
        self.objective: Classify | Regress
        if isinstance(head, ClassHead):
            assert head.outputs == len(labels.names), "one score a class"
            self.objective = Classify(prepare, head, smoothing=smoothing)
        else:
            center = labels.center if head.bias else 0.0
            scale = labels.scale if head.bias else math.hypot(labels.center, labels.scale)
            self.objective = Regress(prepare, head, center=center, scale=scale)
        self.prepare = prepare

    def encode(self, rows: Sequence[Mapping[str, Any]], *, labelled: bool = True) -> list[Example]:
        """Rows → examples. A missing column or an empty text is an error; rows keep their order."""
        text, pair, label = self.columns
        texts = [_text(row, text, i) for i, row in enumerate(rows)]
        pairs = [_text(row, pair, i) for i, row in enumerate(rows)] if pair is not None else None
        ids = self.tokenizer.encode_batch(texts)
        pair_ids = self.tokenizer.encode_batch(pairs) if pairs is not None else None
        examples = []
        for i, row in enumerate(rows):
            where = str(row.get("__where__", f"row {i + 1}"))
            value = self.labels.number(row.get(label), where) if labelled else None
            examples.append(Example(i, ids[i], pair_ids[i] if pair_ids is not None else None, value, where=where))
        return examples

    def truncated(self, examples: Sequence[Example]) -> int:
        """How many examples lose tokens to the row length."""
        return sum(self.prepare.truncated(example) > 0 for example in examples)

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """One answer an example; the scores are compared in fp32."""
        with torch.no_grad():
            scores = self.objective.scores(model, batch).cpu()
        if self.labels.kind == "value":
            return [Answer(int(i), float(v)) for i, v in zip(batch.indices, scores, strict=True)]
        shares = torch.softmax(scores, -1).tolist()
        best = scores.argmax(-1).tolist()
        return [Answer(int(i), b, tuple(s)) for i, b, s in zip(batch.indices, best, shares, strict=True)]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the scores that `mark` gives."""
        return CLASS_METRICS if self.labels.kind == "class" else VALUE_METRICS

    def mark(self, answers: Sequence[Answer], examples: Sequence[Example]) -> dict[str, float]:
        """Accuracy, macro F1 and Matthews for classes; Pearson, Spearman and squared error for values."""
        told = {answer.index: answer.value for answer in answers}
        guesses = np.array([told[example.index] for example in examples])
        right = np.array([example.label for example in examples])
        if self.labels.kind == "class":
            guesses, right = guesses.astype(np.int64), right.astype(np.int64)
        return {name: float(METRICS[name](guesses, right)) for name in self.metrics}


def plain_head(
    labels: Labels, config: Facts, pool: Pool | None = None, hidden: bool | None = None, dropout: float = 0.0
) -> ClassHead | ValueHead:
    """A head for a model of no family: behind a dense layer at the first token of an encoder, at the last one of a
    decoder."""
    encoder = config.decoder is None
    pool = pool or ("first" if encoder else "last")
    hidden = encoder if hidden is None else hidden
    if labels.kind == "class":
        return ClassHead(outputs=len(labels.names), pool=pool, hidden=hidden, dropout=dropout)
    return ValueHead(pool=pool, hidden=hidden, dropout=dropout)


def shape_for(
    tokenizer: Tokenizer,
    config: Facts,
    kind: Literal["class", "value"],
    length: int,
    class_weights: tuple[float, ...] = (),
    start: int | None = None,
) -> LabelPrepare:
    """The special tokens around texts: `[CLS] a [SEP] b [SEP]` for an encoder, `a [SEP] b [CLS]` for a decoder, whose
    last token has read everything; where a tokenizer has no such tokens, its end-of-text stands in.

    A decoder that reads an encoder is given the same text on both sides, one token later (Lewis et al. 2020, figure
    3a); it begins with `start`, without which it is `E-CONFIG`.
    """
    specials = tokenizer.specials
    limit = config.positions
    if limit is not None and length > limit:
        raise ModeledgeError("E-POSITION", f"length {length} is beyond the model's {limit} positions")
    if config.both:
        if start is None:
            what, remedy = "nothing says which token the decoder begins with", "add decoder_start_token_id to its file"
            raise ModeledgeError("E-CONFIG", what, where="config.json", remedy=remedy)
        ends = specials.sep if specials.sep is not None else tokenizer.need("eos")
        types = config.embed.types > 1 if isinstance(config.embed, Tokens) else False
        return LabelPrepare("both", length, kind, specials.cls, ends, ends, types, class_weights, start)
    if config.encoder is not None:
        cls, sep = tokenizer.need("cls"), tokenizer.need("sep")
        return LabelPrepare("source", length, kind, cls, sep, sep, config.table.types > 1, class_weights)
    between = specials.sep if specials.sep is not None else specials.eos
    last = specials.cls if specials.cls is not None else specials.eos
    return LabelPrepare("target", length, kind, specials.bos, between, last, class_weights=class_weights)


def _text(row: Mapping[str, Any], column: str, number: int) -> str:
    where = str(row.get("__where__", f"row {number + 1}"))
    if column not in row:
        columns = [str(k) for k in row if k != "__where__"]
        what = f"there is no column {column!r}"
        raise ModeledgeError("E-MISSING-FIELD", what, where=where, remedy=nearest(column, columns))
    value = row[column]
    if not isinstance(value, str):
        raise ModeledgeError("E-FIELD-TYPE", f"column {column!r} is {type(value).__name__}, not text", where=where)
    if not value.strip():
        raise ModeledgeError(
            "E-MISSING-FIELD", f"column {column!r} is empty", where=where, remedy="fill or drop the row"
        )
    return value
