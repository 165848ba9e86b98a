"""A trainer small enough for a step in milliseconds, with everything that moves: dropout, masking, a judge, rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeledge.adapt import STRATEGIES
from modeledge.corpus.shard import Shards, TokenDocument, write_shards
from modeledge.corpus.stream import ListStream, TokenStream
from modeledge.model import (
    Attention,
    ClassHead,
    Dropout,
    FeedForward,
    Rotary,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.objectives import CausalLM, Classify, LabelPrepare, MaskedLM, MaskedPrepare, Objective, Step
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train import Judge, TrainConfig, Trainer

VOCAB = 40


def shards(folder: Path) -> Shards:
    """Ten documents of random ids."""
    random = np.random.default_rng(0)
    documents = (TokenDocument(random.integers(5, VOCAB, random.integers(9, 60)), f"d{n}") for n in range(10))
    return write_shards(folder, documents, vocab_size=VOCAB, tokenizer_fingerprint="none")


def examples(count: int = 24) -> list[Example]:
    """Labelled examples of 2 to 13 tokens."""
    random = np.random.default_rng(0)
    return [Example(i, random.integers(5, VOCAB, random.integers(2, 14)), label=i % 3) for i in range(count)]


def objective(kind: str) -> Objective:
    if kind == "causal":
        return CausalLM()
    if kind == "masked":
        return MaskedLM(MaskedPrepare(vocab=VOCAB, mask=4, specials=(0, 1, 2, 3, 4), cls=1, sep=2))
    return Classify(LabelPrepare("target", 16, "class"), ClassHead(outputs=3, pool="last", dropout=0.1))


def counted(model: Transformer) -> Mapping[str, float]:
    """Marks that depend on every weight, and that go up and down."""
    total = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
    return {"score": total % 1.0}


def trainer(
    folder: Path,
    kind: str = "masked",
    *,
    judge: Callable[[Transformer], Mapping[str, float]] | None = counted,
    strategies: tuple[Any, ...] = (),
    seed: int = 0,
    **fields: Any,
) -> Trainer:
    """A fresh trainer; the shards are written on the first call."""
    side = "encoder" if kind == "masked" else "decoder"
    stack = Stack(
        layers=2,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=32),
        position=Rotary(),
        dropout=Dropout(hidden=0.1, attention=0.1, embed=0.1),
    )
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=VOCAB), **{side: stack}), seed=seed)
    step = Step(model, objective(kind), noise=Noise(seed))
    if kind == "label":
        stream: Any = ListStream(examples(), seed)
    else:
        where = folder / "shards"
        stream = TokenStream(Shards.open(where) if where.exists() else shards(where), 12, seed, shortest=2)
    values = {"steps": 10, "batch": 4, "length": 16, "precision": "fp32", "judge_every": 3, **fields}
    marks = None if judge is None else Judge(judge, "score", every=3, patience=values.get("patience"))
    return Trainer(step, stream, strategies, config=TrainConfig(**values), seed=seed, judge=marks)


def rates() -> tuple[Any, ...]:
    return (STRATEGIES["rates"](body=0.5, head=2.0),)


def moving_parts(run: Trainer) -> dict[str, Any]:
    """All that a resumed run must have: tensors as bytes, the rest as JSON values."""
    tensors = {
        name: value.contiguous().view(torch.uint8).numpy().tobytes() if value.ndim else float(value)
        for name, value in run.tensors().items()
    }
    return {**tensors, "state": run.state_dict()}
