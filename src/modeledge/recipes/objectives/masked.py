"""Masked language modelling in a recipe."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from modeledge.model.config import TransformerConfig
from modeledge.objectives import MaskedLM, MaskedPrepare, Objective
from modeledge.recipes.objectives.aim import Aim, Body
from modeledge.tokens import Tokenizer


class MaskedAim(Aim):
    """Hidden tokens from both sides. Two positions are left free for [CLS] and [SEP]."""

    kind: Literal["masked"] = "masked"
    rate: float = Field(default=0.15, gt=0, lt=1)
    bodies: ClassVar[frozenset[Body]] = frozenset({"encoder"})

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        return MaskedLM(masking(tokenizer, self.rate))

    def tokens(self, length: int) -> int:
        return length - 2


def masking(tokenizer: Tokenizer, rate: float) -> MaskedPrepare:
    """BERT's masking with this tokenizer's special tokens around each example."""
    return MaskedPrepare(
        vocab=tokenizer.vocab_size,
        mask=tokenizer.need("mask"),
        specials=tokenizer.specials.ids(),
        rate=rate,
        cls=tokenizer.need("cls"),
        sep=tokenizer.need("sep"),
    )
