"""What pre-training can ask, as the `[objective]` of a recipe: `AIMS` is the table, by `kind`."""

from typing import Annotated

from pydantic import Field

from modeledge.recipes.objectives.aim import Aim, Body, body_of
from modeledge.recipes.objectives.blend import BlendAim, PartRecipe
from modeledge.recipes.objectives.causal import CausalAim, MiddleAim, MultiTokenAim
from modeledge.recipes.objectives.denoise import BartAim, DenoiseAim, PrefixAim, UL2Aim
from modeledge.recipes.objectives.diffusion import DiffusionAim, UniLMAim
from modeledge.recipes.objectives.masked import MaskedAim, SpanAim
from modeledge.recipes.objectives.replaced import ElectraAim
from modeledge.recipes.objectives.sentence import AlbertAim, BertAim, SimcseAim

AIMS: dict[str, type[Aim]] = {
    "causal": CausalAim,
    "fim": MiddleAim,
    "multi-token": MultiTokenAim,
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
    "diffusion": DiffusionAim,
    "unilm": UniLMAim,
    "blend": BlendAim,
}
ObjectiveRecipe = Annotated[
    CausalAim
    | MiddleAim
    | MultiTokenAim
    | MaskedAim
    | SpanAim
    | ElectraAim
    | BertAim
    | AlbertAim
    | SimcseAim
    | DenoiseAim
    | BartAim
    | UL2Aim
    | PrefixAim
    | DiffusionAim
    | UniLMAim
    | BlendAim,
    Field(discriminator="kind"),
]
PartRecipe.model_rebuild(_types_namespace={"ObjectiveRecipe": ObjectiveRecipe, "BlendAim": BlendAim})
BlendAim.model_rebuild(force=True)

__all__ = [
    "AIMS",
    "Aim",
    "AlbertAim",
    "BartAim",
    "BertAim",
    "BlendAim",
    "Body",
    "CausalAim",
    "DenoiseAim",
    "DiffusionAim",
    "ElectraAim",
    "MaskedAim",
    "MiddleAim",
    "MultiTokenAim",
    "ObjectiveRecipe",
    "PartRecipe",
    "PrefixAim",
    "SimcseAim",
    "SpanAim",
    "UL2Aim",
    "UniLMAim",
    "body_of",
]
