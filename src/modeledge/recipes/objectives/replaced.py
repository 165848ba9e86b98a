"""ELECTRA in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from modeledge.families import load_model, save_model
from modeledge.files import committed_folder
from modeledge.model.config import TransformerConfig
from modeledge.model.transformer import Transformer
from modeledge.objectives import Objective, Replaced, ReplacedPrepare, generator_of
from modeledge.recipes.objectives.masked import UnitMasking
from modeledge.tokens import Tokenizer

GENERATOR = "generator"
CONFIG = "config.json"


class ElectraAim(UnitMasking):
    """Replaced token detection: a generator of `generator` times the model's width fills masked places, the model tells
    which tokens are not the original ones, and its loss counts `weight` times. All chosen tokens are masked.

    The finished run writes the model, which is the discriminator, and the generator in `generator/` beside it; a run
    that starts from there goes on with both.
    """

    kind: Literal["electra"] = "electra"
    blends: ClassVar[bool] = False
    as_mask: float = Field(default=1.0, ge=1, le=1)
    as_random: float = Field(default=0.0, ge=0, le=0)
    generator: float = Field(default=0.25, gt=0, le=1)
    weight: float = Field(default=50.0, gt=0, lt=1e6)

    @property
    def numbers(self) -> Mapping[str, str]:
        return {"rate": "masking.rate"}

    def build(self, tokenizer: Tokenizer, config: TransformerConfig, length: int) -> Objective:
        prepare = ReplacedPrepare(self.masking(tokenizer))
        return Replaced(prepare, generator_of(config, self.generator), share=self.weight)

    def take_up(
        self, objective: Objective, model: Transformer, folder: Path, grow: Callable[[Transformer], None]
    ) -> str:
        assert isinstance(objective, Replaced)
        place = folder / GENERATOR
        if not (place / CONFIG).is_file():
            return "no generator lies beside the model to start from: a fresh one begins"
        found = load_model(place)
        grow(found)
        why = objective.take_generator(found, model)
        return f"a fresh generator begins: that in {place} {why}" if why else f"the generator goes on from {place}"

    def beside(self, model: Transformer, objective: Objective, tokenizer: Tokenizer, folder: Path) -> None:
        assert isinstance(objective, Replaced)
        if not (folder / GENERATOR).exists():  # a run that was killed right behind this has it already
            with committed_folder(folder / GENERATOR, {"schema": 1}) as temporary:
                save_model(objective.whole_generator(model), temporary)
                tokenizer.save(temporary)
