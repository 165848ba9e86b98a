"""Masked language modelling: hide some tokens, guess them from both sides (Devlin et al. 2019, section 3.1).

Of the chosen tokens 80 % become the mask, 10 % a random token and 10 % stay, so that the model must keep a good state
for every token. Masking is dynamic (Liu et al. 2019): a function of (seed, epoch, index), another one each epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, LMHead
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.objective import Loss, Objective
from modeledge.records import Example, IntArray, Piece, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class MaskedPrepare:
    """Choose round(rate · n) tokens (at least one) that are not special, and disguise them 80/10/10.

    `vocab` is the number of ids; `specials` (and `mask`, `cls`, `sep`, named there or not) are never chosen and never
    drawn as random tokens. Where `cls` and `sep` are given the example is wrapped in them; the stream must then leave
    two positions free.
    """

    vocab: int
    mask: int
    specials: tuple[int, ...] = ()
    rate: float = 0.15
    as_mask: float = 0.8
    as_random: float = 0.1
    cls: int | None = None
    sep: int | None = None
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = True

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        ids = self._wrapped(np.asarray(example.ids, dtype=np.int64))
        random = noise.at("mask").generator()
        candidates = np.flatnonzero(~np.isin(ids, self._special))
        if not len(candidates):
            raise ModeledgeError("E-NO-TARGET", "every token is special", where=f"example {example.index}")
        count = max(1, round(self.rate * len(candidates)))
        chosen = np.sort(random.choice(candidates, count, replace=False))
        labels = ids[chosen]
        return Prepared(
            example.index,
            source=Piece(self._disguised(ids, chosen, random)),
            reads={"lm": chosen},
            labels={"lm": labels},
            weights={"lm": np.ones(count, dtype=np.float32)},
        )

    @property
    def _special(self) -> tuple[int, ...]:
        return (*self.specials, *(i for i in (self.mask, self.cls, self.sep) if i is not None))

    def _wrapped(self, ids: IntArray) -> IntArray:
        before = [] if self.cls is None else [self.cls]
        after = [] if self.sep is None else [self.sep]
        return np.concatenate([before, ids, after]).astype(np.int64) if before or after else ids

    def _disguised(self, ids: IntArray, chosen: IntArray, random: np.random.Generator) -> IntArray:
        fate = random.random(len(chosen))
        ordinary = _ordinary(self.vocab, self._special)
        replacement = ordinary[random.integers(0, len(ordinary), len(chosen))]
        new = np.where(
            fate < self.as_mask, self.mask, np.where(fate < self.as_mask + self.as_random, replacement, ids[chosen])
        )
        disguised = ids.copy()
        disguised[chosen] = new
        return disguised


@cache
def _ordinary(vocab: int, specials: tuple[int, ...]) -> IntArray:
    """All ids that are not special."""
    return np.setdiff1d(np.arange(vocab), specials)


class MaskedLM(Objective):
    """Guess the chosen tokens; the head sees them alone."""

    def __init__(self, prepare: MaskedPrepare, *, head: LMHead | None = None) -> None:
        super().__init__()
        self.prepare = prepare
        self.heads: dict[str, Head] = {"lm": head or LMHead(transform=True, bias=True)}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        return Loss({"lm": vocabulary_term(model, batch, "lm")})
