"""What pre-training can ask, as the `[objective]` of a recipe: `AIMS` is the table, by `kind`."""

from typing import Annotated

from pydantic import Field

from modeledge.recipes.objectives.aim import Aim, Body, body_of
from modeledge.recipes.objectives.causal import CausalAim
from modeledge.recipes.objectives.masked import MaskedAim, masking

AIMS: dict[str, type[Aim]] = {
    "causal": CausalAim,
    "masked": MaskedAim,
}
ObjectiveRecipe = Annotated[CausalAim | MaskedAim, Field(discriminator="kind")]

__all__ = ["AIMS", "Aim", "Body", "CausalAim", "MaskedAim", "ObjectiveRecipe", "body_of", "masking"]
