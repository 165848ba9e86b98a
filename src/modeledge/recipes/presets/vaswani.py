"""The transformer of 2017 (Vaswani et al., arXiv 1706.03762): an encoder and a decoder of 6 layers of 512, 65 M
parameters with its 37,000 tokens.

Sinusoidal positions on embeddings that are multiplied by √width, norms after each sum, a ReLU between, one table for
both sides and the scores (sections 3.1 to 3.5). No product of the attention has a bias (figure 2 has none). It was
trained on pairs of sentences alone, with Adam (β₂ = 0.98, ε = 1e-9), the rate rising for 4,000 steps and falling as
1/√step, dropout 0.1 and label smoothing 0.1 (sections 5.3 and 5.4): `label_smoothing` of the task says the last.

Fresh weights have a standard deviation of 1/√width, which is Glorot's for a square matrix and makes the multiplied
embeddings as large as their positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.kinds import Sinusoidal


def vaswani(vocab: int, width: int = 512, layers: int = 6, heads: int = 8, rate: float = 0.1) -> TransformerConfig:
    """The base model, or a narrower one of its kind."""
    stack = Stack(
        layers=layers,
        attention=Attention(heads=heads, bias=False),
        feedforward=FeedForward(width=4 * width, kind="relu"),
        norm=Norm(place="post", eps=1e-6),
        position=Sinusoidal(),
        dropout=Dropout(embed=rate, hidden=rate),
    )
    embed = Tokens(vocab=vocab, scale=math.sqrt(width))
    return TransformerConfig(width=width, embed=embed, encoder=stack, decoder=stack, init=width**-0.5)


VASWANI: dict[str, Callable[[int], TransformerConfig]] = {
    "transformer-2017": vaswani,
    "transformer-2017-small": lambda vocab: vaswani(vocab, 256, 3, 4),
}
