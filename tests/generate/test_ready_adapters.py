"""A model made ready for decoding keeps what adapters have put on it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.adapt import STRATEGIES
from modeledge.generate import Sampling, generate
from modeledge.generate.ready import PackedLinear, ready
from modeledge.model import (
    Attention,
    Batch,
    FeedForward,
    LMHead,
    Rotary,
    Side,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.seed import Noise

VOCAB = 29
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lora", {"rank": 2}),
    ("dora", {"rank": 2}),
    ("ia3", {}),
    ("adapter", {"size": 4}),
    ("adapter", {"size": 4, "placement": "parallel"}),
    ("prompt", {"length": 3}),
    ("prefix", {"length": 3}),
)
SIDE = Side.of(torch.randint(2, VOCAB, (3, 9), generator=torch.Generator().manual_seed(1)))


def adapted(kind: str, fields: dict[str, Any], feedforward: str = "gelu") -> tuple[Transformer, Transformer]:
    """A decoder, and one with an adapter whose numbers are all drawn."""
    attention = Attention(heads=2, qkv="split")
    stack = Stack(layers=2, attention=attention, feedforward=FeedForward(width=48, kind=feedforward), position=Rotary())
    plain = Transformer(TransformerConfig(width=32, embed=Tokens(vocab=VOCAB), decoder=stack, init=0.3), seed=1)
    plain.add_heads({"lm": LMHead()}, Noise(1))
    model = copy.deepcopy(plain)
    STRATEGIES[kind](**fields).attach(model, Noise(1))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".default" in name:
                parameter.add_(0.4 * torch.randn(parameter.shape, generator=draw))
    return plain.eval(), model.eval()


def scores(model: Transformer, side: Side = SIDE) -> torch.Tensor:
    with torch.inference_mode():
        return model.logits(model(Batch(target=side)).last).float()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("kind", "fields"), METHODS, ids=[f"{k}-{n}" for n, (k, _) in enumerate(METHODS)])
@pytest.mark.parametrize("feedforward", ["gelu", "swiglu"])
def test_packed_is_unpacked(kind: str, fields: dict[str, Any], feedforward: str) -> None:
    plain, model = adapted(kind, fields, feedforward)
    told, base = scores(model), scores(plain)
    packed = ready(model, torch.bfloat16)
    if torch.backends.mkldnn.is_available():
        assert any(isinstance(part, PackedLinear) for part in packed.modules())
    error = (scores(packed) - told).abs().mean()
    assert error < 0.1 * (base - told).abs().mean(), "the adapter is lost"
    plainly = copy.deepcopy(model).to(torch.bfloat16)
    plainly.compute = torch.bfloat16
    assert error <= 1.5 * (scores(plainly) - told).abs().mean() + 1e-3, "packing costs more than bf16 does"


@pytest.mark.parametrize(("kind", "fields"), METHODS, ids=[f"{k}-{n}" for n, (k, _) in enumerate(METHODS)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_written_is_the_best_token_of_one_reading(
    kind: str, fields: dict[str, Any], dtype: torch.dtype
) -> None:
    """Teacher forcing over prompt and answer: no other token is better than what was chosen, but for rounding."""
    model = ready(adapted(kind, fields)[1], dtype)
    prompts = [np.array([3, 4, 5, 6]), np.array([7, 8])]
    for prompt, answer in zip(prompts, generate(model, prompts, max_new_tokens=6, sampling=Sampling(0.0)), strict=True):
        whole = torch.tensor([*prompt, *answer])
        told = scores(model, Side.of(whole[None]))[0, len(prompt) - 1 : -1]
        chosen = told.gather(1, torch.tensor(answer)[:, None])[:, 0]
        slack = 1e-4 if dtype is torch.float32 else 0.15
        assert (told.max(1).values - chosen <= slack).all()
        assert (told - told.mean()).abs().max() > 4 * slack, "the scores tell tokens apart"
