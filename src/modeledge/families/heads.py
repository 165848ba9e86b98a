"""What heads a model has, as the plain values that would build them again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

from torch import nn

from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone
from modeledge.model.boundary import Boundary, BoundaryHead
from modeledge.model.chain import Chain, ChainHead
from modeledge.model.heads import (
    Activation,
    ClassHead,
    Classification,
    Head,
    LanguageModelling,
    LMHead,
    Ordering,
    OrdinalHead,
    Pool,
    Tagging,
    TokenHead,
    Value,
    ValueHead,
)
from modeledge.model.places import Places, PlacesHead

KINDS: dict[str, type[Head]] = {
    "lm": LMHead,
    "class": ClassHead,
    "value": ValueHead,
    "token": TokenHead,
    "ordinal": OrdinalHead,
    "chain": ChainHead,
    "places": PlacesHead,
    "boundary": BoundaryHead,
}
REQUIRED = ("outputs", "start")


def described(model: Backbone) -> dict[str, Head]:
    """Each head of the model as the value that builds it; a head of a stranger's class is `E-OUTSIDE-FAMILY`."""
    return {name: _described(name, module) for name, module in model.heads.items()}


def _described(name: str, module: nn.Module) -> Head:
    match module:
        case (
            LanguageModelling() | Classification() | Value() | Tagging() | Ordering() | Chain() | Places() | Boundary()
        ):
            return module.spec
    what = f"head {name!r} is a {type(module).__name__}, which no format here can say"
    raise ModeledgeError("E-OUTSIDE-FAMILY", what, remedy="save the model before it is packed or wrapped")


def heads_as_plain(heads: Mapping[str, Head]) -> dict[str, Any]:
    """JSON values for heads; `heads_from_plain` is the inverse."""
    kinds = {kind: name for name, kind in KINDS.items()}
    return {name: {"kind": kinds[type(head)], **dataclasses.asdict(head)} for name, head in heads.items()}


def heads_from_plain(values: Any) -> dict[str, Head]:
    """Heads out of JSON values. Raises `E-CONFIG-KEY` and `E-CONFIG-VALUE`."""
    if not isinstance(values, Mapping):
        raise ModeledgeError("E-CONFIG-VALUE", "heads must map names to heads", where="heads")
    return {name: _from_plain(value, f"heads.{name}") for name, value in values.items()}


def _from_plain(value: Any, where: str) -> Head:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind not in KINDS:
        remedy = nearest(str(kind), KINDS)
        raise ModeledgeError("E-CONFIG-VALUE", f"unknown kind of head {kind!r}", where=where, remedy=remedy)
    known = {f.name for f in dataclasses.fields(KINDS[kind])}
    fields: dict[str, Any] = {key: part for key, part in value.items() if key != "kind"}
    for key, part in fields.items():
        if key not in known:
            raise ModeledgeError("E-CONFIG-KEY", f"unknown key {key!r}", where=where, remedy=nearest(key, known))
        if not _fits(key, part, kind):
            raise ModeledgeError("E-CONFIG-VALUE", f"{key} is {part!r}", where=f"{where}.{key}")
    for key in REQUIRED:
        if key in known and key not in fields:
            raise ModeledgeError("E-CONFIG-VALUE", f"{key} is missing", where=where)
    if "start" in fields:
        fields["start"] = tuple(fields["start"])
    return KINDS[kind](**fields)


def _fits(key: str, value: Any, kind: str) -> bool:
    if key in ("outputs", "places", "place_width"):
        return type(value) is int and value >= 1
    if key == "start":
        return isinstance(value, list | tuple) and len(value) > 0 and all(map(_finite, value)) and _rises(value)
    if key == "pool":
        return value in get_args(Pool) or (value is None and kind == "value")
    if key == "activation":
        return value in get_args(Activation) or (value is None and kind == "lm")
    if key == "bias" and value == "fixed":
        return kind == "lm"
    if key == "scale" or (key == "softcap" and value is not None):
        return type(value) in (int, float) and 0 < value < math.inf
    if key == "softcap":
        return True
    if key in ("dropout", "first_dropout"):
        return type(value) in (int, float) and 0 <= value < 1
    return isinstance(value, bool)


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _rises(values: Sequence[float]) -> bool:
    return all(one < two for one, two in pairwise(values))
