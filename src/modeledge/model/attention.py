"""The one place that chooses the attention kernel, and the module around it.

On a CPU plain batched products in bf16 beat torch's flash kernel two- to fourfold in training; on CUDA
`scaled_dot_product_attention` is right. All agree with one dense reference (`tests/model/test_patterns.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.model import config as shapes
from modeledge.model.cache import Cache
from modeledge.model.draw import Draw, Mask
from modeledge.model.linear import Linear, applied, build_norm, joinable, joined
from modeledge.model.pattern import Pattern
from modeledge.model.position import Angles, turned
from modeledge.model.working import Working


@dataclass(frozen=True)
class Way:
    """What one forward pass tells each layer beside its states. `given` are keys and values `[kv_heads, n, head_width]`
    that stand before those of the tokens, `over` those before the source's."""

    pattern: Pattern
    angles: Angles | None
    draw: Draw
    cache: Cache | None = None
    layer: int = 0
    weights: bool = False
    score: Tensor | None = None
    cross: Pattern | None = None
    source: Tensor | None = None
    given: tuple[Tensor, Tensor] | None = None
    over: tuple[Tensor, Tensor] | None = None


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern,
    *,
    scale: float,
    softcap: float | None = None,
    score: Tensor | None = None,
    mask: Draw | None = None,
    rate: float = 0.0,
    weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """softmax(query keyᵀ · scale + score, under the pattern) value (Vaswani et al. 2017, equation 1).

    query `[rows, heads, queries, head_width]`, key and value `[rows, kv_heads, keys, head_width]` → states like query,
    and the weights `[rows, heads, queries, keys]` where they are asked for. `softcap` bounds the scaled product by
    softcap · tanh(x / softcap) before `score` `[1 or rows, heads, queries, keys]` and the pattern are added.
    """
    dense = weights or softcap is not None or (rate > 0 and mask is not None and mask.noise is not None)
    training = torch.is_grad_enabled() and query.requires_grad
    if not dense and (query.device.type == "cuda" or not training):
        return _fused(query, key, value, pattern, scale, score), None
    return _products(query, key, value, pattern, scale, softcap, score, mask, rate, weights)


def _fused(
    query: Tensor, key: Tensor, value: Tensor, pattern: Pattern, scale: float, score: Tensor | None = None
) -> Tensor:
    """torch's own kernel: no weights kept, no dropout. On a CPU it runs in fp32, where it is several times as fast; on
    CUDA keys that queries share are repeated under a mask, which its grouped kernels do not take."""
    heads, queries = query.shape[1:3]
    dtype = torch.float32 if query.device.type == "cpu" and query.dtype is torch.bfloat16 else query.dtype
    causal = pattern.causal and pattern.whole and pattern.window is None and queries == key.shape[2] and queries > 1
    causal = causal and pattern.queries.prefix is None and not pattern.shared and score is None
    if score is not None:
        bias: Tensor | None = pattern.scored(score, dtype, dense=False)
    else:
        bias = None if causal else pattern.bias(dtype, 1)
        bias = None if bias is None else bias[:, None]
    grouped = key.shape[1] != heads
    if grouped and bias is not None and query.device.type == "cuda":
        key, value = (x.repeat_interleave(heads // x.shape[1], 1) for x in (key, value))
        grouped = False
    states = F.scaled_dot_product_attention(
        query.to(dtype),
        key.to(dtype),
        value.to(dtype),
        attn_mask=bias,
        is_causal=causal,
        scale=scale,
        enable_gqa=grouped,
    )
    return states.to(query.dtype)


def _products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern,
    scale: float,
    softcap: float | None,
    score: Tensor | None,
    mask: Draw | None,
    rate: float,
    weights: bool,
) -> tuple[Tensor, Tensor | None]:
    """The dense reference: two batched products around a softmax."""
    rows, heads, queries, width = query.shape
    if key.shape[1] != heads:
        key, value = (x.repeat_interleave(heads // x.shape[1], 1) for x in (key, value))
    query = query if scale == 1.0 else query * scale
    q, k, v = (x.reshape(rows * heads, -1, width) for x in (query, key, value))
    bias = pattern.bias(q.dtype, heads) if score is None else pattern.scored(score, q.dtype, dense=True)
    if bias is not None and softcap is None:
        scores = torch.baddbmm(bias, q, k.transpose(1, 2))
    else:
        scores = torch.bmm(q, k.transpose(1, 2))
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        scores = scores if bias is None else scores + bias
    shares = torch.softmax(scores, -1)
    drop: Mask | None = mask.mask(shares, rate, "attention") if mask is not None else None
    states = torch.bmm(shares if drop is None else shares * drop.keep, v)
    states = states if drop is None else states * drop.scale
    kept = shares.view(rows, heads, queries, -1) if weights else None
    return states.view(rows, heads, queries, width), kept


def led(given: tuple[Tensor, Tensor], key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values `[rows, kv_heads, n, head_width]` behind those that are given to every row."""
    first, second = (x.to(key.dtype).expand(len(key), *x.shape) for x in given)
    return torch.cat((first, key), 2), torch.cat((second, value), 2)


class SelfAttention(nn.Module):
    """Queries, keys, values, attention, output projection. Weights are stored as the family stores them."""

    def __init__(self, config: shapes.Attention, width: int, rate: float, norm: shapes.Norm) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.head_width = config.head_width or width // config.heads
        self.scale = self.head_width**-0.5 if config.scale is None else config.scale
        self.softcap, self.rate = config.softcap, rate
        inner, inner_kv = self.heads * self.head_width, self.kv_heads * self.head_width
        self.sizes = [inner, inner_kv, inner_kv]
        if config.qkv == "fused":
            self.qkv = Linear(width, inner + 2 * inner_kv, bias=config.bias)
        else:
            self.query = Linear(width, inner, bias=config.bias)
            self.key = Linear(width, inner_kv, bias=config.bias)
            self.value = Linear(width, inner_kv, bias=config.bias)
            self.working = Working()
        self.fused = config.qkv == "fused"
        self.whole_norm = config.qk_norm == "whole"
        normed = (inner, inner_kv) if self.whole_norm else (self.head_width, self.head_width)
        self.query_norm = build_norm(norm, normed[0]) if config.qk_norm else None
        self.key_norm = build_norm(norm, normed[1]) if config.qk_norm else None
        output_bias = config.bias if config.output_bias is None else config.output_bias
        self.output = Linear(inner, width, bias=output_bias, residual=True)

    def forward(self, x: Tensor, way: Way) -> tuple[Tensor, Tensor | None]:
        """States `[rows, seq, width]` → states, and attention weights where `way` asks for them."""
        rows, seq, _ = x.shape
        query, key, value = self._project(x)
        if self.whole_norm and self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        query, key, value = (part.view(rows, seq, -1, self.head_width) for part in (query, key, value))
        if not self.whole_norm and self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        query, key = turned(query, way.angles), turned(key, way.angles)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        if way.cache is not None:
            key, value = way.cache.write(way.layer, key, value, way.given)
        elif way.given is not None:
            key, value = led(way.given, key, value)
        states, weights = attention(
            query,
            key,
            value,
            way.pattern,
            scale=self.scale,
            softcap=self.softcap,
            score=way.score,
            mask=way.draw,
            rate=self.rate,
            weights=way.weights,
        )
        return applied(self.output, states.transpose(1, 2).reshape(rows, seq, -1)), weights

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.fused:
            return torch.split(applied(self.qkv, x), self.sizes, -1)
        parts = (self.query, self.key, self.value)
        if torch.is_grad_enabled() and joinable(parts):  # one that is packed for decoding has no weight to ask
            weight = self.query.weight
            if weight.requires_grad or weight.dtype is not x.dtype:
                return joined(parts, x, self.sizes, self.working)
        return tuple(applied(part, x) for part in parts)


class CrossAttention(nn.Module):
    """A decoder's queries over the encoder's states (Vaswani et al. 2017, section 3.2.3): no positions, no direction.

    With a cache the keys and values of the source are made once and kept.
    """

    def __init__(self, config: shapes.Attention, width: int, rate: float) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.head_width = config.head_width or width // config.heads
        self.scale = self.head_width**-0.5 if config.scale is None else config.scale
        self.softcap, self.rate = config.softcap, rate
        inner, inner_kv = self.heads * self.head_width, self.kv_heads * self.head_width
        self.sizes, self.fused = [inner, inner_kv, inner_kv], False
        self.query = Linear(width, inner, bias=config.bias)
        self.key = Linear(width, inner_kv, bias=config.bias)
        self.value = Linear(width, inner_kv, bias=config.bias)
        output_bias = config.bias if config.output_bias is None else config.output_bias
        self.output = Linear(inner, width, bias=output_bias, residual=True)

    def forward(self, x: Tensor, way: Way) -> tuple[Tensor, Tensor | None]:
        """States `[rows, seq, width]` → states, and weights over the source where `way` asks for them."""
        assert way.cross is not None, "a decoder that reads an encoder needs a source"
        rows, seq, _ = x.shape
        query = applied(self.query, x).view(rows, seq, -1, self.head_width).transpose(1, 2)
        known = None if way.cache is None else way.cache.source_at(way.layer)
        if known is None:
            assert way.source is not None, "the source was not read"
            key, value = (
                applied(part, way.source).view(rows, -1, self.kv_heads, self.head_width).transpose(1, 2)
                for part in (self.key, self.value)
            )
            if way.over is not None:
                key, value = led(way.over, key, value)
            if way.cache is not None:
                way.cache.keep_source(way.layer, key, value)
        else:
            key, value = known
        states, weights = attention(
            query,
            key,
            value,
            way.cross,
            scale=self.scale,
            softcap=self.softcap,
            mask=way.draw.at("cross"),
            rate=self.rate,
            weights=way.weights,
        )
        return applied(self.output, states.transpose(1, 2).reshape(rows, seq, -1)), weights
