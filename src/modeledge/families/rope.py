"""How a `config.json` says rotary positions: one mapping `rope_parameters` (a mapping for each kind of layer where they
differ), or, in older files, `rope_theta` beside `rope_scaling`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.families.keys import LARGEST, Key, shown
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
    "longrope": frozenset(
        {"factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"}
    ),
}
#: older spellings that `rope_parameters` replaces
OLD_ROPE = frozenset({"rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor"})
SHARED = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})


def read_rope(
    values: Mapping[str, Any],
    *,
    base: float = 10000.0,
    longest: int | None = None,
    fraction: float = 1.0,
    partial: bool = True,
) -> Rotary:
    """The rotary positions of a configuration without kinds of layers. `base` and `fraction` are the family's defaults,
    `longest` its `max_position_embeddings`; a family that is not `partial` turns whole heads. Kinds of scaling that are
    not built here are `E-CONFIG-VALUE`."""
    said, old = values.get("rope_parameters"), values.get("rope_scaling")
    if said and old and said != old:
        what = "rope_scaling and rope_parameters differ"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="rope_scaling", remedy="remove the older, rope_scaling")
    base = values.get("rope_theta") or base
    return read_one(
        said or old or {}, "rope_parameters", base=base, longest=longest, fraction=fraction, partial=partial
    )


def read_one(
    said: Mapping[str, Any],
    where: str,
    *,
    base: float,
    longest: int | None = None,
    fraction: float = 1.0,
    partial: bool = True,
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
        if not (_all_above(value) if name in ("short_factor", "long_factor") else _above(value)):
            raise ModeledgeError("E-CONFIG-VALUE", f"{name} is {shown(value)}", where=where)
    if said.get("truncate", True) is not True:
        raise ModeledgeError("E-CONFIG-VALUE", "truncate is not true", where=where)
    theta, part = said.get("rope_theta") or base, said.get("partial_rotary_factor") or fraction
    if not partial and part != 1.0:
        what = f"partial_rotary_factor is {part}, and heads of this family are turned whole"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=where)
    return Rotary(base=theta, fraction=part, stretch=_stretch(kind, said, where, longest))


def _stretch(kind: str, said: Mapping[str, Any], where: str, longest: int | None) -> Stretch | None:
    if kind == "default":
        return None
    if kind == "longrope":
        return _longrope(said, where, longest)
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


def _longrope(said: Mapping[str, Any], where: str, longest: int | None) -> Stretch:
    """`longest` is the length that the factors reach; how far that is says how much the scores are tempered."""
    original = said.get("original_max_position_embeddings") or longest
    short, far = said.get("short_factor"), said.get("long_factor")
    if type(original) is not int or original < 2 or longest is None or short is None or far is None:
        what = "longrope needs short_factor, long_factor and original_max_position_embeddings (at least 2)"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=where)
    factor = said.get("factor") or longest / original
    temper = said.get("attention_factor")
    if temper is None:
        temper = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return Stretch(kind="longrope", factor=factor, original=original, temper=temper, near=tuple(short), far=tuple(far))


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
    elif stretch.kind == "longrope":
        near, far = list(stretch.near or ()), list(stretch.far or ())
        out |= {"short_factor": near, "long_factor": far, "attention_factor": stretch.temper}
    return out


def _above(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= LARGEST


def _all_above(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(_above(v) for v in value)
