"""Next-token prediction and its variants in a recipe: documents told apart, fill in the middle, several tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from modeledge.corpus.pack import How
from modeledge.errors import ModeledgeError
from modeledge.model.config import TransformerConfig
from modeledge.objectives import CausalLM, FillMiddle, MiddlePrepare, MultiToken, Objective
from modeledge.objectives.middle import ADDED, NAMES
from modeledge.recipes.objectives.aim import Aim, Body, needed
from modeledge.tokens import Tokenizer


class CausalAim(Aim):
    """Each token from those before it. An example has a token more than positions: its last label.

    Documents are "joined": an example runs through their ends, and what stands behind an end sees what stands before
    it; or "isolated": it does not, in rows as full as before.
    """

    kind: Literal["causal"] = "causal"
    documents: Literal["joined", "isolated"] = "joined"
    bodies: ClassVar[frozenset[Body]] = frozenset({"decoder"})
    shared: ClassVar[int | None] = 1

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        return CausalLM(isolate=needed(tokenizer, "eos")[0] if self.documents == "isolated" else None)

    def tokens(self, length: int) -> int:
        return length + 1


class MiddleAim(Aim):
    """Fill in the middle: a share `rate` of the documents is rearranged, of these the share `spm` as suffix, prefix,
    middle, the others as prefix, suffix, middle. Each document is cut for itself."""

    kind: Literal["fim"] = "fim"
    rate: float = Field(default=0.5, ge=0, le=1)
    spm: float = Field(default=0.5, ge=0, le=1)
    bodies: ClassVar[frozenset[Body]] = frozenset({"decoder"})
    shared: ClassVar[int | None] = 0

    @property
    def numbers(self) -> Mapping[str, str]:
        return {"rate": "rate", "spm": "spm"}

    @property
    def cut(self) -> How:
        return "document"

    def reserves(self, length: int) -> tuple[str, ...]:
        return NAMES

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        missing = [name for name in NAMES if tokenizer.id(name) is None]
        if missing:
            what = f"the tokenizer has no {', '.join(missing)}"
            remedy = f"set tokenizer.extra = {list(NAMES)}: what is missing is added".replace("'", '"')
            raise ModeledgeError("E-SPECIAL-TOKEN", what, where="objective.kind", remedy=remedy)
        prefix, middle, suffix = (tokenizer.id(name) or 0 for name in NAMES)
        (eos,) = needed(tokenizer, "eos")
        return FillMiddle(MiddlePrepare(prefix, middle, suffix, eos, self.rate, self.spm))

    def tokens(self, length: int) -> int:
        return length + 1 - ADDED


class MultiTokenAim(Aim):
    """Each state foretells the next `ahead` tokens; `weight` is that of all but the first."""

    kind: Literal["multi-token"] = "multi-token"
    ahead: int = Field(default=4, ge=2, le=64)
    weight: float = Field(default=1.0, gt=0)
    bodies: ClassVar[frozenset[Body]] = frozenset({"decoder"})
    shared: ClassVar[int | None] = 1

    @property
    def least_part(self) -> int:
        """Its last token is foretold too."""
        return max(super().least_part, self.ahead)

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        if self.ahead > length:
            what = f"ahead is {self.ahead}, and a row of {length} has no token so far behind its first"
            remedy = "lower it, or raise train.length"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="objective.ahead", remedy=remedy)
        return MultiToken(config, self.ahead, weight=self.weight)

    def tokens(self, length: int) -> int:
        return length + 1
