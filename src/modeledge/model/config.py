"""What a transformer is made of, as small frozen values: choices are types, never piles of booleans.

BERT is an `encoder`, GPT a `decoder`. A stack says how many layers, how they attend, feed forward, normalise and know
their position; the model that `Transformer` builds is a function of this value alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from modeledge.errors import ModeledgeError
from modeledge.model.kinds import Buckets, Learned, PositionConfig, Rotary, Sinusoidal


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A table of token embeddings `[vocab, width]`, plus token types where `types > 0` (BERT's sentence A and B).

    A `width` of its own is projected to that of the model (factorised: ALBERT, ELECTRA). `scale` multiplies what is
    looked up (√width in Vaswani et al. 2017, section 3.4). `norm` stands after all is summed.
    """

    vocab: int
    types: int = 0
    norm: bool = False
    width: int | None = None
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Square patches of square images as a sequence `[rows, seq, channels · patch²]` (Dosovitskiy et al. 2021).

    The first `leading` positions are learned tokens ([CLS]; DeiT adds one for distillation), the patches follow.
    """

    image: int
    patch: int
    channels: int = 3
    leading: int = 1
    kind: Literal["patches"] = "patches"

    @property
    def dim(self) -> int:
        """Numbers in one patch."""
        return self.channels * self.patch**2

    @property
    def length(self) -> int:
        """Positions of one image, the leading tokens counted."""
        return self.leading + (self.image // self.patch) ** 2


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Multi-head attention; fewer `kv_heads` is grouped-query attention (Ainslie et al. 2023).

    `qkv` says how the weights are stored: three matrices (`split`, as BERT) or one (`fused`, as GPT-2). `output_bias`
    is as `bias` where it is not said. `qk_norm` normalises queries and keys with the norm of the stack: each head
    (Henry et al. 2020; Qwen 3), or all heads together (OLMo 2). `windows` repeats over the layers: `(None, 128)`
    alternates global and local attention. `softcap` bounds the scores by a tanh (Gemma 2). `scale` multiplies them:
    1/√head_width where it is not said.
    """

    heads: int
    kv_heads: int | None = None
    head_width: int | None = None
    qkv: Literal["split", "fused"] = "split"
    bias: bool = True
    output_bias: bool | None = None
    qk_norm: Literal["head", "whole"] | None = None
    windows: tuple[int | None, ...] = (None,)
    softcap: float | None = None
    scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Two layers with an activation between, or the gated form of Shazeer (2020): `swiglu`, `geglu`, `reglu`; `_tanh`
    is GELU by its tanh approximation."""

    width: int
    kind: Literal["gelu", "gelu_tanh", "relu", "silu", "swiglu", "geglu", "geglu_tanh", "reglu"] = "gelu"
    bias: bool = True

    @property
    def gated(self) -> bool:
        """Is one product multiplied by another?"""
        return self.kind in ("swiglu", "geglu", "geglu_tanh", "reglu")


@dataclass(frozen=True, kw_only=True)
class Norm:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019).

    It stands before each sub-layer (`pre`), after the sum with the residual (`post`), on the sub-layer's output before
    that sum (`inner`: OLMo 2), or before and on the output (`around`: Gemma 2). Stacks that are not `post` end with one
    more. `around_one` stores weights as their distance from 1 (Gemma). `first=False` leaves out the very first
    (ModernBERT, whose embeddings are normed).
    """

    kind: Literal["layer", "rms"] = "layer"
    place: Literal["pre", "post", "inner", "around"] = "pre"
    eps: float = 1e-5
    bias: bool = True
    around_one: bool = False
    first: bool = True


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Rates on the embeddings, on each sub-layer's output, on the attention weights, inside the feed-forward (T5, BART)
    and after the last norm (T5). `mixed` is the rate on the output of attention where it is not `hidden` (ModernBERT).
    """

    embed: float = 0.0
    hidden: float = 0.0
    attention: float = 0.0
    inner: float = 0.0
    last: float = 0.0
    mixed: float | None = None


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One tower of layers. With `share` all layers are one block's weights (ALBERT); with `parallel` attention and
    feed-forward read the same states and are added together (GPT-NeoX)."""

    layers: int
    attention: Attention
    feedforward: FeedForward
    norm: Norm = Norm()
    position: PositionConfig = None
    dropout: Dropout = Dropout()
    share: bool = False
    parallel: bool = False


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The whole model: BERT is an encoder, GPT a decoder, T5 both: then the decoder reads the encoder's states.

    An encoder–decoder has one table of tokens for both sides, or a second one, `target_embed`. With `share_sides` the
    encoder's weights are the decoder's, which alone has attention over the source (Raffel et al. 2020, section 3.2.2).
    `init` is the standard deviation of fresh weights.
    """

    width: int
    embed: Tokens | Patches
    target_embed: Tokens | None = None
    encoder: Stack | None = None
    decoder: Stack | None = None
    share_sides: bool = False
    init: float = 0.02

    def __post_init__(self) -> None:
        if self.encoder is None and self.decoder is None:
            what = "a model has an encoder, a decoder, or both"
            raise ModeledgeError("E-CONFIG", what, where="encoder, decoder")
        if self.target_embed is not None and not self.both:
            what = "a second table of tokens is for an encoder and a decoder together"
            raise ModeledgeError("E-CONFIG", what, where="model.target_embed")
        if self.target_embed is not None and (
            self.target_embed.types or self.target_embed.width != getattr(self.embed, "width", None)
        ):
            what = "a second table of tokens has no types, and is as wide as the first"
            raise ModeledgeError("E-CONFIG", what, where="model.target_embed")
        if self.share_sides and (self.encoder is None or self.encoder != self.decoder or self.target_embed is not None):
            what = "sides that share their weights are an encoder and a decoder of one shape, over one table of tokens"
            raise ModeledgeError("E-CONFIG", what, where="model.share_sides")
        if isinstance(self.embed, Patches) and (
            self.decoder is not None or not isinstance(self.stack.position, Learned)
        ):
            what = "patches are read by an encoder with learned positions"
            raise ModeledgeError("E-CONFIG", what, where="model.embed")
        check_numbers(self)
        for stack in (self.encoder, self.decoder):
            if stack is not None:
                check_stack(stack, self.width)

    @property
    def both(self) -> bool:
        """Does a decoder read an encoder?"""
        return self.encoder is not None and self.decoder is not None

    @property
    def stack(self) -> Stack:
        """The tower whose states the heads read: the decoder where there is one."""
        stack = self.decoder or self.encoder
        assert stack is not None
        return stack

    @property
    def table(self) -> Tokens:
        """The token embeddings that stand on the side the heads read. Images have none (`E-USAGE`)."""
        table = self.target_embed or self.embed
        if isinstance(table, Patches):
            raise ModeledgeError("E-USAGE", "a model of images has no table of tokens")
        return table

    @property
    def positions(self) -> int | None:
        """How many positions the model knows on each side; `None` where there is no limit."""
        known = [s.position for s in (self.encoder, self.decoder) if s is not None]
        return min((p.length - p.offset for p in known if isinstance(p, Learned)), default=None)


def check_numbers(config: TransformerConfig) -> None:
    """Refuse numbers that no model can have (`E-CONFIG`); what is not a number (NaN) fits no rule either."""
    sizes: dict[str, float | None] = {"width": config.width}
    from_zero: dict[str, float | None] = {"init": config.init}
    above: dict[str, float | None] = {}
    rates: dict[str, float | None] = {}
    for name, table in (("embed", config.embed), ("target_embed", config.target_embed)):
        if isinstance(table, Tokens):
            sizes |= {f"{name}.vocab": table.vocab, f"{name}.width": table.width}
            from_zero[f"{name}.types"] = table.types
            above[f"{name}.scale"] = table.scale
        elif table is not None:
            sizes |= {f"{name}.{size}": getattr(table, size) for size in ("image", "patch", "channels", "leading")}
            from_zero[f"{name}.image − patch"] = table.image - table.patch
    for stack in (config.encoder, config.decoder):
        if stack is None:
            continue
        attention, position = stack.attention, stack.position
        sizes |= {
            "layers": stack.layers,
            "attention.heads": attention.heads,
            "attention.kv_heads": attention.kv_heads,
            "attention.head_width": attention.head_width,
            "attention.windows": min((w for w in attention.windows if w is not None), default=None),
            "feedforward.width": stack.feedforward.width,
        }
        rates |= {f"dropout.{name}": rate for name, rate in dataclasses.asdict(stack.dropout).items()}
        above |= {"attention.softcap": attention.softcap, "attention.scale": attention.scale}
        from_zero["norm.eps"] = stack.norm.eps
        match position:
            case Learned():
                sizes["position.length"], from_zero["position.offset"] = position.length, position.offset
                sizes["position.length − offset"] = position.length - position.offset
            case Sinusoidal():
                above["position.base"] = position.base
            case Rotary():
                above |= {"position.base": position.base, "position.local_base": position.local_base}
                above["position.fraction"] = position.fraction
                if position.stretch is not None:
                    above |= {f"stretch.{n}": getattr(position.stretch, n) for n in ("factor", "high", "original")}
            case Buckets():
                near = position.count // (2 if stack is config.decoder else 4)  # buckets of one distance alone
                sizes["position.count // 2, or // 4 both ways,"] = near
                above["position.distance − buckets of one distance"] = position.distance - near
        _hold(
            ("must be at least 1", sizes, lambda x: x >= 1),
            ("must be at least 0 and below 1", rates, lambda x: 0 <= x < 1),
            ("must be above 0", above, lambda x: 0 < x < math.inf),
            ("must be at least 0", from_zero, lambda x: 0 <= x < math.inf),
        )


def _hold(*rules: tuple[str, Mapping[str, float | None], Callable[[float], bool]]) -> None:
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
    if isinstance(stack.position, Rotary):
        turned = int(head_width * stack.position.fraction)
        if turned % 2 or not 0 < turned <= head_width:
            what = f"rotary positions turn an even part of a head's numbers, not {turned} of {head_width}"
            raise ModeledgeError("E-CONFIG", what, where="model.position")
        stretch = stack.position.stretch
        if stretch is not None and stretch.kind == "longrope":
            for name, numbers in (("near", stretch.near or ()), ("far", stretch.far or ())):
                if len(numbers) != turned // 2 or not all(0 < number < math.inf for number in numbers):
                    what = f"longrope divides {turned // 2} angles, each by a number above 0; {name} has {len(numbers)}"
                    raise ModeledgeError("E-CONFIG", what, where=f"model.position.stretch.{name}")
    if stack.parallel and stack.norm.place != "pre":
        what = f"parallel sub-layers read states that were normed before; norm.place is {stack.norm.place!r}"
        raise ModeledgeError("E-CONFIG", what, where="model.norm.place")
