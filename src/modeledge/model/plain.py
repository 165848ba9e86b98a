"""A model's shape as plain values in and out, for `config.json` and recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from modeledge.config.check import merged
from modeledge.errors import ModeledgeError, nearest
from modeledge.model.config import (
    Attention,
    Dropout,
    FeedForward,
    Norm,
    Patches,
    Stack,
    Tokens,
    TransformerConfig,
)
from modeledge.model.kinds import Buckets, Learned, Rotary, Sinusoidal, Stretch

_POSITIONS: dict[str, type[Learned] | type[Sinusoidal] | type[Rotary] | type[Buckets]] = {
    "learned": Learned,
    "sinusoidal": Sinusoidal,
    "rotary": Rotary,
    "buckets": Buckets,
}
_PARTS: dict[str, Any] = {
    "target_embed": Tokens,
    "stretch": Stretch,
    "encoder": Stack,
    "decoder": Stack,
    "attention": Attention,
    "feedforward": FeedForward,
    "norm": Norm,
    "dropout": Dropout,
}


def as_plain(config: TransformerConfig) -> dict[str, Any]:
    """The configuration as JSON values; `from_plain` is its inverse."""
    return dataclasses.asdict(config)


def from_plain(values: Mapping[str, Any]) -> TransformerConfig:
    """A configuration out of JSON or TOML values; an unknown key is `E-CONFIG-KEY`, a wrong value `E-CONFIG-VALUE`."""
    built = _build(TransformerConfig, values, "model")
    assert isinstance(built, TransformerConfig)
    return built


def changed(config: TransformerConfig, values: Mapping[str, Any]) -> TransformerConfig:
    """The configuration with some of its values others, part by part, and positions of another kind whole. Raises as
    `from_plain`."""
    return from_plain(merged(as_plain(config), values, ("position",)))


def _build(kind: Any, values: Mapping[str, Any], path: str) -> Any:
    known = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        where = f"{path}.{key}"
        if key not in known:
            raise ModeledgeError("E-CONFIG-KEY", f"unknown key {key!r}", where=where, remedy=nearest(key, known))
        if key == "position" and isinstance(value, Mapping):
            name = str(value.get("kind"))
            if name not in _POSITIONS:
                raise ModeledgeError(
                    "E-CONFIG-VALUE", f"unknown position {name!r}", where=where, remedy=nearest(name, _POSITIONS)
                )
            value = _build(_POSITIONS[name], value, where)
        elif key == "embed" and isinstance(value, Mapping):
            value = _build(Patches if value.get("kind") == "patches" else Tokens, value, where)
        elif key in _PARTS and isinstance(value, Mapping) and not (kind is Tokens and key == "norm"):
            value = _build(_PARTS[key], value, where)
        elif isinstance(value, list):
            value = tuple(value)
        if not _fits(value, known[key]):
            allowed = get_args(known[key])
            remedy = nearest(str(value), [a for a in allowed if isinstance(a, str)]) if isinstance(value, str) else ""
            raise ModeledgeError("E-CONFIG-VALUE", f"{key} is {value!r}", where=where, remedy=remedy)
        arguments[key] = value
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ModeledgeError("E-CONFIG-VALUE", str(error).split("__init__() ")[-1], where=path) from error


def _fits(value: Any, hint: Any) -> bool:
    """Is a value what its field declares? A whole number passes as a float; parts were built before."""
    match get_origin(hint):
        case kind if kind is Literal:
            return value in get_args(hint)
        case kind if kind in (Union, UnionType):
            return any(_fits(value, part) for part in get_args(hint))
        case kind if kind is tuple:
            return isinstance(value, tuple) and value != () and all(_fits(v, get_args(hint)[0]) for v in value)
    return type(value) in ((int, float) if hint is float else (hint,))
