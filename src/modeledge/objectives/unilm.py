"""UniLM: one body that reads in several patterns (Dong et al. 2019, arXiv 1905.03197).

The task is BERT's, hidden tokens are guessed where they stand; what changes from example to example is who sees whom:

    bidirectional   every token sees all of the example                  prefix marks on all of it
    causal          a token sees those before it, and itself              no prefix marks
    sequence        a source is read both ways, its target causally       prefix marks on the source

So one causal stack with prefix marks is all that is needed. Each example draws a pattern, one third each (their section
2.3). The source and the target of a sequence are two neighbouring stretches of text, cut at a place drawn uniformly,
hidden tokens being in both. With `backwards` half of the causal third is read from right to left: the text is given in
reverse, so its positions count from its end (the paper's keep theirs and reverse the mask alone). Not here:
next-sentence prediction, which the paper adds to the bidirectional pattern (its examples are pairs, which the other
patterns cannot read), and hiding two or three tokens in a row (20 % of the time), which is the masking's affair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, LMHead
from modeledge.objectives.blend import Blend
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.objective import Loss, Objective, Prepare
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise

Reading = Literal["bidirectional", "causal", "backwards", "sequence"]
ADDED = 3  # special tokens that a sequence has: before, between and behind its two texts


@dataclass(frozen=True)
class ReadingPrepare:
    """What `masking` makes of an example (see `MaskedPrepare`), for a decoder that reads it in one pattern.

    `between` parts the source from the target of a sequence.
    """

    masking: Any
    reading: Reading
    between: int
    noisy: ClassVar[bool] = True

    @property
    def channels(self) -> frozenset[str]:
        return self.masking.channels  # type: ignore[no-any-return]

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        hidden = self.masking(example, noise)
        text, reads, source = hidden.source.ids, hidden.reads["lm"], 0
        if self.reading == "sequence":
            if len(example.ids) < 2:
                what = "one token cannot be cut into a source and a target"
                raise ModeledgeError("E-NO-TARGET", what, where=f"example {example.index}")
            cut = int(noise.at("cut").generator().integers(1, len(example.ids))) + (self.masking.cls is not None)
            text, reads, source = np.insert(text, cut, self.between), reads + (reads >= cut), cut + 1
        if self.reading == "backwards":
            text, reads = text[::-1].copy(), len(text) - 1 - reads
        prefix = np.arange(len(text)) < (len(text) if self.reading == "bidirectional" else source)
        piece = Piece(text, prefix=prefix if prefix.any() else None)
        return Prepared(example.index, None, piece, {"lm": reads}, hidden.labels, hidden.weights)


class ReadingLM(Objective):
    """Guess the hidden tokens where they stand, in one pattern of reading."""

    def __init__(self, prepare: ReadingPrepare, *, head: LMHead | None = None) -> None:
        super().__init__()
        self.prepare: Prepare = prepare
        self.heads: dict[str, Head] = {"lm": head or LMHead()}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        return Loss({"lm": vocabulary_term(model, batch, "lm")})


class UniLM(Blend):
    """The patterns in turn, with one head: the terms bidirectional.lm, causal.lm and sequence.lm (and backwards.lm)."""

    def __init__(self, masking: Any, between: int, *, head: LMHead | None = None, backwards: bool = False) -> None:
        shares: dict[Reading, float] = {"bidirectional": 1 / 3, "causal": 1 / 3, "sequence": 1 / 3}
        if backwards:
            shares |= {"causal": 1 / 6, "backwards": 1 / 6}
        parts = {str(name): ReadingLM(ReadingPrepare(masking, name, between), head=head) for name in shares}
        often = {str(name): share for name, share in shares.items()}
        super().__init__(parts, weights=often, chances=often)
