"""The model that a run starts from in another architecture: what `bidirectional` and `decoder` of a recipe ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modeledge.errors import ModeledgeError
from modeledge.families import origin_of
from modeledge.families.heads import described
from modeledge.model.backbone import Backbone
from modeledge.model.config import TransformerConfig
from modeledge.model.reshape import (
    Decoder,
    reading_both_ways,
    shape_both_ways,
    shape_with_decoder,
    with_decoder,
)
from modeledge.model.transformer import Transformer
from modeledge.recipes.tuning.heads import form_of


def reshaped(model: Backbone, *, bidirectional: bool, decoder: Decoder | None, seed: int) -> Backbone:
    """The model as a recipe wants it: read both ways, with a decoder on top, or as it is.

    It remembers its file all the same: where it came from, and why that family cannot hold it any more. Raises
    `E-USAGE` for a body that cannot be turned so, `E-CONFIG` where both are asked for.
    """
    check_asked(bidirectional, decoder)
    if not bidirectional and decoder is None:
        return model
    if not isinstance(model, Transformer):
        where = "bidirectional" if bidirectional else "decoder"
        what = f"a {type(model).__name__} is wrapped whole, and its architecture is its own"
        raise ModeledgeError("E-USAGE", what, where=where, remedy="start from a folder of one of the families here")
    origin = origin_of(model)
    turned = reading_both_ways(model) if decoder is None else with_decoder(model, decoder, seed=seed)
    if origin is not None:
        vars(turned)["origin"] = replace(origin)
    return turned


def shape_reshaped(config: TransformerConfig, *, bidirectional: bool, decoder: Decoder | None) -> TransformerConfig:
    """The shape of `reshaped`, which raises the same."""
    check_asked(bidirectional, decoder)
    if decoder is not None:
        return shape_with_decoder(config, decoder)
    return shape_both_ways(config) if bidirectional else config


def check_asked(bidirectional: bool, decoder: Decoder | None) -> None:
    """Refuse both at once (`E-CONFIG`)."""
    if bidirectional and decoder is not None:
        what = "a decoder is read both ways, or an encoder is given one: not both at once"
        raise ModeledgeError("E-CONFIG", what, where="bidirectional, decoder", remedy="leave one of them out")


def tell(model: Backbone, family: str | None, say: Callable[[str], None]) -> None:
    """Say what a model has become, and in which form it can be written."""
    assert isinstance(model, Transformer)
    body = "an encoder–decoder" if model.config.both else "an encoder: its decoder is read both ways"
    say(f"the model is now {body}; it will be {form_of(model, described(model), family).sentence}")
