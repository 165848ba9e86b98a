"""Masked language modelling: hide some tokens, guess them from both sides (Devlin et al. 2019, section 3.1).

    L = −Σ log p(xᵢ | x with the chosen tokens disguised)      over the chosen tokens i

Of the chosen tokens 80 % become the mask, 10 % a random token and 10 % stay, so that the model must keep a good state
for every token. What is chosen together is a `Unit`; by default each token's disguise is drawn by itself, as BERT does
under whole-word masking too, and a SpanBERT span's as one. Masking is dynamic (Liu et al. 2019, section 4.1): a
function of (seed, epoch, index), another one each epoch. With `masks=k` it is static: each example has k masks, which
come again after k epochs (BERT trained 40 epochs on 10 of them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, LMHead
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.damage import ordinary
from modeledge.objectives.objective import Loss, Measure, Objective
from modeledge.objectives.units import Chosen, Readable, Single, Unit
from modeledge.records import Example, IntArray, Piece, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class MaskedPrepare:
    """Choose `rate` of the tokens that are not special, unit by unit (at least one), and disguise them 80/10/10.

    `vocab` is the number of ids; `specials` (and `mask`, `cls`, `sep`, named there or not) are never chosen and never
    drawn as random tokens. What is neither `as_mask` nor `as_random` stays as it is. Where `cls` and `sep` are given
    the example is wrapped in them; the stream must then leave two positions free. Raises `E-CONFIG-VALUE` for a rate
    that hides nothing or everything, and for shares that are none.
    """

    vocab: int
    mask: int
    specials: tuple[int, ...] = ()
    rate: float = 0.15
    as_mask: float = 0.8
    as_random: float = 0.1
    cls: int | None = None
    sep: int | None = None
    unit: Unit = field(default_factory=Single)
    masks: int | None = None
    noisy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            why = "nothing would be learned" if self.rate <= 0 else "nothing would be left to read"
            raise ModeledgeError("E-CONFIG-VALUE", f"the mask rate is {self.rate}", where="rate", why=why)
        if min(self.as_mask, self.as_random) < 0 or self.as_mask + self.as_random > 1 + 1e-9:
            what = f"as_mask {self.as_mask} and as_random {self.as_random} are no shares of the chosen tokens"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="as_mask", remedy="give two that sum to 1 at most")
        if self.masks is not None and self.masks < 1:
            what, remedy = f"masks is {self.masks}", "give the number of masks of an example, or none for a new one"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="masks", remedy=f"{remedy} each epoch")

    @property
    def channels(self) -> frozenset[str]:
        """What shards must carry beside ids."""
        return self.unit.channels

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        ids, disguised, chosen = self.hide(example, noise)
        return Prepared(
            example.index,
            source=Piece(disguised),
            reads={"lm": chosen.places},
            labels={"lm": ids[chosen.places]},
            weights={"lm": np.ones(len(chosen.places), dtype=np.float32)},
        )

    def hide(self, example: Example, noise: Noise) -> tuple[IntArray, IntArray, Chosen]:
        """The ids with their edges, the same in disguise, and what was chosen. Raises `E-NO-TARGET`."""
        ids = self._wrapped(np.asarray(example.ids, dtype=np.int64))
        random = noise.at("mask").generator()
        places = np.flatnonzero(~np.isin(ids, self._special))
        where = example.where or f"example {example.index}"
        if not len(places):
            raise ModeledgeError("E-NO-TARGET", "every token is special", where=f"example {example.index}")
        first = 0 if self.cls is None else 1
        channels: Mapping[str, IntArray] = {
            name: example.channels[name][places - first] for name in self.channels & example.channels.keys()
        }
        chosen = self.unit.choose(Readable(places, channels, where), self.rate, random)
        return ids, self._disguised(ids, chosen, random), chosen

    @property
    def _special(self) -> tuple[int, ...]:
        return (*self.specials, *(i for i in (self.mask, self.cls, self.sep) if i is not None))

    def _wrapped(self, ids: IntArray) -> IntArray:
        before = [] if self.cls is None else [self.cls]
        after = [] if self.sep is None else [self.sep]
        return np.concatenate([before, ids, after]).astype(np.int64) if before or after else ids

    def _disguised(self, ids: IntArray, chosen: Chosen, random: np.random.Generator) -> IntArray:
        count = len(chosen.places)
        fate = random.random(int(chosen.units[-1]) + 1)[chosen.units] if self.unit.together else random.random(count)
        others = ordinary(self.vocab, self._special)
        replacement = others[random.integers(0, len(others), count)]
        stay = np.where(fate < self.as_mask + self.as_random, replacement, ids[chosen.places])
        disguised = ids.copy()
        disguised[chosen.places] = np.where(fate < self.as_mask, self.mask, stay)
        return disguised


class MaskedLM(Objective):
    """Guess the chosen tokens; the head sees them alone."""

    measure: ClassVar[Measure] = "pseudo"

    def __init__(self, prepare: MaskedPrepare, *, head: LMHead | None = None) -> None:
        super().__init__()
        self.prepare, self.repeats = prepare, prepare.masks
        self.heads: dict[str, Head] = {"lm": head or LMHead(transform=True, bias=True)}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        return Loss({"lm": vocabulary_term(model, batch, "lm")})
