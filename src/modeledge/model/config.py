"""What a transformer is made of, as small frozen values: choices are types, never piles of booleans.

BERT is an `encoder`, GPT a `decoder`. A stack says how many layers, how they attend, feed forward, normalise and know
their position; the model that `Transformer` builds is a function of this value alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from modeledge.errors import ModeledgeError, nearest


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A table of token embeddings `[vocab, width]`, plus token types where `types > 0` (BERT's sentence A and B)."""

    vocab: int
    types: int = 0
    norm: bool = False


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A table of position embeddings added to the tokens (Radford et al. 2018); `length` rows."""

    length: int
    kind: Literal["learned"] = "learned"


@dataclass(frozen=True, kw_only=True)
class Sinusoidal:
    """Fixed sines and cosines added to the tokens (Vaswani et al. 2017, section 3.5)."""

    base: float = 10000.0
    kind: Literal["sinusoidal"] = "sinusoidal"


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Queries and keys turned by an angle proportional to the position (Su et al. 2021, equation 34)."""

    base: float = 10000.0
    kind: Literal["rotary"] = "rotary"


PositionConfig: TypeAlias = Learned | Sinusoidal | Rotary | None


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Multi-head attention; fewer `kv_heads` is grouped-query attention (Ainslie et al. 2023).

    `qkv` says how the weights are stored: three matrices (`split`, as BERT) or one (`fused`, as GPT-2). `qk_norm`
    normalises queries and keys per head (Henry et al. 2020) with the norm of the stack. `windows` repeats over the
    layers: `(None, 128)` alternates global and local attention. `softcap` bounds the scores by a tanh (Gemma 2).
    """

    heads: int
    kv_heads: int | None = None
    head_width: int | None = None
    qkv: Literal["split", "fused"] = "split"
    bias: bool = True
    qk_norm: bool = False
    windows: tuple[int | None, ...] = (None,)
    softcap: float | None = None


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Two layers with an activation between, or the gated form of Shazeer (2020): `swiglu`, `geglu`."""

    width: int
    kind: Literal["gelu", "gelu_tanh", "relu", "swiglu", "geglu"] = "gelu"
    bias: bool = True


@dataclass(frozen=True, kw_only=True)
class Norm:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019), before each sub-layer or after its residual."""

    kind: Literal["layer", "rms"] = "layer"
    place: Literal["pre", "post"] = "pre"
    eps: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Rates on the embeddings, on each sub-layer's output, and on the attention weights."""

    embed: float = 0.0
    hidden: float = 0.0
    attention: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One tower of layers."""

    layers: int
    attention: Attention
    feedforward: FeedForward
    norm: Norm = Norm()
    position: PositionConfig = None
    dropout: Dropout = Dropout()


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The whole model: BERT is an encoder, GPT a decoder. `init` is the standard deviation of fresh weights."""

    width: int
    embed: Tokens
    encoder: Stack | None = None
    decoder: Stack | None = None
    init: float = 0.02

    def __post_init__(self) -> None:
        if (self.encoder is None) == (self.decoder is None):
            raise ModeledgeError("E-CONFIG", "a model here is one encoder or one decoder", where="encoder, decoder")
        check_numbers(self)
        check_stack(self.stack, self.width)

    @property
    def stack(self) -> Stack:
        """The tower whose states the heads read: the decoder where there is one."""
        stack = self.decoder or self.encoder
        assert stack is not None
        return stack

    @property
    def positions(self) -> int | None:
        """How many positions the model knows; `None` where there is no limit."""
        position = self.stack.position
        return position.length if isinstance(position, Learned) else None


def check_numbers(config: TransformerConfig) -> None:
    """Refuse numbers that no model can have (`E-CONFIG`); what is not a number (NaN) fits no rule either."""
    stack, attention, position = config.stack, config.stack.attention, config.stack.position
    sizes = {
        "width": config.width,
        "layers": stack.layers,
        "attention.heads": attention.heads,
        "attention.kv_heads": attention.kv_heads,
        "attention.head_width": attention.head_width,
        "attention.windows": min((w for w in attention.windows if w is not None), default=None),
        "feedforward.width": stack.feedforward.width,
        "embed.vocab": config.embed.vocab,
        "position.length": config.positions,
    }
    rates = {f"dropout.{name}": rate for name, rate in dataclasses.asdict(stack.dropout).items()}
    above = {"attention.softcap": attention.softcap}
    if isinstance(position, Rotary | Sinusoidal):
        above["position.base"] = position.base
    from_zero = {"embed.types": config.embed.types, "norm.eps": stack.norm.eps, "init": config.init}
    rules: tuple[tuple[str, Mapping[str, float | None], Callable[[float], bool]], ...] = (
        ("must be at least 1", sizes, lambda x: x >= 1),
        ("must be at least 0 and below 1", rates, lambda x: 0 <= x < 1),
        ("must be above 0", above, lambda x: 0 < x < math.inf),
        ("must be at least 0", from_zero, lambda x: 0 <= x < math.inf),
    )
    for rule, values, holds in rules:
        for name, value in values.items():
            if value is not None and not holds(value):
                raise ModeledgeError("E-CONFIG", f"{name} is {value}; it {rule}", where=f"model.{name}")


def check_stack(stack: Stack, width: int) -> None:
    """Refuse numbers that cannot work together (`E-CONFIG`)."""
    attention = stack.attention
    if attention.head_width is None and width % attention.heads:
        what = f"{attention.heads} heads do not divide a width of {width}"
        raise ModeledgeError("E-CONFIG", what, where="model.attention.heads", remedy="choose a divisor of the width")
    if attention.heads % (attention.kv_heads or attention.heads):
        what = f"{attention.kv_heads} kv_heads do not divide {attention.heads} heads"
        raise ModeledgeError("E-CONFIG", what, where="model.attention.kv_heads")
    head_width = attention.head_width or width // attention.heads
    if isinstance(stack.position, Rotary) and head_width % 2:
        raise ModeledgeError("E-CONFIG", f"rotary positions need an even head width, not {head_width}", where="model")


# ---- plain values in and out, for config.json and recipes ---------------------------------------------------------

_POSITIONS: dict[str, type[Learned] | type[Sinusoidal] | type[Rotary]] = {
    "learned": Learned,
    "sinusoidal": Sinusoidal,
    "rotary": Rotary,
}
_PARTS: dict[str, Any] = {
    "embed": Tokens,
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
