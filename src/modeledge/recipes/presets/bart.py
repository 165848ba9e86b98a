"""BART (Lewis et al. 2020, arXiv 1910.13461, section 2): 6 or 12 layers a side, BERT's layers on both, a norm on the
embeddings of each; 139 M and 406 M parameters with its 50,265 tokens. Its scores have a bias that is never learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import Head, LMHead
from modeledge.model.kinds import Learned


def bart(vocab: int, width: int, layers: int, heads: int, rate: float = 0.1) -> TransformerConfig:
    """BART's shape, both sides alike."""
    stack = Stack(
        layers=layers,
        attention=Attention(heads=heads),
        feedforward=FeedForward(width=4 * width),
        norm=Norm(place="post", eps=1e-5),
        position=Learned(length=1026, offset=2),
        dropout=Dropout(embed=rate, hidden=rate, attention=rate, inner=rate),
    )
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab, norm=True), encoder=stack, decoder=stack)


BART: dict[str, Callable[[int], TransformerConfig]] = {
    "bart-base": lambda vocab: bart(vocab, 768, 6, 12),
    "bart-large": lambda vocab: bart(vocab, 1024, 12, 16),
}


def bart_heads() -> dict[str, Mapping[str, Head]]:
    """The head of each."""
    return {name: {"lm": LMHead(bias="fixed")} for name in BART}
