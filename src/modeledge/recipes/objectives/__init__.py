"""What pre-training can ask, as the `[objective]` of a recipe: `AIMS` is the table, by `kind`."""

from typing import Annotated

from pydantic import Field

from modeledge.recipes.objectives.aim import Aim, Body, body_of
from modeledge.recipes.objectives.causal import CausalAim
from modeledge.recipes.objectives.masked import MaskedAim, SpanAim

AIMS: dict[str, type[Aim]] = {
    "causal": CausalAim,
    "masked": MaskedAim,
    "span": SpanAim,
}
ObjectiveRecipe = Annotated[CausalAim | MaskedAim | SpanAim, Field(discriminator="kind")]

__all__ = ["AIMS", "Aim", "Body", "CausalAim", "MaskedAim", "ObjectiveRecipe", "SpanAim", "body_of"]
