"""What a blend says of its parts: how the model writes, and that something is learned."""

from __future__ import annotations

from typing import Any

import pytest

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.generate import Way
from modeledge.recipes.presets import shape_named
from modeledge.recipes.recipe import PretrainRecipe


def blend(mode: str = "in turn", **parts: Any) -> PretrainRecipe:
    told = {"kind": "blend", "mode": mode, "parts": parts}
    return load_config(PretrainRecipe, None, values={"corpus": {"paths": ["a.txt"]}, "objective": told})


def part(kind: str, **more: Any) -> dict[str, Any]:
    return {"objective": {"kind": kind}, **more}


@pytest.mark.parametrize(
    ("body", "parts", "way"),
    [
        ("decoder", {"a": part("prefix"), "b": part("denoise")}, "prefix"),
        ("decoder", {"a": part("prefix")}, "prefix"),
        ("decoder", {"a": part("causal"), "b": part("prefix")}, "prefix"),  # of equals, what towers do not say
        ("decoder", {"a": part("causal", chance=3.0), "b": part("prefix")}, None),
        ("decoder", {"a": part("causal", weight=0.1), "b": part("unilm")}, "sequence"),
        ("encoder", {"a": part("diffusion")}, "uncover"),
        ("encoder", {"a": part("masked", chance=5.0), "b": part("diffusion")}, "uncover"),  # masks alone write nothing
        ("encoder", {"a": part("masked")}, None),
        ("encoder-decoder", {"a": part("denoise"), "b": part("prefix")}, None),
    ],
)
def test_a_blend_is_asked_as_its_parts_learned(body: str, parts: dict[str, Any], way: Way | None) -> None:
    assert blend(**parts).objective.writes(shape_named(f"{body}-small", 500, "")) == way


@pytest.mark.parametrize(
    ("mode", "parts"),
    [
        ("together", {"a": part("masked", weight=0.0)}),
        ("in turn", {"a": part("masked", weight=0.0), "b": part("masked", chance=0.0)}),
    ],
)
def test_a_blend_in_which_nothing_is_learned_is_refused(mode: str, parts: dict[str, Any]) -> None:
    with pytest.raises(ModeledgeError, match="no part has a weight above 0"):
        blend(mode, **parts)
