"""Tiny models, a tiny labelled task, three lines of SGD, and every row of the table with some of its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.adapt import STRATEGIES, Clock, Strategy, apply_moving, compose
from modeledge.errors import ModeledgeError
from modeledge.model import (
    Attention,
    Batch,
    ClassHead,
    Dropout,
    FeedForward,
    Learned,
    LMHead,
    Norm,
    Rotary,
    Stack,
    Transformer,
    TransformerConfig,
)
from modeledge.model import Tokens as TokenTable
from modeledge.objectives import Classify, LabelPrepare, Shape, Step, collate, prepared
from modeledge.records import Example
from modeledge.seed import Noise

SEED, VOCAB, CLASSES, LAYERS = 7, 19, 3, 3
SHAPES = ("encoder", "decoder")


def config(shape: str, *, layers: int = LAYERS, dropout: float = 0.0) -> TransformerConfig:
    """BERT in small (post-norm, types, learned positions) or a modern decoder in small (pre-norm, rotary, fused)."""
    rates = Dropout(embed=dropout, hidden=dropout, attention=dropout)
    if shape == "encoder":
        stack = Stack(
            layers=layers,
            attention=Attention(heads=2),
            feedforward=FeedForward(width=12),
            norm=Norm(place="post"),
            position=Learned(length=32),
            dropout=rates,
        )
        return TransformerConfig(width=8, embed=TokenTable(vocab=VOCAB, types=2, norm=True), encoder=stack, init=0.3)
    stack = Stack(
        layers=layers,
        attention=Attention(heads=2, qkv="fused", bias=False, qk_norm="head"),
        feedforward=FeedForward(width=12, kind="swiglu", bias=False),
        norm=Norm(kind="rms"),
        position=Rotary(),
        dropout=rates,
    )
    return TransformerConfig(width=8, embed=TokenTable(vocab=VOCAB), decoder=stack, init=0.3)


def task(shape: str) -> Classify:
    prepare = LabelPrepare("source" if shape == "encoder" else "target", 12, "class", last=1, types=shape == "encoder")
    return Classify(prepare, ClassHead(outputs=CLASSES, pool="last", hidden=True, dropout=0.0))


def step_of(shape: str, *, dropout: float = 0.0, layers: int = LAYERS) -> Step:
    """A model with a pre-training head (tied to the embeddings) and a class head, and its objective."""
    model = Transformer(config(shape, layers=layers, dropout=dropout), seed=SEED)
    model.add_heads({"lm": LMHead(transform=True, bias=True)}, Noise(SEED))
    return Step(model, task(shape), noise=Noise(SEED))


def examples(count: int = 12) -> list[Example]:
    random = np.random.default_rng(3)
    return [
        Example(
            100 + i,
            random.integers(2, VOCAB, random.integers(1, 11)),
            pair=random.integers(2, VOCAB, 2) if i % 3 == 0 else None,
            label=int(random.integers(CLASSES)),
        )
        for i in range(count)
    ]


def batch_of(step: Step, chosen: Sequence[Example], seq: int = 24) -> Batch:
    """The examples packed into rows."""
    return collate([prepared(step.objective, e, Noise(SEED)) for e in chosen], Shape(seq))


def scores(step: Step, batch: Batch) -> torch.Tensor:
    """Class scores in eval mode."""
    step.eval()
    with torch.no_grad():
        return step.objective.scores(step.model, batch)  # type: ignore[operator,no-any-return]


def weights(model: Transformer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def descend(step: Step, batch: Batch, rates: Mapping[str, float], number: int = 0, rate: float = 0.1) -> None:
    """One step of SGD on whatever holds a gradient, at its rate: it asks no list whether a weight may move."""
    loss = step(batch, Noise(SEED).at("step", number))
    loss.value(step.objective.weights(batch)).backward()
    with torch.no_grad():
        for name, parameter in step.model.named_parameters():
            if parameter.grad is not None:
                parameter -= rate * rates.get(name, 1.0) * parameter.grad
                parameter.grad = None


def stir(step: Step, names: Sequence[str]) -> None:
    """Give what was added weights that matter."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in step.model.named_parameters():
            if name in names:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


NOW = Clock(0, 3, 0.0)
FIELDS: dict[str, list[dict[str, Any]]] = {
    "full": [{}],
    "probe": [{}],
    "freeze": [{}, {"first": 2}, {"all_but": 1}, {"first": 1, "embeddings": False}, {"first": LAYERS}],
    "new-head": [{}, {"head": "lm"}],
    "replaced-head": [{"outputs": 5}, {"outputs": CLASSES}],
    "layers": [{}, {"count": 2, "body": "moving"}],
    "rates": [{}, {"head": 5.0, "decay": 0.9}],
    "lora": [{}, {"sites": "query,value", "rank": 2, "rslora": True}, {"sites": ["down"], "start": "gaussian"}],
    "dora": [{"rank": 2}],
    "adalora": [{"rank": 3, "target": 2}],
    "loha": [{"rank": 2}],
    "lokr": [{"rank": 1, "decompose_both": True}, {"rank": 2, "factor": 3}],
    "ia3": [{}],
    "vera": [{"rank": 4}],
}


def build(kind: str, fields: dict[str, Any] | None = None) -> Strategy:
    return STRATEGIES[kind](**(fields or {}))


def attached(shape: str, *strategies: Strategy, seed: int = 11) -> tuple[Step, dict[str, float]]:
    """A tiny step with the strategies on it, ready to train."""
    step = step_of(shape)
    for strategy in strategies:
        strategy.attach(step.model, Noise(seed))
    rates = compose(strategies, step.model, NOW)
    apply_moving(step.model, rates)
    return step, rates


def refusal(code: str, action: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        action(*arguments, **named)
    assert caught.value.code == code
    return str(caught.value)
