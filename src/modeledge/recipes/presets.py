"""Shapes by name: functions of the vocabulary, so that a variant is two lines."""

from __future__ import annotations

from collections.abc import Callable

from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.kinds import Learned, Rotary


def modern(width: int, layers: int, *, dropout: float = 0.0) -> Stack:
    """Rotary positions, QK-norm, LayerNorm before each sub-layer, no biases in the products.

    LayerNorm and not RMSNorm: torch has a fused kernel for the first alone on CPUs."""
    return Stack(
        layers=layers,
        attention=Attention(heads=max(1, width // 64), bias=False, qk_norm="head"),
        feedforward=FeedForward(width=4 * width, kind="gelu", bias=False),
        norm=Norm(kind="layer", place="pre", eps=1e-6),
        position=Rotary(),
        dropout=Dropout(hidden=dropout, attention=0.0, embed=dropout),
    )


def decoder_small(vocab: int) -> TransformerConfig:
    """A decoder of 192 × 4: minutes on a laptop."""
    return TransformerConfig(width=192, embed=Tokens(vocab=vocab), decoder=modern(192, 4))


def encoder_small(vocab: int) -> TransformerConfig:
    """An encoder of 192 × 4: minutes on a laptop."""
    return TransformerConfig(width=192, embed=Tokens(vocab=vocab), encoder=modern(192, 4))


def encoder_decoder_small(vocab: int) -> TransformerConfig:
    """An encoder and a decoder of 192 × 4 each, with one table of tokens: minutes on a laptop."""
    return TransformerConfig(width=192, embed=Tokens(vocab=vocab), encoder=modern(192, 4), decoder=modern(192, 4))


def bert(vocab: int, width: int, layers: int, heads: int, rate: float = 0.1) -> TransformerConfig:
    """BERT's shape (Devlin et al. 2019, section 3)."""
    stack = Stack(
        layers=layers,
        attention=Attention(heads=heads),
        feedforward=FeedForward(width=4 * width),
        norm=Norm(place="post", eps=1e-12),
        position=Learned(length=512),
        dropout=Dropout(embed=rate, hidden=rate, attention=rate),
    )
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab, types=2, norm=True), encoder=stack)


def gpt2(vocab: int, width: int, layers: int, heads: int, rate: float = 0.1) -> TransformerConfig:
    """GPT-2's shape (Radford et al. 2019, table 2)."""
    stack = Stack(
        layers=layers,
        attention=Attention(heads=heads, qkv="fused"),
        feedforward=FeedForward(width=4 * width, kind="gelu_tanh"),
        norm=Norm(place="pre", eps=1e-5),
        position=Learned(length=1024),
        dropout=Dropout(embed=rate, hidden=rate, attention=rate),
    )
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab), decoder=stack)


PRESETS: dict[str, Callable[[int], TransformerConfig]] = {
    "decoder-small": decoder_small,
    "encoder-small": encoder_small,
    "encoder-decoder-small": encoder_decoder_small,
    "bert-base": lambda vocab: bert(vocab, 768, 12, 12),
    "bert-large": lambda vocab: bert(vocab, 1024, 24, 16),
    "gpt2": lambda vocab: gpt2(vocab, 768, 12, 12),
    "gpt2-medium": lambda vocab: gpt2(vocab, 1024, 24, 16),
}
