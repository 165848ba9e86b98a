"""Learning tags: one label a word, read at the first piece of the word (Devlin et al. 2019, section 5.3).

A word of several pieces is scored once, where it begins; the pieces behind its first one, the special tokens and the
context that a window shares with its neighbour have no label and no weight. So a long word counts as much as a short
one, and a word that stands in two windows counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.chain import ChainHead
from modeledge.model.heads import Head, TokenHead
from modeledge.objectives.label import wide
from modeledge.objectives.objective import Loss, Objective, Term
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise

BEGINS, ENDS = 1, 2  # bits of the channel "ends": where a window stands in its sentence


@dataclass(frozen=True)
class TagPrepare:
    """A window of a sentence → one piece between its special tokens, read where each of its words begins.

    `Example.channels["reads"]` are the places of these words in `Example.ids`, `Example.label` their tag numbers;
    `channels["ends"]` says whether the window begins (1) and ends (2) its sentence. `side` and the special ids are as
    in `LabelPrepare`. With `chain` the ends go along, for a head that scores whole sequences.
    """

    side: Literal["source", "target"]
    first: int | None = None
    last: int | None = None
    types: bool = False
    chain: bool = False
    channels: frozenset[str] = frozenset({"reads", "ends"})
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        reads, where = example.channels["reads"], example.where or f"example {example.index}"
        if example.label is None:
            raise ModeledgeError("E-LABEL-MISSING", "no tags", where=where)
        if len(example.label) != len(reads):
            what = f"{len(example.label)} tags stand against {len(reads)} words"
            raise ModeledgeError("E-LENGTH-MISMATCH", what, where=where)
        piece = self.piece(example)
        labels = {"tags": np.array(example.label, dtype=np.int64)}
        return Prepared(
            example.index,
            source=piece if self.side == "source" else None,
            target=piece if self.side == "target" else None,
            reads={"tags": reads.astype(np.int64) + (self.first is not None)},
            labels=labels | ({"ends": example.channels["ends"].astype(np.int64)} if self.chain else {}),
            weights={"tags": np.ones(len(reads), dtype=np.float32)},
        )

    def piece(self, example: Example) -> Piece:
        """The ids that the model reads; nothing to read still takes one place."""
        edges = [[] if id is None else [id] for id in (self.first, self.last)]
        ids = np.concatenate([np.asarray(part, dtype=np.int64) for part in (edges[0], example.ids, edges[1])])
        ids = ids if len(ids) else np.zeros(1, dtype=np.int64)
        return Piece(ids, np.zeros(len(ids), dtype=np.int64) if self.types else None)


class TagTokens(Objective):
    """−log softmax(scores)[tag] a word, or with a `chain` −log p(all tags of the window), both per word.

    The head is called "tags", as the families know it: a plain one is saved in the form of the reference library.
    """

    def __init__(self, prepare: TagPrepare, head: TokenHead, *, smoothing: float = 0.0) -> None:
        super().__init__()
        if prepare.chain and smoothing:
            raise ModeledgeError("E-CONFIG", "a chain of tags has no label smoothing", where="options.smoothing")
        self.prepare: TagPrepare = prepare
        self.smoothing = smoothing
        self.heads: Mapping[str, Head] = {"tags": head}
        if prepare.chain:
            self.heads = {**self.heads, "chain": ChainHead(outputs=head.outputs)}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        scores = self.scores(model, batch)
        labels, weights = batch.labels["tags"], batch.weights["tags"]
        right = (scores.detach().argmax(-1) == labels).to(weights.dtype)
        if self.prepare.chain:
            total = self._chained(model, batch, scores)
        else:
            losses = F.cross_entropy(scores, labels, reduction="none", label_smoothing=self.smoothing)
            total = (losses * weights).sum()
        count = torch.tensor(float(len(labels)))
        return Loss({"tags": Term(total, weights.sum())}, {"accuracy": (right.sum(), count)})

    def scores(self, model: Backbone, batch: Batch) -> Tensor:
        """Scores of each word's tags `[words, tags]` in fp32 or wider; the other tokens are never scored."""
        states = model(batch).last.flatten(0, 1)
        return wide(model.heads["tags"](states[batch.reads["tags"]]))

    def _chained(self, model: Backbone, batch: Batch, scores: Tensor) -> Tensor:
        """Words as sequences `[windows, longest]`, then the chain; a window without a word costs nothing."""
        counts = torch.bincount(owners(batch), minlength=len(batch.spans))
        there = counts > 0
        lengths = counts[there]
        if not len(lengths):
            return scores.sum()
        room = torch.arange(int(lengths.max()), device=scores.device) < lengths[:, None]
        padded = scores.new_zeros(*room.shape, scores.shape[1]).masked_scatter(room[:, :, None], scores)
        tags = torch.zeros_like(room, dtype=torch.long).masked_scatter(room, batch.labels["tags"])
        said = batch.labels["ends"][there]
        ends = torch.stack(((said & BEGINS) > 0, (said & ENDS) > 0), 1)
        losses: Tensor = model.heads["chain"](padded, tags, lengths, ends)
        return losses.sum()


def owners(batch: Batch) -> Tensor:
    """The example of the batch that each read belongs to, `[words]`: examples stand in rising order of place."""
    seq = batch.side.ids.shape[1]
    starts = batch.spans[:, 0] * seq + batch.spans[:, 1]
    return torch.searchsorted(starts, batch.reads["tags"], right=True) - 1
