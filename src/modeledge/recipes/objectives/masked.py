"""Masked language modelling in a recipe: what is hidden together, how it is disguised, and SpanBERT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modeledge.model.config import TransformerConfig
from modeledge.objectives import (
    BoundaryLM,
    BoundaryPrepare,
    MaskedLM,
    MaskedPrepare,
    Objective,
    Salient,
    Single,
    Unit,
    ngrams,
    spans,
    whole_words,
)
from modeledge.recipes.objectives.aim import Aim, Body, needed
from modeledge.tokens import Tokenizer

UNITS: dict[str, Callable[[], Unit]] = {"token": Single, "word": whole_words, "ngram": ngrams, "salient": Salient}


class Masking(Aim):
    """What all masked language models say. Two positions are left free for [CLS] and [SEP].

    `rate` of the tokens are learned; `as_mask` of these become the mask, `as_random` a random token, the rest stays
    (BERT: 80/10/10; 100/0/0 and 80/0/20 are its ablations, Devlin et al. 2019, appendix C.2). `static` gives each
    example that many masks for the whole run (BERT: 10), 0 a new one each epoch (RoBERTa).
    """

    rate: float = Field(default=0.15, gt=0, lt=1)
    as_mask: float = Field(default=0.8, ge=0, le=1)
    as_random: float = Field(default=0.1, ge=0, le=1)
    static: int = Field(default=0, ge=0)
    bodies: ClassVar[frozenset[Body]] = frozenset({"encoder"})
    shared: ClassVar[int | None] = 0

    @model_validator(mode="after")
    def _shares(self) -> Masking:
        if self.as_mask + self.as_random > 1 + 1e-9:
            raise ValueError("as_mask and as_random sum to more than 1")
        return self

    @property
    def numbers(self) -> Mapping[str, str]:
        return {"rate": "rate", "as_mask": "as_mask", "as_random": "as_random"}

    @property
    def hidden(self) -> Unit:
        """What is hidden together."""
        raise NotImplementedError

    @property
    def channels(self) -> frozenset[str]:
        return self.hidden.channels

    def tokens(self, length: int) -> int:
        return length - 2

    def masking(self, tokenizer: Tokenizer) -> MaskedPrepare:
        """The mask with this tokenizer's special tokens around each example."""
        mask, cls, sep = needed(tokenizer, "mask", "cls", "sep")
        return MaskedPrepare(
            vocab=tokenizer.vocab_size,
            mask=mask,
            specials=tokenizer.specials.ids(),
            rate=self.rate,
            as_mask=self.as_mask,
            as_random=self.as_random,
            cls=cls,
            sep=sep,
            unit=self.hidden,
            masks=self.static or None,
        )


class UnitMasking(Masking):
    """`unit` says what is hidden together: a token, a whole word, an n-gram of up to `longest` words (ALBERT), or a
    name, date or number (REALM)."""

    unit: Literal["token", "word", "ngram", "salient"] = "token"
    longest: int = Field(default=3, ge=1, le=100)

    @model_validator(mode="after")
    def _read(self) -> UnitMasking:
        if self.unit != "ngram" and "longest" in self.model_fields_set and self.longest != 3:
            raise ValueError(f'longest is read where unit = "ngram", not with unit = "{self.unit}"')
        return self

    @property
    def hidden(self) -> Unit:
        return ngrams(self.longest) if self.unit == "ngram" else UNITS[self.unit]()


class MaskedAim(UnitMasking):
    """Hidden tokens from both sides."""

    kind: Literal["masked"] = "masked"

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        return MaskedLM(self.masking(tokenizer))


class SpanAim(Masking):
    """SpanBERT: spans of Geo(`p`) words up to `longest`, disguised as one, and with `sbo` the span-boundary
    objective."""

    kind: Literal["span"] = "span"
    p: float = Field(default=0.2, gt=0, lt=1)
    longest: int = Field(default=10, ge=1, le=100)
    sbo: bool = True

    @property
    def numbers(self) -> Mapping[str, str]:
        return {key: f"masked.{path}" if self.sbo else path for key, path in super().numbers.items()}

    @property
    def hidden(self) -> Unit:
        return spans(self.p, self.longest)

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        masked = self.masking(tokenizer)
        return BoundaryLM(BoundaryPrepare(masked)) if self.sbo else MaskedLM(masked)
