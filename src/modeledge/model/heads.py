"""What reads the states: a vocabulary, classes, a number. Heads are named by the objective that asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.model.batch import Batch
from modeledge.model.config import TransformerConfig
from modeledge.model.draw import Draw, dropped
from modeledge.model.feedforward import plain_activation
from modeledge.model.linear import Linear, build_norm

Pool: TypeAlias = Literal["first", "last", "mean", "max"]


@dataclass(frozen=True, kw_only=True)
class LMHead:
    """Scores over the vocabulary. `transform` is BERT's dense, activation, norm before it; `tie` shares the table."""

    transform: bool = False
    bias: bool = False
    tie: bool = True

    def build(self, config: TransformerConfig) -> LanguageModelling:
        return LanguageModelling(self, config)


@dataclass(frozen=True, kw_only=True)
class ClassHead:
    """Scores over classes from one pooled vector an example; `hidden` adds BERT's dense–tanh pooler before them."""

    outputs: int
    pool: Pool = "first"
    hidden: bool = False
    bias: bool = True
    dropout: float = 0.0

    def build(self, config: TransformerConfig) -> Classification:
        return Classification(self, config)


@dataclass(frozen=True, kw_only=True)
class ValueHead:
    """One number an example (regression), or one number a token with `pool=None` (the value model of PPO)."""

    pool: Pool | None = "first"
    hidden: bool = False
    dropout: float = 0.0

    def build(self, config: TransformerConfig) -> Value:
        return Value(self, config)


Head: TypeAlias = LMHead | ClassHead | ValueHead


class LanguageModelling(nn.Module):
    """States → scores over the vocabulary, in two steps so that a loss need never hold them all."""

    def __init__(self, spec: LMHead, config: TransformerConfig) -> None:
        super().__init__()
        width, norm = config.width, config.stack.norm
        self.activation = plain_activation(config.stack.feedforward.kind)
        self.dense = Linear(width, width) if spec.transform else None
        self.norm = build_norm(norm.kind, width, norm.eps) if spec.transform else None
        self.weight = None if spec.tie else nn.Parameter(torch.empty(config.embed.vocab, width))
        self.bias = nn.Parameter(torch.empty(config.embed.vocab)) if spec.bias else None

    def hidden(self, states: Tensor) -> Tensor:
        """What is multiplied by the vocabulary table: `[n, width]` → `[n, width]`."""
        if self.dense is None or self.norm is None:
            return states
        return self.norm(self.activation(self.dense(states)))  # type: ignore[no-any-return]

    def table(self, embedding: Tensor) -> Tensor:
        """The vocabulary table `[vocab, width]`: the embedding where the head is tied to it."""
        return embedding if self.weight is None else self.weight

    def forward(self, states: Tensor, embedding: Tensor) -> Tensor:
        """States `[..., width]` → scores `[..., vocab]`."""
        bias = None if self.bias is None else self.bias.to(states.dtype)
        return F.linear(self.hidden(states), self.table(embedding).to(states.dtype), bias)


class Classification(nn.Module):
    """Pooled states → class scores."""

    def __init__(self, spec: ClassHead, config: TransformerConfig) -> None:
        super().__init__()
        self.pool, self.rate = spec.pool, spec.dropout
        self.dense = Linear(config.width, config.width) if spec.hidden else None
        self.output = Linear(config.width, spec.outputs, bias=spec.bias)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        """States `[rows, seq, width]` → scores `[examples, outputs]`."""
        x = pooled(states, batch, self.pool)
        x = x if self.dense is None else torch.tanh(self.dense(x))
        return self.output(dropped(x, Draw.current(self.training).mask(x, self.rate, "head")))  # type: ignore[no-any-return]


class Value(nn.Module):
    """States → one number an example, or a token."""

    def __init__(self, spec: ValueHead, config: TransformerConfig) -> None:
        super().__init__()
        self.pool, self.rate = spec.pool, spec.dropout
        self.dense = Linear(config.width, config.width) if spec.hidden else None
        self.output = Linear(config.width, 1)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        """States `[rows, seq, width]` → `[examples]`, or `[rows, seq]` without pooling."""
        x = states if self.pool is None else pooled(states, batch, self.pool)
        x = x if self.dense is None else torch.tanh(self.dense(x))
        return self.output(dropped(x, Draw.current(self.training).mask(x, self.rate, "head"))).squeeze(-1)  # type: ignore[no-any-return]


def pooled(states: Tensor, batch: Batch, pool: Pool) -> Tensor:
    """One vector an example, read through the batch's spans: `[rows, seq, width]` → `[examples, width]`."""
    seq, flat = states.shape[1], states.reshape(-1, states.shape[-1])
    row, start, end = batch.spans.unbind(1)
    if pool == "first":
        return flat[row * seq + start]
    if pool == "last":
        return flat[row * seq + end - 1]
    example, position = members(batch, seq)
    if pool == "mean":
        wide = flat.dtype if flat.dtype is torch.float64 else torch.float32  # bf16 sums stall at a few hundred tokens
        sums = torch.zeros(len(row), flat.shape[1], dtype=wide, device=flat.device)
        return (sums.index_add(0, example, flat[position].to(wide)) / (end - start)[:, None]).to(flat.dtype)
    lowest = torch.full((len(row), flat.shape[1]), torch.finfo(flat.dtype).min, dtype=flat.dtype, device=flat.device)
    return lowest.scatter_reduce(0, example[:, None].expand(-1, flat.shape[1]), flat[position], "amax")


def members(batch: Batch, seq: int) -> tuple[Tensor, Tensor]:
    """For each real token its example number and its flat position, example by example."""
    row, start, end = batch.spans.unbind(1)
    lengths = end - start
    example = torch.repeat_interleave(torch.arange(len(row), device=row.device), lengths)
    first = torch.cumsum(lengths, 0) - lengths
    within = torch.arange(len(example), device=row.device) - first[example]
    return example, (row * seq + start)[example] + within
