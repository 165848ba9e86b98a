"""Several objectives on one body in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.corpus.pack import How
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import TokenStream
from modeledge.errors import ModeledgeError
from modeledge.generate import Way
from modeledge.model.backbone import Backbone
from modeledge.model.config import TransformerConfig
from modeledge.model.facts import Facts
from modeledge.model.transformer import Transformer
from modeledge.objectives import Blend, Objective
from modeledge.objectives.form import Kind
from modeledge.objectives.schedule import Number, unfit
from modeledge.recipes.objectives.aim import Aim, Body
from modeledge.tokens import Tokenizer

if TYPE_CHECKING:
    from modeledge.recipes.objectives import ObjectiveRecipe


class PartRecipe(Settings):
    """One objective of a blend, its weight in the loss, and in turn how often it is drawn."""

    objective: ObjectiveRecipe
    weight: float = Field(default=1.0, ge=0)
    chance: float = Field(default=1.0, ge=0)


class BlendAim(Aim):
    """Objectives by name, on one body: "together" each example is learned by all of them, in parts of a row of `length`
    that share its room; "in turn" each example draws one, with its `chance` among those of all."""

    kind: Literal["blend"] = "blend"
    mode: Literal["together", "in turn"] = "together"
    parts: dict[str, PartRecipe] = Field(min_length=1)
    bodies: ClassVar[frozenset[Body]] = frozenset({"encoder", "decoder", "encoder-decoder"})
    forms: ClassVar[frozenset[Kind]] = frozenset({"causal", "prefix", "encoder-decoder"})  # of its parts
    needs: ClassVar[str] = "what its parts need"

    @model_validator(mode="after")
    def _fits(self) -> BlendAim:
        if self.mode == "together" and any(part.chance != 1.0 for part in self.parts.values()):
            raise ValueError('a chance is read with mode = "in turn"; together each example is learned by all parts')
        if self.mode == "in turn" and not any(part.chance > 0 for part in self.parts.values()):
            raise ValueError("no part has a chance above 0")
        if not any(part.weight * part.chance > 0 for part in self.parts.values()):
            raise ValueError("no part has a weight above 0, and nothing would be learned")
        return self

    @property
    def numbers(self) -> Mapping[str, str]:
        """Those of its parts, by "part.key"."""
        told = {name: part.objective.numbers for name, part in self.parts.items()}
        return {f"{name}.{key}": path for name, numbers in told.items() for key, path in numbers.items()}

    def following(self, courses: Mapping[str, Number], where: str = "curriculum.numbers") -> Self:
        own: dict[str, dict[str, Number]] = {}
        for key, number in courses.items():
            name, _, inner = key.partition(".")
            if key not in self.numbers:
                raise unfit(key, self.numbers, f"{where}.{key}")
            own.setdefault(name, {})[inner] = number
        told = {n: self.parts[n].objective.following(numbers, f"{where}.{n}") for n, numbers in own.items()}
        return self._with({name: told.get(name, part.objective) for name, part in self.parts.items()})

    def shorter(self, length: Number, where: str = "curriculum.length") -> Self:
        if self.mode == "together":
            what, remedy = "parts of a blend that share a row have one length all along", 'set mode = "in turn"'
            raise ModeledgeError("E-CONFIG", what, where=where, remedy=f"{remedy}, or leave it out")
        return self._with({name: part.objective.shorter(length, where) for name, part in self.parts.items()})

    def follow(self, objective: Objective) -> None:
        """Each part for itself."""
        assert isinstance(objective, Blend)
        for name, part in objective.each().items():
            self.parts[name].objective.follow(part)
        objective.gather()

    @property
    def channels(self) -> frozenset[str]:
        return frozenset[str]().union(*(part.objective.channels for part in self.parts.values()))

    @property
    def cut(self) -> How:
        return "document" if any(part.objective.cut == "document" for part in self.parts.values()) else "split"

    def writes(self, config: Facts) -> Way | None:
        """The way of the parts that have the greatest share in the training; of equals, one that the towers do not say.
        An encoder writes as the part does that lets it write at all."""
        shares: dict[Way | None, float] = {}
        for part in self.parts.values():
            way = part.objective.writes(config)
            shares[way] = shares.get(way, 0.0) + part.weight * part.chance
        if config.decoder is None:
            shares.pop(None, None)
        return max(shares, key=lambda way: (shares[way], way is not None), default=None)

    def reserves(self, length: int) -> tuple[str, ...]:
        names = (name for part in self.parts.values() for name in part.objective.reserves(length))
        return tuple(dict.fromkeys(names))

    def on(self, model: Backbone, tokenizer: Tokenizer) -> Self:
        """Each part for this model: some must know it."""
        return self._with({name: part.objective.on(model, tokenizer) for name, part in self.parts.items()})

    def _with(self, told: Mapping[str, Aim]) -> Self:
        parts = {name: part.model_copy(update={"objective": told[name]}) for name, part in self.parts.items()}
        return self.model_copy(update={"parts": parts})

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        room = self._room(length)
        parts = {name: part.objective.build(tokenizer, config, room) for name, part in self.parts.items()}
        weights = {name: part.weight for name, part in self.parts.items()}
        chances = {name: part.chance for name, part in self.parts.items()}
        together = self.mode == "together"
        return Blend(parts, weights=weights, chances=None if together else chances, longest=room if together else None)

    def tokens(self, length: int) -> int:
        return min(part.objective.tokens(self._room(length)) for part in self.parts.values())

    def fitting(self, length: int) -> int:
        return min(part.objective.fitting(self._room(length)) for part in self.parts.values())

    def stream(self, shards: Shards, length: int, seed: int) -> TokenStream:
        for name, part in self.parts.items():
            if type(part.objective).stream not in (Aim.stream, BlendAim.stream):
                what = f"{part.objective.kind!r} reads examples of its own kind, which others cannot read"
                raise ModeledgeError("E-CONFIG", what, where=f"objective.parts.{name}", remedy="train it by itself")
        shortest = max(part.objective.shortest for part in self.parts.values())
        return TokenStream(shards, self.fitting(length), seed, self.cut, shortest=shortest)

    def check_corpus(self, shards: Shards) -> None:
        for part in self.parts.values():
            part.objective.check_corpus(shards)

    def beside(self, model: Transformer, objective: Objective, tokenizer: Tokenizer, folder: Path) -> None:
        assert isinstance(objective, Blend)
        for name, part in objective.each().items():
            self.parts[name].objective.beside(model, part, tokenizer, folder)

    def check(self, config: TransformerConfig) -> None:
        for name, part in self.parts.items():
            if not part.objective.blends:
                what = f"{part.objective.kind!r} writes its texts anew, and its body reads them and not those of others"
                raise ModeledgeError("E-CONFIG", what, where=f"objective.parts.{name}", remedy="train it by itself")
            part.objective.check(config)

    def _room(self, length: int) -> int:
        """The positions that each part has in a row."""
        room = length // (len(self.parts) if self.mode == "together" else 1)
        if min(part.objective.tokens(room) for part in self.parts.values()) < 2:
            what = f"{len(self.parts)} objectives in a row of {length} leave {room} positions for each"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="train.length", remedy="raise it, or blend in turn")
        return room
