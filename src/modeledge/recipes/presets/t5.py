"""T5 (Raffel et al. 2020, arXiv 1910.10683, section 2.1): RMSNorm before each sub-layer, no biases, positions as
buckets of distances, attention scores that are not divided by √width.

Version 1.0 has a ReLU and one table for both sides and the scores (base: 223 M with its 32,128 tokens); 1.1 (Shazeer
2020, arXiv 2002.05202, and the authors' release notes) a gated GELU and scores of their own (base: 248 M). The authors
drew the table with standard deviation 1 and multiplied the states by 1/√width before the tied scores; here all weights
are drawn at 0.02 and the head multiplies by nothing, so that fresh scores are of order 1 as well. Dropout is 0.1, which
version 1.1 switched off in pre-training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import Head, LMHead
from modeledge.model.kinds import Buckets

Sizes = tuple[int, int, int, int]  # width, inner width, layers a side, heads of 64
V1: dict[str, Sizes] = {"small": (512, 2048, 6, 8), "base": (768, 3072, 12, 12), "large": (1024, 4096, 24, 16)}
V11: dict[str, Sizes] = {"small": (512, 1024, 8, 6), "base": (768, 2048, 12, 12), "large": (1024, 2816, 24, 16)}


def t5(vocab: int, sizes: Sizes, *, gated: bool, rate: float = 0.1) -> TransformerConfig:
    """T5's shape, both sides alike."""
    width, inner, layers, heads = sizes
    stack = Stack(
        layers=layers,
        attention=Attention(heads=heads, head_width=64, bias=False, scale=1.0),
        feedforward=FeedForward(width=inner, kind="geglu_tanh" if gated else "relu", bias=False),
        norm=Norm(kind="rms", eps=1e-6),
        position=Buckets(count=32, distance=128),
        dropout=Dropout(embed=rate, hidden=rate, attention=rate, inner=rate, last=rate),
    )
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab), encoder=stack, decoder=stack)


def preset(sizes: Sizes, gated: bool) -> Callable[[int], TransformerConfig]:
    """A row of the table of presets."""
    return lambda vocab: t5(vocab, sizes, gated=gated)


T5: dict[str, Callable[[int], TransformerConfig]] = {
    **{f"t5-{name}": preset(sizes, False) for name, sizes in V1.items()},
    **{f"t5-v1.1-{name}": preset(sizes, True) for name, sizes in V11.items()},
}


def t5_heads() -> dict[str, Mapping[str, Head]]:
    """Version 1.1 has scores of its own."""
    return {f"t5-v1.1-{name}": {"lm": LMHead(tie=False)} for name in V11}
