"""T5's, MASS's, BART's and UL2's objectives and prefix language modelling in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from modeledge.corpus.channels import SALIENT
from modeledge.corpus.pairs import sentence_begins
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.config import TransformerConfig
from modeledge.objectives import (
    Bart,
    Damage,
    Dropped,
    Form,
    Fragment,
    Masked,
    Objective,
    PrefixLM,
    RandomSpans,
    Salients,
    Scattered,
    Shuffled,
    Split,
    ul2,
)
from modeledge.objectives.bart import SENTENCES
from modeledge.objectives.form import Kind
from modeledge.objectives.mixture import MODES
from modeledge.recipes.objectives.mending import Mending, Signs, mask_of
from modeledge.tokens import Tokenizer

Variant = Literal["spans", "salient", "iid", "drop", "mask", "bert", "deshuffle", "mass"]
RATES = {"mass": 0.5}  # the share that is hidden, where it is not 15 %


class DenoiseAim(Mending):
    """T5's objectives (Raffel et al. 2020, table 3) and MASS.

    `variant`: "spans" of mean length `mean`, names, dates and numbers ("salient"; spans where a text has none), or runs
    of tokens chosen one by one ("iid"), each replaced by a sentinel; chosen tokens dropped ("drop"), masked with the
    whole text as target ("mask", the paper's "MASS-style"), likewise with one in ten another token ("bert"); the text
    in a random order ("deshuffle"); one half hidden and alone the target ("mass"). `rate` of the tokens are hidden:
    0.15, and 0.5 for "mass".
    """

    kind: Literal["denoise"] = "denoise"
    variant: Variant = "spans"
    rate: float | None = Field(default=None, gt=0, lt=1)
    mean: float = Field(default=3.0, ge=1)

    sized: ClassVar[str] = "rate"

    @model_validator(mode="after")
    def _read(self) -> DenoiseAim:
        if self.variant not in ("spans", "salient") and self.mean != 3.0:
            raise ValueError(f'mean is read where variant = "spans" or "salient", not with variant = "{self.variant}"')
        if self.variant == "deshuffle" and self.rate is not None:
            raise ValueError('rate is not read where variant = "deshuffle": all tokens move')
        return self

    @property
    def channels(self) -> frozenset[str]:
        return frozenset({SALIENT}) if self.variant == "salient" else frozenset()

    @property
    def numbers(self) -> Mapping[str, str]:
        if self.variant == "deshuffle":
            return {}
        told = {"rate": "damage.share" if self.variant == "mass" else "damage.rate"}
        return {**told, "mean": "damage.mean"} if self.variant in ("spans", "salient") else told

    def damage(self, signs: Signs) -> Damage:
        rate = self.rate if self.rate is not None else RATES.get(self.variant, 0.15)
        vocab, specials = signs.vocab, signs.specials
        ways: dict[str, Damage] = {
            "spans": RandomSpans(signs.sentinels, rate, self.mean),
            "salient": Salients(signs.sentinels, rate, self.mean),
            "iid": Scattered(signs.sentinels, rate),
            "drop": Dropped(rate),
            "mask": Masked(signs.mask, rate),
            "bert": Masked(signs.mask, rate, as_random=0.1, vocab=vocab, specials=specials),
            "deshuffle": Shuffled(),
            "mass": Fragment(signs.mask, rate, vocab=vocab, specials=specials),
        }
        return ways[self.variant]

    def signs(self, tokenizer: Tokenizer) -> Signs:
        found = super().signs(tokenizer)
        return replace(found, mask=mask_of(tokenizer)) if self.variant in ("mask", "bert", "mass") else found


class BartAim(Mending):
    """BART's noises, all of the text the target: `infill` of the tokens in spans of Poisson(`poisson`) tokens, each a
    mask; sentences permuted with chance `permute`; `masking` and `delete` of the tokens; with chance `rotate` another
    token first. What is 0 is not done."""

    kind: Literal["bart"] = "bart"
    infill: float = Field(default=0.3, ge=0, lt=1)
    poisson: float = Field(default=3.0, gt=0)
    permute: float = Field(default=1.0, ge=0, le=1)
    masking: float = Field(default=0.0, ge=0, lt=1)
    delete: float = Field(default=0.0, ge=0, lt=1)
    rotate: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _noisy(self) -> BartAim:
        if not any((self.infill, self.permute, self.masking, self.delete, self.rotate)):
            raise ValueError("there is no noise: the model would learn to copy")
        if not self.infill and self.poisson != BartAim.model_fields["poisson"].default:
            raise ValueError("poisson is the mean length of spans, and with infill = 0 there are none: leave one out")
        return self

    @property
    def channels(self) -> frozenset[str]:
        return frozenset({SENTENCES}) if self.ever("permute") else frozenset()

    @property
    def numbers(self) -> Mapping[str, str]:
        return {key: f"damage.{key}" for key in ("infill", "poisson", "permute", "masking", "delete", "rotate")}

    def damage(self, signs: Signs) -> Damage:
        return Bart(signs.mask, self.infill, self.poisson, self.permute, self.masking, self.delete, self.rotate)

    def check_corpus(self, shards: Shards) -> None:
        if self.ever("permute") and len(sentence_begins(shards)) <= np.count_nonzero(np.diff(shards.documents)):
            what = f"permute is {self.permute:g}, and no document has two sentences to be put in another order"
            remedy = "set objective.permute = 0, or give documents of several sentences"
            raise ModeledgeError("E-NO-TARGET", what, where="objective.permute", remedy=remedy)

    def signs(self, tokenizer: Tokenizer) -> Signs:
        masks = self.ever("infill") or self.ever("masking")
        return replace(super().signs(tokenizer), mask=mask_of(tokenizer) if masks else 0)


class UL2Aim(Mending):
    """UL2's seven denoisers, each as likely; `modes` are the tokens of its regular, sequential and extreme ones, none
    where it is empty."""

    kind: Literal["ul2"] = "ul2"
    modes: tuple[str, ...] = MODES

    @model_validator(mode="after")
    def _three(self) -> UL2Aim:
        if len(self.modes) not in (0, 3):
            raise ValueError("modes are three tokens (regular, sequential, extreme), or none")
        return self

    def damage(self, signs: Signs) -> Damage:
        regular, sequential, extreme = signs.modes or (0 if self.modes else None,) * 3
        return ul2(signs.sentinels, (regular, sequential, extreme))

    def signs(self, tokenizer: Tokenizer) -> Signs:
        ids = {name: tokenizer.id(name) for name in self.modes}
        missing = [name for name, id in ids.items() if id is None]
        if missing:
            what = f"the tokenizer has no {' '.join(missing)}"
            extra = str(missing).replace("'", '"')
            remedy = f"set tokenizer.extra = {extra}, name others with objective.modes, or set objective.modes = []"
            raise ModeledgeError("E-SPECIAL-TOKEN", what, where="objective.modes", remedy=remedy)
        found = super().signs(tokenizer)
        return replace(found, modes=tuple(ids.values()) or (None,) * 3)

    def reserves(self, length: int) -> tuple[str, ...]:
        return (*super().reserves(length), *self.modes)


class PrefixAim(Mending):
    """Prefix language modelling: a text is cut anywhere, or behind `share` of it, and the rest is written. Nothing is
    added to the text."""

    kind: Literal["prefix"] = "prefix"
    share: float | None = Field(default=None, gt=0, lt=1)
    forms: ClassVar[frozenset[Kind]] = frozenset({"prefix", "encoder-decoder"})
    sized: ClassVar[str] = "share"

    @model_validator(mode="after")
    def _prefixed(self) -> PrefixAim:
        if self.form is not None and self.form not in self.forms:
            raise ValueError('kind "prefix" on a decoder that reads from left to right is kind = "causal"')
        return self

    @property
    def numbers(self) -> Mapping[str, str]:
        return {"share": "damage.share"}

    def damage(self, signs: Signs) -> Damage:
        return Split(self.share)

    def laid(self, model: Backbone, tokenizer: Tokenizer, kind: Kind) -> Form:
        start = super().laid(model, tokenizer, kind).start if kind == "encoder-decoder" else ()
        return Form(kind, start)

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        assert self._form is not None, "the form depends on the model: ask on() first"
        return PrefixLM(self._form, share=self.share)
