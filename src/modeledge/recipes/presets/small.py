"""Our own small shapes: minutes on a laptop, and large enough that something transfers
(docs/decisions/0007-what-transfers-in-four-minutes.md)."""

from __future__ import annotations

from collections.abc import Callable

from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.kinds import Rotary

WIDTH, LAYERS = 192, 4


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
    """A decoder; a prefix LM too, where the objective marks a prefix."""
    return TransformerConfig(width=WIDTH, embed=Tokens(vocab=vocab), decoder=modern(WIDTH, LAYERS))


def encoder_small(vocab: int) -> TransformerConfig:
    """An encoder."""
    return TransformerConfig(width=WIDTH, embed=Tokens(vocab=vocab), encoder=modern(WIDTH, LAYERS))


def sides_small(vocab: int, *, layers: int = LAYERS, share: bool = False) -> TransformerConfig:
    """An encoder and a decoder of `layers` each: the three rows of Raffel et al. 2020, table 2, are twice the layers
    of the decoder above (2P parameters, M operations), the same with one body for both (P, M), and half as many layers
    on each side (P, M/2)."""
    stack = modern(WIDTH, layers)
    return TransformerConfig(width=WIDTH, embed=Tokens(vocab=vocab), encoder=stack, decoder=stack, share_sides=share)


SMALL: dict[str, Callable[[int], TransformerConfig]] = {
    "decoder-small": decoder_small,
    "encoder-small": encoder_small,
    "encoder-decoder-small": sides_small,
    "encoder-decoder-shared-small": lambda vocab: sides_small(vocab, share=True),
    "encoder-decoder-half-small": lambda vocab: sides_small(vocab, layers=LAYERS // 2),
}
