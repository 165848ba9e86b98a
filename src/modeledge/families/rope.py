"""How a `config.json` says rotary positions: one mapping `rope_parameters` (a mapping for each kind of layer where they
differ), or, in older files, `rope_theta` beside `rope_scaling`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.families.keys import Key, shown
from modeledge.model.kinds import Rotary, Stretch

ROPE_KEYS = (
    Key("rope_parameters", None, lambda v: v is None or isinstance(v, Mapping), "an object"),
    Key("rope_scaling", None, lambda v: v is None or isinstance(v, Mapping), "an object"),
    Key("rope_theta", None, lambda v: v is None or _above(v), "a number above 0"),
)
#: what each kind of scaling says beside its name, the base and the part of a head that turns
FIELDS: Mapping[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}),
    "yarn": frozenset(
        {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "truncate"}
    ),
}
SHARED = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})


def read_rope(
    values: Mapping[str, Any], *, base: float = 10000.0, longest: int | None = None, fraction: float = 1.0
) -> Rotary:
    """The rotary positions of a configuration without kinds of layers. `base` and `fraction` are the family's defaults,
    `longest` its `max_position_embeddings`. Kinds of scaling that are not built here are `E-CONFIG-VALUE`."""
    said = values.get("rope_parameters")
    if said is None:
        said = {"rope_theta": values.get("rope_theta"), **(values.get("rope_scaling") or {})}
    return read_one(said, "rope_parameters", base=values.get("rope_theta") or base, longest=longest, fraction=fraction)


def read_one(
    said: Mapping[str, Any], where: str, *, base: float, longest: int | None = None, fraction: float = 1.0
) -> Rotary:
    """The rotary positions that one flat mapping says."""
    kind = said.get("rope_type", said.get("type")) or "default"
    if not isinstance(kind, str) or kind not in FIELDS:
        what = f"rope_type is {shown(kind)}; known: {', '.join(FIELDS)}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy="use another checkpoint")
    for name, value in said.items():
        if name not in SHARED | FIELDS[kind]:
            what = f"{name!r} does not belong to {kind} scaling"
            raise ModeledgeError("E-CONFIG-KEY", what, where=where, why="it could change what the model computes")
        if name in ("rope_type", "type", "truncate") or value is None:
            continue
        if not _above(value):
            raise ModeledgeError("E-CONFIG-VALUE", f"{name} is {shown(value)}", where=where)
    if said.get("truncate", True) is not True:
        raise ModeledgeError("E-CONFIG-VALUE", "truncate is not true", where=where)
    theta, part = said.get("rope_theta") or base, said.get("partial_rotary_factor") or fraction
    return Rotary(base=theta, fraction=part, stretch=_stretch(kind, said, where, longest))


def _stretch(kind: str, said: Mapping[str, Any], where: str, longest: int | None) -> Stretch | None:
    if kind == "default":
        return None
    if not _above(said.get("factor")):
        raise ModeledgeError("E-CONFIG-VALUE", "factor is missing", where=where)
    factor = said["factor"]
    if kind == "linear":
        return Stretch(factor=factor)
    original = said.get("original_max_position_embeddings") or longest
    if type(original) is not int:
        raise ModeledgeError("E-CONFIG-VALUE", "original_max_position_embeddings is missing", where=where)
    if kind == "llama3":
        low, high = said.get("low_freq_factor"), said.get("high_freq_factor")
        if not (_above(low) and _above(high) and low < high):  # type: ignore[operator]
            raise ModeledgeError("E-CONFIG-VALUE", "low_freq_factor must be below high_freq_factor", where=where)
        return Stretch(kind="llama3", factor=factor, low=low, high=high, original=original)  # type: ignore[arg-type]
    temper = said.get("attention_factor") or (0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0)
    low, high = said.get("beta_slow") or 1.0, said.get("beta_fast") or 32.0
    return Stretch(kind="yarn", factor=factor, low=low, high=high, original=original, temper=temper)


def plain_rope(position: Rotary, *, fraction: bool = False) -> dict[str, Any]:
    """What `rope_parameters` says of rotary positions; with `fraction` also which part of a head turns."""
    out: dict[str, Any] = {"rope_type": "default", "rope_theta": position.base}
    if fraction:
        out["partial_rotary_factor"] = position.fraction
    stretch = position.stretch
    if stretch is None:
        return out
    out |= {"rope_type": stretch.kind, "factor": stretch.factor}
    if stretch.kind != "linear":
        out["original_max_position_embeddings"] = stretch.original
    if stretch.kind == "llama3":
        out |= {"low_freq_factor": stretch.low, "high_freq_factor": stretch.high}
    elif stretch.kind == "yarn":
        out |= {"beta_slow": stretch.low, "beta_fast": stretch.high, "attention_factor": stretch.temper}
    return out


def _above(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf
