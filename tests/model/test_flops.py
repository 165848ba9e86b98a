"""Counted arithmetic is what torch's own counter sees, forwards and backwards."""

from __future__ import annotations

import pytest
import torch

from modeledge.model import (
    Attention,
    FeedForward,
    Learned,
    LMHead,
    Norm,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.model.batch import Batch, Side
from modeledge.model.flops import measured, parameters, work_of
from modeledge.model.likelihood import token_loss
from modeledge.seed import Noise

VOCAB, ROWS, SOURCE, TARGET = 50, 3, 12, 20


def stack(**fields: object) -> Stack:
    values = {"layers": 2, "attention": Attention(heads=4), "feedforward": FeedForward(width=48), "norm": Norm()}
    return Stack(**{**values, **fields})  # type: ignore[arg-type]


CASES = {
    "decoder": {"decoder": stack()},
    "encoder": {"encoder": stack(position=Learned(length=32), norm=Norm(place="post"))},
    "grouped, gated, fused": {
        "decoder": stack(
            attention=Attention(heads=4, kv_heads=2, qkv="fused"), feedforward=FeedForward(width=40, kind="swiglu")
        )
    },
    "shared, factorised": {"encoder": stack(share=True), "embed": Tokens(vocab=VOCAB, width=8)},
    "both": {"encoder": stack(layers=1), "decoder": stack(layers=3)},
    "both, shared": {"encoder": stack(), "decoder": stack(), "share_sides": True},
}


def build(case: str) -> Transformer:
    values = {"width": 32, "embed": Tokens(vocab=VOCAB), **CASES[case]}
    model = Transformer(TransformerConfig(**values))
    model.add_heads({"lm": LMHead(transform=case != "decoder")}, Noise(0))
    return model


@pytest.mark.parametrize("case", CASES)
def test_counted_is_measured(case: str) -> None:
    model = build(case)
    config = model.config
    source = SOURCE if config.encoder is not None else 0
    target = TARGET if config.decoder is not None else 0
    sides = [Side.of(torch.randint(5, VOCAB, (ROWS, n))) if n else None for n in (source, target)]
    batch, count = Batch(source=sides[0], target=sides[1]), ROWS * (target or source)

    def forward() -> torch.Tensor:
        head = model.heads["lm"]
        states = model(batch).last.flatten(0, 1)
        labels, weights = torch.zeros(count, dtype=torch.long), torch.ones(count)
        return token_loss(head.hidden(states), head.weights(model.table), labels, weights)

    each = work_of(model, source, target, {"lm": count // ROWS})
    model.train()
    assert measured(lambda: forward().backward()) == ROWS * each.training
    model.eval()
    with torch.no_grad():
        assert measured(lambda: model.logits(model(batch).last)) == ROWS * each.forward


def test_a_model_without_memory_is_counted_too() -> None:
    with torch.device("meta"):
        model = build("both")
    real = build("both")
    assert work_of(model, 5, 7, {"lm": 7}) == work_of(real, 5, 7, {"lm": 7})
    assert parameters(model) == parameters(real) == sum(p.numel() for p in real.parameters())


def test_six_flops_a_weight_where_attention_is_nothing() -> None:
    """Kaplan et al.: C ≈ 6N, without embeddings and attention."""
    model = build("decoder")
    weights = sum(p.numel() for n, p in model.named_parameters() if n.startswith("tower.blocks") and p.ndim == 2)
    each = work_of(model, target=9)
    assert 3 * each.body == 6 * weights * 9
