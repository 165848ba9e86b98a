"""One body in a recipe: given, named, or said in what it differs. Keys that would be read by nobody are refused."""

from __future__ import annotations

from typing import Any

import pytest

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.model import Learned, Rotary
from modeledge.model.config import Stack, Tokens
from modeledge.recipes.presets import shape_named
from modeledge.recipes.pretraining.start import shape
from modeledge.recipes.recipe import PretrainRecipe

CORPUS = {"paths": ["a.txt"]}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"objective": {"kind": "bart", "infill": 0.0, "permute": 0.0}}, "there is no noise"),
        ({"objective": {"kind": "bart", "infill": 0.0, "poisson": 9.0}}, "poisson is the mean length of spans"),
    ],
)
def test_keys_that_nobody_would_read_are_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ModeledgeError, match=f"E-CONFIG-VALUE: .*{why}"):
        load_config(PretrainRecipe, None, values={"corpus": CORPUS, **values})


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"start": "runs/a", "preset": "bert-tiny"}, "model.preset is not used: model.start brings a body"),
        ({"start": "runs/a", "shape": {"width": 32}}, "model.shape is not used: model.start brings a body"),
        ({"start": "runs/a"}, ""),
        ({"preset": "bert-tiny"}, ""),
    ],
)
def test_a_body_that_is_asked_for_beside_a_given_one_is_told(model: dict[str, Any], told: str) -> None:
    assert load_config(PretrainRecipe, None, values={"corpus": CORPUS, "model": model}).unused == told


def test_a_shape_without_its_width_lies_over_the_preset() -> None:
    """What a refusal's remedy says (`model.shape.embed.types = 2`) is all that has to be written."""
    plain = shape_named("encoder-small", 500, "")
    changed = shape("encoder-small", {"embed": {"types": 2}, "encoder": {"dropout": {"hidden": 0.1}}}, 500)
    assert isinstance(changed.embed, Tokens)
    assert changed.embed == Tokens(**{**vars(plain.embed), "types": 2})
    assert isinstance(plain.encoder, Stack)
    assert isinstance(changed.encoder, Stack)
    assert (changed.encoder.dropout.hidden, changed.encoder.layers) == (0.1, plain.encoder.layers)
    assert changed.encoder.attention == plain.encoder.attention
    assert shape("encoder-small", {}, 500) == plain


def test_positions_of_another_kind_take_the_place_of_the_presets() -> None:
    plain = shape_named("decoder-small", 500, "").decoder
    assert isinstance(plain, Stack)
    assert isinstance(plain.position, Rotary)
    learned = shape("decoder-small", {"decoder": {"position": {"kind": "learned", "length": 40}}}, 500).decoder
    assert isinstance(learned, Stack)
    assert learned.position == Learned(length=40)
    turned = shape("decoder-small", {"decoder": {"position": {"base": 500.0}}}, 500).decoder
    assert isinstance(turned, Stack)
    assert turned.position == Rotary(**{**vars(plain.position), "base": 500.0})


def test_a_wrong_key_of_a_shape_names_its_place() -> None:
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-KEY: model.encoder.layer"):
        shape("encoder-small", {"encoder": {"layer": 2}}, 500)
