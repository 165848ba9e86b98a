"""What reads the states: a vocabulary, classes, a number. Heads are named by the objective that asks for them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.batch import Batch
from modeledge.model.boundary import BoundaryHead
from modeledge.model.chain import ChainHead
from modeledge.model.config import Patches
from modeledge.model.draw import Draw, dropped
from modeledge.model.facts import Facts
from modeledge.model.feedforward import ACTIVATIONS, activation
from modeledge.model.linear import Linear, build_norm
from modeledge.model.places import PlacesHead

LEAST_GAP = 1e-3  # between thresholds: a class whose interval is lost to rounding would have a probability of 0
Pool: TypeAlias = Literal["first", "last", "mean", "max"]
Activation: TypeAlias = Literal["tanh", "relu", "gelu", "gelu_tanh", "silu"]


@dataclass(frozen=True, kw_only=True)
class LMHead:
    """Scores over the vocabulary. `transform` is BERT's dense, activation, norm before it (`transform_bias`: has the
    dense layer one; `activation`: that of the stack where it is not said); `tie` shares the table of tokens. States are
    multiplied by `scale` (T5: 1/√width), scores bounded by softcap · tanh(scores / softcap) (Gemma 2). A `fixed` bias
    is added and never learned (BART)."""

    transform: bool = False
    transform_bias: bool = True
    activation: Activation | None = None
    bias: bool | Literal["fixed"] = False
    tie: bool = True
    scale: float = 1.0
    softcap: float | None = None

    def build(self, config: Facts) -> LanguageModelling:
        return LanguageModelling(self, config)


@dataclass(frozen=True, kw_only=True)
class ClassHead:
    """Scores over classes from one pooled vector an example.

    `hidden` puts a dense layer with an `activation` before them: BERT's dense–tanh pooler. `norm` adds the stack's norm
    behind it, `hidden_bias` says whether it has a bias. `dropout` stands before the scores, `first_dropout` before the
    dense layer. `distilled` adds a second set of scores, read at the second position, where DeiT learned from a
    teacher; the answer is the mean of both (Touvron et al. 2021, section 4). `several` says that more than one class
    may hold at once, so that scores are read by a sigmoid each.
    """

    outputs: int
    pool: Pool = "first"
    hidden: bool = False
    hidden_bias: bool = True
    activation: Activation = "tanh"
    norm: bool = False
    bias: bool = True
    dropout: float = 0.0
    first_dropout: float = 0.0
    distilled: bool = False
    several: bool = False

    def build(self, config: Facts) -> Classification:
        return Classification(self, config)


@dataclass(frozen=True, kw_only=True)
class ValueHead:
    """One number an example (regression), or one number a token with `pool=None` (the value model of PPO). The other
    fields are as in `ClassHead`."""

    pool: Pool | None = "first"
    hidden: bool = False
    hidden_bias: bool = True
    activation: Activation = "tanh"
    norm: bool = False
    bias: bool = True
    dropout: float = 0.0
    first_dropout: float = 0.0

    def build(self, config: Facts) -> Value:
        return Value(self, config)


@dataclass(frozen=True, kw_only=True)
class TokenHead:
    """Scores for each token: tags, the start and end of an answer, original or replaced. `hidden` puts a dense layer
    with an `activation` (and with `norm` the stack's norm) before them."""

    outputs: int
    hidden: bool = False
    hidden_bias: bool = True
    activation: Activation = "gelu"
    norm: bool = False
    bias: bool = True
    dropout: float = 0.0

    def build(self, config: Facts) -> Tagging:
        return Tagging(self, config)


@dataclass(frozen=True, kw_only=True)
class OrdinalHead:
    """One score an example by one weight vector, and ordered thresholds between ordered classes: logits of
    P(class ≤ k) (McCullagh 1980). `start` are the thresholds where training begins, rising, one less than classes. The
    other fields are as in `ClassHead`."""

    start: tuple[float, ...]
    pool: Pool = "first"
    hidden: bool = False
    hidden_bias: bool = True
    activation: Activation = "tanh"
    norm: bool = False
    dropout: float = 0.0
    first_dropout: float = 0.0

    def build(self, config: Facts) -> Ordering:
        return Ordering(self, config)


Head: TypeAlias = LMHead | ClassHead | ValueHead | TokenHead | OrdinalHead | ChainHead | PlacesHead | BoundaryHead


class LanguageModelling(nn.Module):
    """States → scores over the vocabulary, in two steps so that a loss need never hold them all."""

    bias: Tensor | None

    def __init__(self, spec: LMHead, config: Facts) -> None:
        super().__init__()
        self.spec, width, table = spec, config.width, config.table
        inner = table.width or width
        if inner != width and not spec.transform:
            what = f"the table of tokens is {inner} wide, the states {width}"
            raise ModeledgeError("E-CONFIG", what, where="heads.lm", remedy="give the head a transform")
        self.activation = activation(spec.activation or config.stack.feedforward.kind)
        self.dense = Linear(width, inner, bias=spec.transform_bias) if spec.transform else None
        self.norm = build_norm(config.stack.norm, inner) if spec.transform else None
        self.weight = None if spec.tie else nn.Parameter(torch.empty(table.vocab, inner))
        if spec.bias == "fixed":
            self.register_buffer("bias", torch.zeros(table.vocab))
        else:
            self.bias = nn.Parameter(torch.empty(table.vocab)) if spec.bias else None

    def hidden(self, states: Tensor) -> Tensor:
        """What is multiplied by the vocabulary table: `[n, width]` → `[n, width of the table]`."""
        if self.dense is not None and self.norm is not None:
            states = self.norm(self.activation(self.dense(states)))
        return states if self.spec.scale == 1.0 else states * self.spec.scale

    def weights(self, embedding: Tensor) -> Tensor:
        """The vocabulary table `[vocab, width]`: the embedding where the head is tied to it."""
        return embedding if self.weight is None else self.weight

    def forward(self, states: Tensor, embedding: Tensor) -> Tensor:
        """States `[..., width]` → scores `[..., vocab]`."""
        bias = None if self.bias is None else self.bias.to(states.dtype)
        return self.capped(F.linear(self.hidden(states), self.weights(embedding).to(states.dtype), bias))

    def capped(self, scores: Tensor) -> Tensor:
        """The scores within the head's bounds, where it has any."""
        cap = self.spec.softcap
        return scores if cap is None else cap * torch.tanh(scores / cap)


class Scores(nn.Module):
    """What heads that are no language model share: a hidden layer, where there is one, and the scores."""

    def __init__(self, spec: ClassHead | ValueHead | TokenHead, config: Facts, outputs: int, first: float) -> None:
        super().__init__()
        self.drops = first, spec.dropout
        self.activation = ACTIVATIONS[spec.activation]
        self.dense = Linear(config.width, config.width, bias=spec.hidden_bias) if spec.hidden else None
        self.norm = build_norm(config.stack.norm, config.width) if spec.hidden and spec.norm else None
        self.output = Linear(config.width, outputs, bias=spec.bias)

    def scores(self, x: Tensor, draw: Draw) -> Tensor:
        """States `[..., width]` → `[..., outputs]`."""
        first, last = self.drops
        if self.dense is not None:
            x = self.activation(self.dense(dropped(x, draw.mask(x, first, "head input"))))
            x = x if self.norm is None else self.norm(x)
        told: Tensor = self.output(dropped(x, draw.mask(x, last, "head")))
        return told


class Classification(Scores):
    """Pooled states → class scores."""

    def __init__(self, spec: ClassHead, config: Facts) -> None:
        super().__init__(spec, config, spec.outputs, spec.first_dropout)
        self.spec, self.pool = spec, spec.pool
        learned = config.embed.leading if isinstance(config.embed, Patches) else 0
        if spec.distilled and (spec.hidden or spec.pool != "first" or learned < 2):
            what = "a distilled head reads the first two positions of a picture as they are"
            remedy = 'embed.leading = 2, pool = "first", hidden = false'
            raise ModeledgeError("E-CONFIG", what, where="heads.class", remedy=remedy)
        self.teacher = Linear(config.width, spec.outputs, bias=spec.bias) if spec.distilled else None

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        """States `[rows, seq, width]` → scores `[examples, outputs]`."""
        draw = Draw.current(self.training)
        told = self.scores(pooled(states, batch, self.pool), draw)
        if self.teacher is None:
            return told
        row, start, _ = batch.spans.unbind(1)
        second = states[row, start + 1]
        taught: Tensor = self.teacher(dropped(second, draw.mask(second, self.spec.dropout, "teacher")))
        return (told + taught) / 2


class Value(Scores):
    """States → one number an example, or a token."""

    def __init__(self, spec: ValueHead, config: Facts) -> None:
        super().__init__(spec, config, 1, spec.first_dropout)
        self.spec, self.pool = spec, spec.pool

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        """States `[rows, seq, width]` → `[examples]`, or `[rows, seq]` without pooling."""
        x = states if self.pool is None else pooled(states, batch, self.pool)
        return self.scores(x, Draw.current(self.training)).squeeze(-1)


class Ordering(nn.Module):
    """States → logits of P(class ≤ k) for all but the last class, rising in k whatever the weights are."""

    def __init__(self, spec: OrdinalHead, config: Facts) -> None:
        super().__init__()
        self.spec, self.pool = spec, spec.pool
        shape = {f.name: getattr(spec, f.name) for f in fields(spec) if f.name != "start"}
        self.value = Value(ValueHead(bias=False, **shape), config)
        self.bias = nn.Parameter(torch.empty(len(spec.start)))  # how far each threshold has moved: fresh ones have not

    def thresholds(self) -> Tensor:
        """θ `[classes − 1]`, rising: the first one is free, each other is a softplus and a little behind."""
        start = torch.tensor(self.spec.start, dtype=self.bias.dtype, device=self.bias.device)
        gaps = (start.diff() - LEAST_GAP).clamp(min=LEAST_GAP)
        free = gaps + torch.log(-torch.expm1(-gaps))  # softplus(free) = gaps
        steps = F.softplus(free + self.bias[1:]) + LEAST_GAP
        return torch.cat((start[:1] + self.bias[:1], steps)).cumsum(0)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        """States `[rows, seq, width]` → `[examples, classes − 1]`."""
        told: Tensor = self.value(states, batch)
        return self.thresholds() - told.to(self.bias.dtype)[:, None]


class Tagging(Scores):
    """States → scores for each token."""

    def __init__(self, spec: TokenHead, config: Facts) -> None:
        super().__init__(spec, config, spec.outputs, 0.0)
        self.spec = spec

    def forward(self, states: Tensor) -> Tensor:
        """States `[..., width]` → scores `[..., outputs]`."""
        return self.scores(states, Draw.current(self.training))


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
