"""What did pre-training buy? One model, one task, several ways to adapt it, the same seeds and the same test rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modeledge.adapt.strategy import Strategy
from modeledge.corpus.stream import ListStream
from modeledge.metrics import Interval, paired_difference
from modeledge.model.config import TransformerConfig
from modeledge.model.transformer import Transformer
from modeledge.objectives import Step
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks import Task, answers
from modeledge.train import TrainConfig, Trainer

Correct = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One way to adapt: from which weights (`fresh` draws new ones), which weights move, and the numbers of the run."""

    name: str
    fresh: bool = False
    strategies: tuple[Strategy, ...] = ()
    train: TrainConfig = field(default_factory=TrainConfig)
    epochs: float = 8.0
    dropout: float = 0.1


@dataclass
class Cell:
    """One row of the comparison: who, on what, with how many labels, and which test rows were right in each seed."""

    model: str
    task: str
    arm: str
    labels: int
    correct: list[Correct] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """The mean over seeds and test rows."""
        return float(np.mean([c.mean() for c in self.correct]))

    def as_plain(self) -> dict[str, Any]:
        """What `results.json` keeps."""
        return {
            "model": self.model,
            "task": self.task,
            "arm": self.arm,
            "labels": self.labels,
            "accuracy": self.accuracy,
            "by_seed": [float(c.mean()) for c in self.correct],
            "seconds": round(self.seconds, 1),
        }


def adapt(model: Transformer, task: Task, train: Sequence[Example], arm: Arm, seed: int) -> Transformer:
    """A copy of the model (or a fresh one of its shape) after the arm's fine-tuning."""
    adapted = fresh_like(model.config, seed) if arm.fresh else bare_copy(model)
    config = arm.train.over(arm.epochs, len(train))
    step = Step(adapted, task.objective, noise=Noise(seed))
    Trainer(step, ListStream(list(train), seed), arm.strategies, config=config, seed=seed).fit()
    return adapted


def fresh_like(config: TransformerConfig, seed: int) -> Transformer:
    """The same shape, drawn anew."""
    return Transformer(config, seed=seed)


def bare_copy(model: Transformer) -> Transformer:
    """A copy without its heads: the body that fine-tuning starts from."""
    copied = copy.deepcopy(model)
    copied.heads.clear()
    return copied


def run_cell(
    cell: Cell,
    model: Transformer,
    task: Task,
    train: Mapping[int, Sequence[Example]],
    test: Sequence[Example],
    arm: Arm,
) -> Cell:
    """Fill a cell: one adaptation a seed (`train` maps each seed to its rows), marked on the same test rows."""
    import time

    began = time.perf_counter()
    for seed, rows in train.items():
        adapted = adapt(model, task, rows, arm, seed)
        told = answers(task, adapted, test)
        cell.correct.append(np.array([float(a.value == e.label) for a, e in zip(told, test, strict=True)]))
    cell.seconds += time.perf_counter() - began
    return cell


def difference(a: Cell, b: Cell, *, seed: int = 0) -> Interval:
    """How much better `a` is than `b`, with the bootstrap interval over the same seeds and the same test rows."""
    return paired_difference(np.stack(a.correct), np.stack(b.correct), seed=seed)
