"""Learning where an answer stands in a text: its first and its last token (Devlin et al. 2019, section 4.2).

Two vectors are learned. Their products with the states are start and end scores, and each is a softmax over the tokens
of the example, as if every token were a class. A window that does not hold the answer points at its first token, [CLS]:
"not here". The loss is the mean of both cross-entropies. Examples that share a row never share a softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, TokenHead, members
from modeledge.objectives.label import LabelPrepare, wide
from modeledge.objectives.objective import Loss, Objective, Term
from modeledge.records import Example, Prepared
from modeledge.seed import Noise

NOT_HERE = (0, 0)
UNKNOWN = (-1, -1)  # nobody knows where the answer stands in this example: it is read and teaches nothing


@dataclass(frozen=True)
class SpanPrepare:
    """Question (`ids`) and a window of the text (`pair`) → one piece in the form of `shape`, which must hold both.

    The label is (first, last) token of the answer, counted in the piece; `NOT_HERE` is its first token, and an example
    labelled `UNKNOWN` weighs nothing. Raises `E-LABEL-MISSING`, `E-TOO-LONG`.
    """

    shape: LabelPrepare
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        where = example.where or f"example {example.index}"
        if example.label is None:
            raise ModeledgeError("E-LABEL-MISSING", "no label", where=where)
        if cut := self.shape.truncated(example):
            raise ModeledgeError("E-TOO-LONG", f"{cut} tokens do not fit a row of {self.shape.length}", where=where)
        piece = self.shape.piece(example)
        known = tuple(example.label) != UNKNOWN
        first, last = example.label if known else NOT_HERE
        assert 0 <= first <= last < len(piece.ids), "an answer stands within its example"
        return Prepared(
            example.index,
            source=piece if self.shape.side == "source" else None,
            target=piece if self.shape.side == "target" else None,
            labels={"span": np.array([[first, last]], dtype=np.int64)},
            weights={"span": np.array([float(known)], dtype=np.float32)},
        )

    def before(self, question: int) -> int:
        """How many tokens stand before the window, behind a question of so many."""
        return question + sum(id is not None for id in (self.shape.first, self.shape.between))

    def room(self, question: int) -> int:
        """How many tokens of the text fit a row beside a question of so many; below 1 there is no room."""
        return self.shape.length - self.before(question) - (self.shape.last is not None)


class Span(Objective):
    """−(log softmax(start scores)[first] + log softmax(end scores)[last]) / 2 an example."""

    prepare: SpanPrepare

    def __init__(self, prepare: SpanPrepare, head: TokenHead | None = None) -> None:
        super().__init__()
        self.prepare = prepare
        self.heads: Mapping[str, Head] = {"span": head or TokenHead(outputs=2)}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        scores, labels, weights = self.scores(model, batch), batch.labels["span"], batch.weights["span"]
        told = torch.log_softmax(scores, 1).gather(1, labels[:, None]).squeeze(1)
        right = (scores.detach().argmax(1) == labels).all(1).to(weights.dtype)
        total = weights.sum()
        return Loss({"span": Term(-(told.mean(1) * weights).sum(), total)}, {"exact": ((right * weights).sum(), total)})

    def scores(self, model: Backbone, batch: Batch) -> torch.Tensor:
        """Start and end scores of each example's own tokens `[examples, longest, 2]`, in fp32 or wider; −∞ behind its
        last."""
        states = model(batch).last
        row, start, end = batch.spans.unbind(1)
        example, position = members(batch, states.shape[1])
        told = wide(model.heads["span"](states.flatten(0, 1)[position]))
        within = position - (row * states.shape[1] + start)[example]
        scores = told.new_full((len(row), int((end - start).max()), 2), float("-inf"))
        return scores.index_put((example, within), told)
