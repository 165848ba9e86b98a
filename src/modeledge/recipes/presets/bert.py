"""BERT and what came of it: post-norm encoders with learned positions.

BERT (Devlin et al. 2019, arXiv 1810.04805, section 3): base 110 M parameters, large 340 M (335 M without its heads, at
24 layers); tiny, mini and small are its miniatures (Turc et al. 2019, arXiv 1908.08962, table 1). RoBERTa (Liu et al.
2019, arXiv 1907.11692): BERT's shape, one token type, positions counted from 2. ELECTRA (Clark et al. 2020, arXiv
2003.10555, table 6): small has a table of 128 numbers a token that is projected to 256. ALBERT (Lan et al. 2020, arXiv
1909.11942, table 1): one block for all 12 layers, 12 M parameters; the second published version, which drops nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.kinds import Learned


def bert(vocab: int, width: int, layers: int, heads: int, rate: float = 0.1, **stack: Any) -> TransformerConfig:
    """BERT's shape; `stack` holds other fields of the stack."""
    made = Stack(
        layers=layers,
        attention=Attention(heads=heads),
        feedforward=FeedForward(width=4 * width),
        norm=Norm(place="post", eps=1e-12),
        position=Learned(length=512),
        dropout=Dropout(embed=rate, hidden=rate, attention=rate),
    )
    embed = Tokens(vocab=vocab, types=2, norm=True)
    return TransformerConfig(width=width, embed=embed, encoder=replace(made, **stack))


def roberta(vocab: int) -> TransformerConfig:
    """RoBERTa-base: 125 M with its 50,265 tokens."""
    norm, position = Norm(place="post", eps=1e-5), Learned(length=514, offset=2)
    config = bert(vocab, 768, 12, 12, norm=norm, position=position)
    return replace(config, embed=Tokens(vocab=vocab, types=1, norm=True))


def electra_small(vocab: int) -> TransformerConfig:
    """ELECTRA-small: 14 M, of which 13.5 M without heads."""
    return replace(bert(vocab, 256, 12, 4), embed=Tokens(vocab=vocab, types=2, norm=True, width=128))


def albert(vocab: int) -> TransformerConfig:
    """ALBERT-base: 12 M with its 30,000 tokens."""
    config = bert(vocab, 768, 12, 12, 0.0, share=True, feedforward=FeedForward(width=3072, kind="gelu_tanh"))
    return replace(config, embed=Tokens(vocab=vocab, types=2, norm=True, width=128))


BERT: dict[str, Callable[[int], TransformerConfig]] = {
    "bert-tiny": lambda vocab: bert(vocab, 128, 2, 2),
    "bert-mini": lambda vocab: bert(vocab, 256, 4, 4),
    "bert-small": lambda vocab: bert(vocab, 512, 4, 8),
    "bert-base": lambda vocab: bert(vocab, 768, 12, 12),
    "bert-large": lambda vocab: bert(vocab, 1024, 24, 16),
    "roberta-base": roberta,
    "electra-small": electra_small,
    "electra-base": lambda vocab: bert(vocab, 768, 12, 12),
    "albert-base": albert,
}
