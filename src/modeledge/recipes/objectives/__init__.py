"""What pre-training can ask, as the `[objective]` of a recipe: `AIMS` is the table, by `kind`."""

from typing import Annotated

from pydantic import Field

from modeledge.recipes.objectives.aim import Aim, Body, body_of
from modeledge.recipes.objectives.causal import CausalAim
from modeledge.recipes.objectives.denoise import BartAim, DenoiseAim, PrefixAim, UL2Aim
from modeledge.recipes.objectives.masked import MaskedAim, SpanAim
from modeledge.recipes.objectives.replaced import ElectraAim
from modeledge.recipes.objectives.sentence import AlbertAim, BertAim, SimcseAim

AIMS: dict[str, type[Aim]] = {
    "causal": CausalAim,
    "masked": MaskedAim,
    "span": SpanAim,
    "electra": ElectraAim,
    "bert": BertAim,
    "albert": AlbertAim,
    "simcse": SimcseAim,
    "denoise": DenoiseAim,
    "bart": BartAim,
    "ul2": UL2Aim,
    "prefix": PrefixAim,
}
Encoders = MaskedAim | SpanAim | ElectraAim | BertAim | AlbertAim | SimcseAim
Mendings = DenoiseAim | BartAim | UL2Aim | PrefixAim
ObjectiveRecipe = Annotated[CausalAim | Encoders | Mendings, Field(discriminator="kind")]

__all__ = [
    "AIMS",
    "Aim",
    "AlbertAim",
    "BartAim",
    "BertAim",
    "Body",
    "CausalAim",
    "DenoiseAim",
    "ElectraAim",
    "MaskedAim",
    "ObjectiveRecipe",
    "PrefixAim",
    "SimcseAim",
    "SpanAim",
    "UL2Aim",
    "body_of",
]
