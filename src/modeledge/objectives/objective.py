"""What is learned, as named sums: the contract that every objective keeps and the only thing a trainer calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.draw import dropping
from modeledge.model.heads import Head
from modeledge.records import Example, Prepared
from modeledge.seed import Noise

Measure = Literal["loss", "likelihood", "bound", "pseudo"]


@dataclass(frozen=True)
class Term:
    """One part of a loss: the sum over its items, the sum of their weights, its share in the whole. Never a mean."""

    total: Tensor
    weight: Tensor
    share: float = 1.0


@dataclass(frozen=True)
class Loss:
    """Named terms that are trained, and named sums (total, weight) that are only shown."""

    terms: Mapping[str, Term]
    logs: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def value(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Σ share · total / Σ weight, with the weights of the whole global batch: the one division."""
        parts = [term.share * term.total / weights[name].clamp(min=1e-38) for name, term in self.terms.items()]
        return torch.stack(parts).sum()


class Prepare(Protocol):
    """Example → Prepared: a plain frozen value without torch or weights, all that a worker process ever sees.

    `noisy` says whether an example is prepared differently in each epoch; the states of one that is not may be cached.
    """

    noisy: ClassVar[bool]

    @property
    def channels(self) -> frozenset[str]:
        """What shards must carry beside ids."""
        ...

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        """Noise is already keyed by (seed, purpose, epoch, example.index)."""
        ...


class Objective(nn.Module):
    """What a model is asked to learn.

    `heads` are added to the model where they are missing. `couples` says that examples see each other, so that a batch
    must not be split. `from_embeddings`: it starts the model there itself, so that states above them cannot be kept in
    the place of lower blocks. `longest` is how many positions a part of an example may have, where that is less than a
    row holds (the alternatives of a choice stand side by side, each from position 0). Heads that it `continues` are
    trained on where a model has them already. The noise of an example comes again after `repeats` epochs (`None`:
    never).
    `measure` says what the sum of its term `lm` is on texts that were not learned: their likelihood (then perplexity
    and bits a byte have a meaning), a bound that the likelihood is above (its exponential bounds perplexity), a
    pseudo-likelihood (of tokens guessed from both sides), or a loss and nothing more. A reference model, a generator or
    a value model would be a submodule here: moved, sharded, saved, and optimised where it requires a gradient, like the
    rest.
    """

    prepare: Prepare
    heads: Mapping[str, Head]
    couples: bool = False
    from_embeddings: bool = False
    longest: int | None = None
    continues: frozenset[str] = frozenset()
    repeats: int | None = None
    measure: ClassVar[Measure] = "loss"

    def draw(self, noise: Noise) -> None:
        """Draw the weights of the objective's own modules, where it has any: once, where its step is made."""

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        """The terms for one micro-batch. The weight of each term must equal `batch.weights[term].sum()`."""
        raise NotImplementedError

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Each term's weight, counted from the batch alone: known before the first forward pass."""
        return {name: weight.sum() for name, weight in batch.weights.items()}


class Step(nn.Module):
    """Model and objective as one module: what is moved, wrapped, sharded and saved; the trainer calls nothing else."""

    def __init__(self, model: Backbone, objective: Objective, *, noise: Noise = Noise(0)) -> None:  # noqa: B008
        super().__init__()
        self.model, self.objective = model, objective
        model.add_heads(objective.heads, noise)
        objective.draw(noise)

    def forward(self, batch: Batch, noise: Noise) -> Loss:
        """The loss of one micro-batch; `noise` is keyed by (seed, step, micro-batch, rank)."""
        with dropping(noise.at("dropout")):
            return self.objective.loss(self.model, batch, noise)


def prepared(objective: Objective, example: Example, noise: Noise) -> Prepared:
    """The example after its objective's noise, which depends on (seed, epoch, index) and on nothing else."""
    epoch = example.epoch if objective.repeats is None else example.epoch % objective.repeats
    return objective.prepare(example, noise.at("prepare", epoch, example.index))
