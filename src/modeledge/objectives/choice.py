"""Choosing among alternatives: each is read with the context, one score each, one softmax over those of an example.

An encoder reads `[CLS] context [SEP] choice [SEP]` (Zellers et al. 2018, SWAG, as Devlin et al. 2019, section 4.4, do
it), a decoder `[START] context [DELIM] choice [EXTRACT]` (Radford et al. 2018, figure 1). The number of alternatives
may differ from example to example. No alternative sees another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import ClassHead
from modeledge.objectives.label import Labelling, LabelPrepare, wide
from modeledge.objectives.objective import Loss, Term
from modeledge.objectives.parts import Laid, joined, next_tokens, parted
from modeledge.records import Example, IntArray, Piece, Prepared
from modeledge.seed import Noise

CHOICES, ENDS, NAME = "choices", "ends", "choice"


@dataclass(frozen=True)
class ChoicePrepare:
    """Context and alternatives → one piece, a part each, in the `shape` that pairs of texts have.

    `Example.ids` is the context (empty: there is none); the channel "choices" holds the ids of all alternatives, one
    behind the other, "ends" where each ends. A part that is too long loses the end of its context, never a token of the
    alternative; where that alone does not fit: `E-TOO-LONG`.
    """

    shape: LabelPrepare
    channels: frozenset[str] = frozenset({CHOICES, ENDS})
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        piece, text = joined(self.laid(example), self.shape.types)
        source, target = self.shape.sides(piece)
        if example.label is None:
            where = example.where or f"example {example.index}"
            raise ModeledgeError("E-LABEL-MISSING", "no label", where=where)
        reads, labels, weights = next_tokens(piece, text) if self.shape.lm else ({}, {}, {})
        return Prepared(
            example.index,
            source=source,
            target=target,
            reads={NAME: np.array([0, *piece.breaks], dtype=np.int64), **reads},
            labels={NAME: np.array([example.label], dtype=np.int64), **labels},
            weights={NAME: np.ones(1, dtype=np.float32), **weights},
        )

    def piece(self, example: Example) -> Piece:
        """The ids that the model reads, without the label."""
        return joined(self.laid(example), self.shape.types)[0]

    def laid(self, example: Example) -> list[list[Laid]]:
        """One part an alternative."""
        parts = []
        for number, choice in enumerate(alternatives(example)):
            kept = max(self.room(example, choice, number), 0)
            context = example.ids[:kept]
            parts.append(self.shape.laid_out(context, choice) if len(context) else self.shape.laid_out(choice, None))
        return parts

    def room(self, example: Example, choice: IntArray, number: int) -> int:
        """How many tokens of the context fit beside an alternative."""
        shape, pair = self.shape, len(example.ids) > 0
        specials = sum(x is not None for x in (shape.first, shape.last))
        room = shape.length - specials - len(choice)
        if room < 0:
            what = f"choice {number + 1} has {len(choice)} tokens, a part has room for {shape.length - specials}"
            where = example.where or f"example {example.index}"
            raise ModeledgeError("E-TOO-LONG", what, where=where, remedy="raise the row length; no choice is cut")
        return room - (1 if pair and shape.between is not None else 0)

    def truncated(self, example: Example) -> int:
        """How many tokens of the context do not fit beside the longest alternative."""
        rooms = [self.room(example, choice, n) for n, choice in enumerate(alternatives(example))]
        return max(len(example.ids) - max(min(rooms), 0), 0)


def alternatives(example: Example) -> list[IntArray]:
    """The ids of each alternative."""
    return np.split(example.channels[CHOICES], example.channels[ENDS][:-1])


class Choose(Labelling):
    """−log softmax(scores)[right one] over the alternatives of each example."""

    name: ClassVar[str] = NAME

    def __init__(self, prepare: ChoicePrepare, head: ClassHead, *, lm: float = 0.0) -> None:
        super().__init__(prepare, head, lm)
        assert head.outputs == 1, "each alternative has one score"
        self.longest = prepare.shape.length

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        states = model(batch).last
        scores = self.read(model, states, batch)
        labels, weights = batch.labels[NAME], batch.weights[NAME]
        losses = F.cross_entropy(scores, labels, reduction="none")
        right = (scores.detach().argmax(-1) == labels).to(weights.dtype)
        terms = {NAME: Term((losses * weights).sum(), weights.sum()), **self.auxiliary(model, states, batch)}
        return Loss(terms, {"accuracy": (right.sum(), torch.tensor(float(len(labels))))})

    def read(self, model: Backbone, states: Tensor, batch: Batch) -> Tensor:
        """Scores `[examples, most alternatives]`; −∞ where an example has fewer."""
        parts, owner = parted(batch, NAME)
        told = wide(model.heads[NAME](states, parts)).squeeze(-1)
        counts = torch.bincount(owner, minlength=len(batch.spans))
        within = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
        empty = told.new_full((len(counts), int(counts.max())), -torch.inf)
        return empty.index_put((owner, within), told)
