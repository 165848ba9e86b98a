"""Objectives that hide tokens at every rate, or read in every pattern, in a recipe: masked diffusion and UniLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from modeledge.generate import Way
from modeledge.model.config import TransformerConfig
from modeledge.model.facts import Facts
from modeledge.objectives import DiffusionPrepare, MaskedDiffusion, MaskedPrepare, Objective, UniLM
from modeledge.objectives.unilm import ADDED
from modeledge.recipes.objectives.aim import Aim, Body, needed
from modeledge.tokens import Tokenizer


class DiffusionAim(Aim):
    """Tokens hidden at a rate drawn anew for each example, each loss divided by the rate. exp(loss) bounds the
    perplexity. `even` spreads the rates over the run. [CLS] and [SEP] stand around an example and are never hidden;
    ends of documents are hidden and learned like other tokens, so that the model can write them."""

    kind: Literal["diffusion"] = "diffusion"
    even: bool = True
    bodies: ClassVar[frozenset[Body]] = frozenset({"encoder"})
    shared: ClassVar[int | None] = 0

    def writes(self, config: Facts) -> Way | None:
        return "uncover"

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        mask, cls, sep = needed(tokenizer, "mask", "cls", "sep")
        return MaskedDiffusion(DiffusionPrepare(mask, cls=cls, sep=sep, even=self.even))

    def tokens(self, length: int) -> int:
        return length - 2


class UniLMAim(Aim):
    """Hidden tokens in three patterns on one decoder, one third each; with `backwards` half of the causal third is read
    from right to left. Three positions are left free for [CLS] and two [SEP]."""

    kind: Literal["unilm"] = "unilm"
    rate: float = Field(default=0.15, gt=0, lt=1)
    backwards: bool = False
    bodies: ClassVar[frozenset[Body]] = frozenset({"decoder"})
    shared: ClassVar[int | None] = 0

    @property
    def numbers(self) -> Mapping[str, str]:
        return {"rate": "masking.rate"}

    def follow(self, objective: Objective) -> None:
        """In each of its patterns."""
        assert isinstance(objective, UniLM)
        for pattern in objective.each().values():
            super().follow(pattern)
        objective.gather()

    def writes(self, config: Facts) -> Way | None:
        return "sequence"

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        mask, cls, sep = needed(tokenizer, "mask", "cls", "sep")
        masking = MaskedPrepare(
            vocab=tokenizer.vocab_size,
            mask=mask,
            specials=tokenizer.specials.ids(),
            rate=self.rate,
            cls=cls,
            sep=sep,
        )
        return UniLM(masking, sep, backwards=self.backwards)

    def tokens(self, length: int) -> int:
        return length - ADDED
