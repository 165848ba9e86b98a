"""Next-token prediction in a recipe."""

from __future__ import annotations

from typing import ClassVar, Literal

from modeledge.model.config import TransformerConfig
from modeledge.objectives import CausalLM, Objective
from modeledge.recipes.objectives.aim import Aim, Body
from modeledge.tokens import Tokenizer


class CausalAim(Aim):
    """Each token from those before it. An example has a token more than positions: its last label."""

    kind: Literal["causal"] = "causal"
    bodies: ClassVar[frozenset[Body]] = frozenset({"decoder"})

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        return CausalLM()

    def tokens(self, length: int) -> int:
        return length + 1
