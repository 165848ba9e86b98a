"""Tiny models of every kind of part, packed batches by arithmetic, and nothing that any test would have to believe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from modeledge.model import (
    Attention,
    Batch,
    Dropout,
    FeedForward,
    Learned,
    Norm,
    Rotary,
    Side,
    Sinusoidal,
    Stack,
    Transformer,
    TransformerConfig,
)
from modeledge.model import Tokens as TokenTable

VOCAB, WIDTH, SEED = 23, 16, 11

STACKS = {
    "bert": Stack(
        layers=2,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=24),
        norm=Norm(place="post", eps=1e-12),
        position=Learned(length=24),
    ),
    "gpt2": Stack(
        layers=2,
        attention=Attention(heads=4, qkv="fused"),
        feedforward=FeedForward(width=24, kind="gelu_tanh"),
        position=Learned(length=24),
    ),
    "modern": Stack(
        layers=3,
        attention=Attention(heads=4, kv_heads=2, bias=False, qk_norm="head", windows=(None, 3)),
        feedforward=FeedForward(width=24, kind="swiglu", bias=False),
        norm=Norm(kind="rms"),
        position=Rotary(),
    ),
    "gemma": Stack(
        layers=2,
        attention=Attention(heads=2, kv_heads=1, head_width=6, qkv="fused", windows=(4, None), softcap=2.0),
        feedforward=FeedForward(width=20, kind="geglu"),
        norm=Norm(kind="rms", place="post"),
        position=Sinusoidal(base=50.0),
    ),
    "bare": Stack(layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=8, kind="relu")),
}
SHAPES = ("encoder", "decoder")


def config(kind: str, shape: str, rates: Dropout | None = None) -> TransformerConfig:
    """The stack of this kind as an encoder or a decoder; BERT's has token types and a norm on its embeddings."""
    stack = STACKS[kind]
    if rates is not None:
        stack = Stack(**{**stack.__dict__, "dropout": rates})
    embed = TokenTable(vocab=VOCAB, types=2, norm=True) if kind == "bert" else TokenTable(vocab=VOCAB)
    return TransformerConfig(width=WIDTH, embed=embed, init=0.4, **{shape: stack})


def build(
    kind: str, shape: str, dtype: torch.dtype = torch.float32, rates: Dropout | None = None, seed: int = SEED
) -> Transformer:
    """A model whose every vector differs from 0 and 1, so that a bias or a norm that is left out is seen."""
    model = Transformer(config(kind, shape, rates), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    if dtype is torch.float64:
        model.double()
    model.compute = dtype
    return model


def packed(rows: Sequence[Sequence[int]], seq: int, seed: int = 0, *, vocab: int = VOCAB) -> Side:
    """Rows of segments with these lengths, padded to `seq`; random ids everywhere, under the padding too."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, vocab, (len(rows), seq))
    positions, segments = np.zeros_like(ids), np.zeros_like(ids)
    for row, lengths in enumerate(rows):
        start = 0
        for number, length in enumerate(lengths, 1):
            positions[row, start : start + length] = range(length)
            segments[row, start : start + length] = number
            start += length
        assert start <= seq
    return Side(torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(segments))


def batch_of(side: Side, shape: str) -> Batch:
    """A batch with one side."""
    return Batch(source=side) if shape == "encoder" else Batch(target=side)
