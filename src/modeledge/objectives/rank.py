"""Texts as vectors that rank: a text's vector should lie nearer to its pair's than to any other text's.

In-batch negatives (van den Oord et al. 2018, arXiv 1807.03748, equation 4; Henderson et al. 2017, arXiv 1705.00652,
section 4): with unit vectors qᵢ of the texts and cⱼ of all pairs and hard negatives of the batch,

    loss = Σᵢ −log( exp(qᵢ·cᵢ / τ) / Σⱼ exp(qᵢ·cⱼ / τ) ).

Every pair is a negative for all other texts, so a large batch teaches more and the examples of a batch see each other:
such a batch is not split. A pair that stands in the batch twice would be its own negative; equal pairs are left out of
the sum. The graded variant fits the cosine of two texts to a number in [0, 1] (Reimers and Gurevych 2019, arXiv
1908.10084, section 3).

All texts of an example stand in one row as parts that do not see each other, so nothing is computed twice or padded.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, Pool, pooled
from modeledge.objectives.label import LabelPrepare, wide
from modeledge.objectives.objective import Loss, Objective, Term
from modeledge.records import Example, IntArray, Piece, Prepared
from modeledge.seed import Noise

TEXT, PAIR, NEGATIVE = range(3)


@dataclass(frozen=True)
class RankPrepare:
    """`Example.ids` is the text, `pair` its pair; the channel `negatives` holds the ids of further texts one behind
    the other, `negative_lengths` how many are of each. `reading` frames one text. `graded` asks for a label."""

    reading: LabelPrepare
    graded: bool = False
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        texts = texts_of(example)
        pieces = [self.reading.piece(replace(example, ids=ids, pair=None)) for ids in texts]
        ends = list(accumulate(len(piece.ids) for piece in pieces))
        kinds = [piece.types for piece in pieces if piece.types is not None]
        whole = Piece(
            np.concatenate([piece.ids for piece in pieces]),
            np.concatenate(kinds) if kinds else None,
            breaks=tuple(ends[:-1]),
        )
        if self.graded and example.label is None:
            raise ModeledgeError("E-LABEL-MISSING", "no label", where=example.where or f"example {example.index}")
        grade = np.array([example.label or 0.0], dtype=np.float32)
        roles = [TEXT, PAIR, *[NEGATIVE] * (len(pieces) - 2)]
        return Prepared(
            example.index,
            source=whole if self.reading.side == "source" else None,
            target=whole if self.reading.side == "target" else None,
            reads={"first": np.array([0, *ends[:-1]]), "last": np.array(ends) - 1},
            labels={
                "grade": grade,
                "role": np.array(roles),
                "text": np.array([zlib.crc32(np.ascontiguousarray(ids, "<i8").tobytes()) for ids in texts]),
            },
            weights={"rank": np.ones(1, dtype=np.float32)},
        )


def texts_of(example: Example) -> list[IntArray]:
    """Text, pair and negatives of an example."""
    assert example.pair is not None, "a text to rank has a pair"
    found: list[IntArray] = [example.ids, example.pair]
    if "negatives" in example.channels:
        flat, lengths = example.channels["negatives"], example.channels["negative_lengths"]
        found += np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []
    return found


class Rank(Objective):
    """InfoNCE over the texts of a batch, or with `graded` the squared error of a pair's cosine."""

    prepare: RankPrepare

    def __init__(self, prepare: RankPrepare, *, pool: Pool = "mean", temperature: float = 0.05) -> None:
        super().__init__()
        if not temperature > 0:
            raise ModeledgeError("E-CONFIG-VALUE", f"temperature {temperature} is not above 0")
        self.prepare, self.pool, self.temperature = prepare, pool, temperature
        self.heads: Mapping[str, Head] = {}
        self.couples = not prepare.graded

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        vectors, roles = self.vectors(model, batch), batch.labels["role"]
        texts, pairs = vectors[roles == TEXT], vectors[roles == PAIR]
        weights = batch.weights["rank"]
        if self.prepare.graded:
            losses = ((texts * pairs).sum(-1) - batch.labels["grade"]) ** 2
            return Loss({"rank": Term((losses * weights).sum(), weights.sum())})
        names = torch.cat([batch.labels["text"][roles == role] for role in (PAIR, NEGATIVE)])
        scores = texts @ torch.cat([pairs, vectors[roles == NEGATIVE]]).T / self.temperature
        own = torch.arange(len(texts), device=scores.device)
        twins = names[None, :] == names[: len(texts), None]
        twins[own, own] = False
        scores = scores.masked_fill(twins, -torch.inf)
        losses = F.cross_entropy(scores, own, reduction="none")
        right = (scores.detach().argmax(-1) == own).to(weights.dtype)
        term = Term((losses * weights).sum(), weights.sum())
        return Loss({"rank": term}, {"accuracy": (right.sum(), torch.tensor(float(len(right))))})

    def vectors(self, model: Backbone, batch: Batch) -> Tensor:
        """Unit vectors `[texts, width]` in fp32 or wider, in the order of `batch.labels["role"]`."""
        return F.normalize(wide(self.pooled(model, batch)), dim=-1)

    def pooled(self, model: Backbone, batch: Batch) -> Tensor:
        """The vector of each text as the model reads it, `[texts, width]`."""
        states = model(batch).last
        first, last, seq = batch.reads["first"], batch.reads["last"], states.shape[1]
        spans = torch.stack([first // seq, first % seq, last % seq + 1], 1)
        return pooled(states, replace(batch, spans=spans), self.pool)
