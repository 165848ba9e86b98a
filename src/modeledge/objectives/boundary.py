"""SpanBERT: guess what a span hides from the words around it alone (Joshi et al. 2020, arXiv 1907.10529, section 3.2).

Beside the masked language model each token xᵢ of a hidden span (s … e) is predicted from the last states of the tokens
just outside it and an embedding of its place in the span, never from its own state:

    L(xᵢ) = L_MLM(xᵢ) + L_SBO(xᵢ) = −log p(xᵢ | xᵢ's state) − log p(xᵢ | yᵢ)
    yᵢ = f(x_{s−1}, x_{e+1}, p_{i−s+1})                           f: `BoundaryHead`

So the ends of a span must sum up what lies between them, which is what reading an answer's first and last token asks
for. The authors hide spans (`units.spans`), and leave out next-sentence prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.boundary import Boundary, BoundaryHead
from modeledge.model.heads import Head, LMHead
from modeledge.model.likelihood import token_loss
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.masked import MaskedPrepare
from modeledge.objectives.objective import Loss, Objective, Term
from modeledge.records import Example, Prepared
from modeledge.seed import Noise

NAME, LEFT, RIGHT, PLACE = "sbo", "sbo.left", "sbo.right", "sbo.place"


@dataclass(frozen=True)
class BoundaryPrepare:
    """The mask of `masked`, and for each hidden token where its span's neighbours stand and its place in the span.

    Neighbours are tokens that can be read: spans that touch count as one. `masked` must put special tokens around an
    example (`cls` and `sep`), or the first and last token could have no neighbour (`E-CONFIG`).
    """

    masked: MaskedPrepare
    noisy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.masked.cls is None or self.masked.sep is None:
            what = "a span at the end of an example has no token outside it"
            raise ModeledgeError("E-CONFIG", what, where="objective.sbo", remedy="use a tokenizer with [CLS] and [SEP]")

    @property
    def channels(self) -> frozenset[str]:
        """What shards must carry beside ids."""
        return self.masked.channels

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        told = self.masked(example, noise)
        at = told.reads["lm"]
        opens = np.diff(at, prepend=-2) > 1
        first = at[opens][np.cumsum(opens) - 1]
        last = at[np.append(opens[1:], True)][np.cumsum(opens) - 1]
        return replace(
            told,
            reads={**told.reads, LEFT: first - 1, RIGHT: last + 1},
            labels={**told.labels, NAME: told.labels["lm"], PLACE: at - first},
            weights={**told.weights, NAME: told.weights["lm"]},
        )


class BoundaryLM(Objective):
    """Masked language modelling and the span-boundary objective, as the terms "lm" and "sbo" of equal share."""

    def __init__(
        self, prepare: BoundaryPrepare, *, head: LMHead | None = None, boundary: BoundaryHead | None = None
    ) -> None:
        super().__init__()
        self.prepare, self.repeats = prepare, prepare.masked.masks
        self.heads: Mapping[str, Head] = {
            "lm": head or LMHead(transform=True, bias=True),
            NAME: boundary or BoundaryHead(),
        }

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        states = model(batch).last
        head, flat = model.heads[NAME], states.flatten(0, 1)
        assert isinstance(head, Boundary)
        told = head.hidden(flat[batch.reads[LEFT]], flat[batch.reads[RIGHT]], batch.labels[PLACE])
        weights = batch.weights[NAME]
        total = token_loss(told, model.table, batch.labels[NAME], weights, bias=head.bias)
        return Loss({"lm": vocabulary_term(model, batch, "lm", states=states), NAME: Term(total, weights.sum())})
