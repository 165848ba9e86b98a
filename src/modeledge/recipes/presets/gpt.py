"""GPT and GPT-2: decoders with learned positions.

GPT (Radford et al. 2018, section 4.1): 12 layers of 768, norms after each sum as in Vaswani et al. (2017), 116.5 M
parameters with its 40,478 tokens. GPT-2 (Radford et al. 2019, table 2): norms before, one more at the end, 1,024
positions. The paper prints 117 M, 345 M, 762 M and 1,542 M for what has 124 M, 355 M, 774 M and 1,558 M.
"""

from __future__ import annotations

from collections.abc import Callable

from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.kinds import Learned


def gpt(vocab: int, norm: Norm, length: int, sizes: tuple[int, int, int], rate: float = 0.1) -> TransformerConfig:
    """The shape of both; `sizes` are width, layers and heads."""
    width, layers, heads = sizes
    stack = Stack(
        layers=layers,
        attention=Attention(heads=heads, qkv="fused"),
        feedforward=FeedForward(width=4 * width, kind="gelu_tanh"),
        norm=norm,
        position=Learned(length=length),
        dropout=Dropout(embed=rate, hidden=rate, attention=rate),
    )
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab), decoder=stack)


def gpt1(vocab: int) -> TransformerConfig:
    """GPT."""
    return gpt(vocab, Norm(place="post", eps=1e-5), 512, (768, 12, 12))


def gpt2(vocab: int, width: int, layers: int, heads: int, rate: float = 0.1) -> TransformerConfig:
    """GPT-2's shape."""
    return gpt(vocab, Norm(place="pre", eps=1e-5), 1024, (width, layers, heads), rate)


GPT: dict[str, Callable[[int], TransformerConfig]] = {
    "gpt1": gpt1,
    "gpt2": lambda vocab: gpt2(vocab, 768, 12, 12),
    "gpt2-medium": lambda vocab: gpt2(vocab, 1024, 24, 16),
    "gpt2-large": lambda vocab: gpt2(vocab, 1280, 36, 20),
    "gpt2-xl": lambda vocab: gpt2(vocab, 1600, 48, 25),
}
