"""Layers of two kinds in turns, global and local ones: where each stands, how far a local one sees, by which angles
each turns.

New files list the kind of each layer (`layer_types`) and hold a mapping of angles for each kind; old ones say that
every n-th layer is global (`global_attn_every_n_layers`) and name the two bases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.families.keys import Key, count, positive, shown
from modeledge.families.rope import ROPE_KEYS, plain_rope, read_one
from modeledge.model.config import Stack
from modeledge.model.kinds import Rotary

GLOBAL, LOCAL = "full_attention", "sliding_attention"
MOST = 1024  # layers: each has a kind of its own, and a file must not make us list millions

ALTERNATING_KEYS = (
    count("local_attention", 128),
    count("global_attn_every_n_layers", 3),
    positive("global_rope_theta", 160000.0),
    Key("local_rope_theta", 10000.0, lambda v: v is None or (type(v) in (int, float) and v > 0), "a number above 0"),
    Key("layer_types", None, lambda v: v is None or isinstance(v, list), "a list"),
    *(key for key in ROPE_KEYS if key.name != "rope_theta"),
)


def read_windows(v: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The window of each layer, as the shortest row that repeats: a local query sees half of it on each side."""
    layers, kinds, every = v["num_hidden_layers"], v["layer_types"], v["global_attn_every_n_layers"]
    if layers > MOST:
        what = f"num_hidden_layers is {layers:,}; at most {MOST:,} layers of two kinds are read here"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="num_hidden_layers")
    if kinds is None:
        kinds = [LOCAL if n % every else GLOBAL for n in range(layers)]
    if len(kinds) != layers or any(kind not in (GLOBAL, LOCAL) for kind in kinds):
        what = f"layer_types must say {GLOBAL!r} or {LOCAL!r} for each of {layers} layers, not {shown(kinds)}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="layer_types")
    size = next(n for n in range(1, layers + 1) if all(kinds[i] == kinds[i % n] for i in range(layers)))
    return tuple(v["local_attention"] // 2 + 1 if kind == LOCAL else None for kind in kinds[:size])


def read_angles(v: Mapping[str, Any], *, local: bool) -> Rotary:
    """The angles of global layers, and the base of local ones where it is another."""
    said, longest = v["rope_parameters"] or {}, v["max_position_embeddings"]
    for name, part in said.items():
        if name not in (GLOBAL, LOCAL) or not isinstance(part, Mapping | None):
            what = f"rope_parameters must hold {GLOBAL!r} and {LOCAL!r}, each an object, not {shown(name)}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="rope_parameters")
    found = {}
    bases = {GLOBAL: v["global_rope_theta"], LOCAL: v["local_rope_theta"] or v["global_rope_theta"]}
    for name, base in bases.items():
        part = {**(said.get(name) or {}), **(v["rope_scaling"] or {})}
        found[name] = read_one(part, f"rope_parameters.{name}", base=base, longest=longest)
        if found[name].fraction != 1.0:
            what = "partial_rotary_factor is not 1: whole heads turn"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=f"rope_parameters.{name}")
    if not local or found[LOCAL] == found[GLOBAL]:
        return found[GLOBAL]
    if found[LOCAL].stretch is not None:
        what = "the angles of local layers are stretched; only those of global layers can be"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=f"rope_parameters.{LOCAL}", remedy="use another checkpoint")
    return replace(found[GLOBAL], local_base=found[LOCAL].base)


def plain_layers(stack: Stack) -> dict[str, Any]:
    """What a configuration says of the kinds of layers: the inverse of the two above."""
    position = stack.position
    assert isinstance(position, Rotary)
    windows = [stack.attention.windows[n % len(stack.attention.windows)] for n in range(stack.layers)]
    local = next((window for window in windows if window is not None), None)
    near = position if position.local_base is None else Rotary(base=position.local_base)
    return {
        "layer_types": [GLOBAL if window is None else LOCAL for window in windows],
        "rope_parameters": {GLOBAL: plain_rope(position), LOCAL: plain_rope(near)},
        **({} if local is None else {"local_attention": max(1, 2 * (local - 1))}),
    }
