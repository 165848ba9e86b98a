"""What pre-training can ask, as the `[objective]` of a recipe: `AIMS` is the table, by `kind`."""

from typing import Annotated

from pydantic import Field

from modeledge.recipes.objectives.aim import Aim, Body, body_of
from modeledge.recipes.objectives.causal import CausalAim
from modeledge.recipes.objectives.denoise import BartAim, DenoiseAim, PrefixAim, UL2Aim
from modeledge.recipes.objectives.masked import MaskedAim, SpanAim

AIMS: dict[str, type[Aim]] = {
    "causal": CausalAim,
    "masked": MaskedAim,
    "span": SpanAim,
    "denoise": DenoiseAim,
    "bart": BartAim,
    "ul2": UL2Aim,
    "prefix": PrefixAim,
}
ObjectiveRecipe = Annotated[
    CausalAim | MaskedAim | SpanAim | DenoiseAim | BartAim | UL2Aim | PrefixAim,
    Field(discriminator="kind"),
]

__all__ = [
    "AIMS",
    "Aim",
    "BartAim",
    "Body",
    "CausalAim",
    "DenoiseAim",
    "MaskedAim",
    "ObjectiveRecipe",
    "PrefixAim",
    "SpanAim",
    "UL2Aim",
    "body_of",
]
