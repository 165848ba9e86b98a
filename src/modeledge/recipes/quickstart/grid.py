"""The quickstart's comparison: two pre-trained models, two tasks, four ways to adapt, two classical baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from modeledge.adapt import Freeze, Probe
from modeledge.metrics import Interval
from modeledge.model.transformer import Transformer
from modeledge.recipes.quickstart.scripture import pair_task, section_task, unlabelled_texts
from modeledge.recipes.quickstart.study import Arm, Cell, difference, run_cell
from modeledge.recipes.tuning.classical import LatentSemantics, tfidf_logistic, tfidf_svd_logistic
from modeledge.records import Example
from modeledge.tasks import Labels, LabelTask
from modeledge.tokens import Tokenizer
from modeledge.train import TrainConfig

Say = Callable[[str], None]
LENGTH = 160
UNITS: tuple[Literal["chapter", "verse"], ...] = ("chapter", "verse")

SCRATCH, FULL, PROBE, FROZEN = "from scratch", "pre-trained, all weights", "pre-trained, probe", "pre-trained, 2 frozen"
TFIDF, SVD = "TF-IDF + logistic", "TF-IDF + SVD + logistic"


@dataclass(frozen=True)
class Plan:
    """What is compared: tasks, label budgets and seeds; the whole grid, or the part of it that fits ten minutes."""

    tasks: Mapping[str, Sequence[int]]
    seeds: int
    test_rows: int
    splits: Mapping[str, int]  # for each task the least number of labels at which probes and frozen layers run too
    pair_epochs: float


QUICK = Plan({"section": (300, 1000), "pair": (1000,)}, 3, 1000, {"section": 1000}, 1.0)
WHOLE = Plan({"section": (100, 300, 1000), "pair": (300, 1000)}, 5, 2000, {"section": 0, "pair": 0}, 4.0)


def arms(task: str, labels: int, pair_epochs: float) -> dict[str, Arm]:
    """The four ways to adapt; both starts get the same rate and the same epochs (docs/decisions/0007)."""
    epochs = pair_epochs if task == "pair" else 10.0 if labels <= 300 else 4.0
    fine = TrainConfig(batch=32, length=LENGTH, learning_rate=8e-4, warmup=0.1, weight_decay=0.05)
    head = TrainConfig(batch=32, length=LENGTH, learning_rate=3e-3, warmup=0.1, weight_decay=0.01)
    return {
        SCRATCH: Arm(SCRATCH, fresh=True, train=fine, epochs=epochs),
        FULL: Arm(FULL, train=fine, epochs=epochs),
        PROBE: Arm(PROBE, strategies=(Probe(),), train=head, epochs=2 * epochs),
        FROZEN: Arm(FROZEN, strategies=(Freeze(first=2),), train=fine, epochs=epochs),
    }


@dataclass(frozen=True)
class Data:
    """One task: the nested training rows of each seed and the test rows that all share."""

    train: Mapping[int, Sequence[dict[str, Any]]]
    test: Sequence[dict[str, Any]]
    labels: Labels
    pair: str | None


def load(task: str, plan: Plan) -> Data:
    """The rows of a task, labels as text."""
    make = section_task if task == "section" else pair_task
    splits = {seed: make(seed, test=plan.test_rows) for seed in range(plan.seeds)}
    train = {seed: [{**row, "label": str(row["label"])} for row in split.train] for seed, split in splits.items()}
    test = [{**row, "label": str(row["label"])} for row in splits[0].test]
    names = tuple(sorted({row["label"] for row in train[0]}))
    return Data(train, test, Labels("class", names), "pair" if task == "pair" else None)


def neural(models: Mapping[str, Transformer], tokenizer: Tokenizer, plan: Plan, say: Say) -> Iterator[Cell]:
    """Every cell of the grid for the transformers, as it is finished."""
    for name, budgets in plan.tasks.items():
        data = load(name, plan)
        for kind, model in models.items():
            task = LabelTask(
                data.labels, tokenizer, model.config, length=LENGTH, pair=data.pair, hidden=False, pool="mean"
            )
            test = task.encode(data.test)
            rows: dict[int, list[Example]] = {seed: task.encode(train) for seed, train in data.train.items()}
            for labels in budgets:
                for arm in arms(name, labels, plan.pair_epochs).values():
                    if arm.strategies and labels < plan.splits.get(name, labels + 1):
                        continue
                    budget = {seed: examples[:labels] for seed, examples in rows.items()}
                    cell = run_cell(Cell(kind, name, arm.name, labels), model, task, budget, test, arm)
                    say(line(cell))
                    yield cell


def line(cell: Cell) -> str:
    """A finished cell for a terminal."""
    who = f"{cell.task:8s} {cell.model:10s} {cell.arm:26s} {cell.labels:5d} labels"
    return f"{who}  {cell.accuracy:.3f}  ({cell.seconds:.0f} s)"


def classical(plan: Plan, say: Say) -> Iterator[Cell]:
    """The same cells for the classical baselines; the SVD sees the unlabelled corpus, by chapters and by verses."""
    spaces = [LatentSemantics(seed=0, name=unit).fit(unlabelled_texts(unit)) for unit in UNITS]
    for name, budgets in plan.tasks.items():
        data = load(name, plan)
        for labels in budgets:
            plain, reduced = Cell("classical", name, TFIDF, labels), Cell("classical", name, SVD, labels)
            for seed, train in data.train.items():
                for cell, outcome in (
                    (plain, tfidf_logistic(train[:labels], data.test, seed)),
                    (reduced, tfidf_svd_logistic(spaces, train[:labels], data.test, seed)),
                ):
                    cell.correct.append(np.asarray(outcome.correct, dtype=np.float64))
                    cell.seconds += outcome.seconds
            for cell in (plain, reduced):
                say(line(cell))
                yield cell


@dataclass(frozen=True)
class Gain:
    """How much the pre-trained start is ahead of the random one, and of the better classical baseline."""

    model: str
    task: str
    labels: int
    over_scratch: Interval
    over_classical: Interval
    best_classical: str


def gains(cells: Sequence[Cell]) -> list[Gain]:
    """The paired differences: same seeds, same test rows, bootstrap over both."""
    at = {(c.model, c.task, c.arm, c.labels): c for c in cells}
    found = []
    for (model, task, arm, labels), cell in at.items():
        if arm != FULL:
            continue
        baselines = [at["classical", task, name, labels] for name in (TFIDF, SVD)]
        best = max(baselines, key=lambda c: c.accuracy)
        scratch = at[model, task, SCRATCH, labels]
        found.append(Gain(model, task, labels, difference(cell, scratch), difference(cell, best), best.arm))
    return found
