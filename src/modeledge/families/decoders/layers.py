"""How a `config.json` says what differs from layer to layer: which layers look through a window (`layer_types`, or an
older rule that makes such a list), and which turn their queries and keys (`no_rope_layers`).

A list that repeats is read as its shortest beginning: `sliding, full, sliding, full` is `(4096, None)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.families.family import shortest
from modeledge.families.keys import Key, count, flag, shown, whole
from modeledge.model.config import TransformerConfig

SLIDING, FULL = "sliding_attention", "full_attention"
TYPES = Key(
    "layer_types",
    None,
    lambda v: v is None or (isinstance(v, list) and all(kind in (SLIDING, FULL) for kind in v)),
    f"a list of {SLIDING!r} and {FULL!r}",
)


def window_key(default: int | None) -> Key:
    """`sliding_window`: how many tokens, itself included, a token sees; null for all of them."""
    return count("sliding_window", default, null=True)


def upper_layer_keys() -> tuple[Key, ...]:
    """Qwen's keys: a window that is said may be switched off, or left to the layers above `max_window_layers`."""
    return (window_key(4096), flag("use_sliding_window", False), whole("max_window_layers", 28), TYPES)


def upper_layers(v: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The windows that Qwen's keys say."""
    window = v["sliding_window"] if v["use_sliding_window"] else None
    above = [n >= v["max_window_layers"] for n in range(v["num_hidden_layers"])]
    return windows(v, window, above if window is not None else [False] * len(above))


def plain_upper_layers(config: TransformerConfig) -> dict[str, Any]:
    """What Qwen's keys say of a model's windows."""
    said = plain_windows(config)
    return {**said, "use_sliding_window": said["sliding_window"] is not None}


def windows(v: Mapping[str, Any], window: int | None, rule: Sequence[bool]) -> tuple[int | None, ...]:
    """Each layer's window: as `layer_types` says, or, where nothing is said, by a family's `rule`."""
    kinds, depth = v["layer_types"], v["num_hidden_layers"]
    if kinds is not None and len(kinds) != depth:
        what = f"layer_types names {len(kinds)} layers, and num_hidden_layers is {depth}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="layer_types")
    sliding = rule if kinds is None else [kind == SLIDING for kind in kinds]
    if window is None and any(sliding):
        what = "layer_types names sliding layers, and there is no window for them"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="layer_types", remedy="say sliding_window")
    return shortest([window if slides else None for slides in sliding])


def plain_windows(config: TransformerConfig) -> dict[str, Any]:
    """`sliding_window` and `layer_types` of a model; of two different windows only one is said."""
    said = config.stack.attention.windows
    each = [said[n % len(said)] for n in range(config.stack.layers)]
    window = next((w for w in each if w is not None), None)
    return {"sliding_window": window, "layer_types": [FULL if w is None else SLIDING for w in each]}


def whole_window(config: TransformerConfig) -> int | None:
    """The window of all layers, for a family that knows no other; of layers that differ only the first is said."""
    return config.stack.attention.windows[0]


def turning(v: Mapping[str, Any]) -> tuple[bool, ...]:
    """Which layers turn queries and keys: 1 in `no_rope_layers` is a layer that does, or else all but every
    `no_rope_layer_interval`-th."""
    said, depth = v["no_rope_layers"], v["num_hidden_layers"]
    if said is None:
        return tuple((n + 1) % v["no_rope_layer_interval"] != 0 for n in range(depth))
    if len(said) < depth:
        what = f"no_rope_layers is {shown(said)}, too short for {depth} layers"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="no_rope_layers")
    return tuple(bool(turns) for turns in said[:depth])
