"""What pre-training can ask, as the `[objective]` of a recipe: `AIMS` is the table, by `kind`."""

from typing import Annotated

from pydantic import Field

from modeledge.recipes.objectives.aim import Aim, Body, body_of
from modeledge.recipes.objectives.blend import BlendAim, PartRecipe
from modeledge.recipes.objectives.causal import CausalAim, MiddleAim, MultiTokenAim
from modeledge.recipes.objectives.diffusion import DiffusionAim, UniLMAim
from modeledge.recipes.objectives.masked import MaskedAim, masking

AIMS: dict[str, type[Aim]] = {
    "causal": CausalAim,
    "fim": MiddleAim,
    "multi-token": MultiTokenAim,
    "masked": MaskedAim,
    "diffusion": DiffusionAim,
    "unilm": UniLMAim,
    "blend": BlendAim,
}
ObjectiveRecipe = Annotated[
    CausalAim | MiddleAim | MultiTokenAim | MaskedAim | DiffusionAim | UniLMAim | BlendAim,
    Field(discriminator="kind"),
]
PartRecipe.model_rebuild(_types_namespace={"ObjectiveRecipe": ObjectiveRecipe, "BlendAim": BlendAim})
BlendAim.model_rebuild(force=True)

__all__ = [
    "AIMS",
    "Aim",
    "BlendAim",
    "Body",
    "CausalAim",
    "DiffusionAim",
    "MaskedAim",
    "MiddleAim",
    "MultiTokenAim",
    "ObjectiveRecipe",
    "PartRecipe",
    "UniLMAim",
    "body_of",
    "masking",
]
