"""What came of a study: its run folders read again, never its memory, so that a stopped study has a table too."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from modeledge import files
from modeledge.errors import ModeledgeError, nearest
from modeledge.metrics import METRICS, Drawn, Interval, drawn, drawn_difference
from modeledge.recipes.compare.distance import Distance, distances
from modeledge.recipes.compare.engine import error_file
from modeledge.recipes.compare.facts import FACTS, records, seconds
from modeledge.recipes.compare.grid import Unit, before, body_of, done, trained_by, units
from modeledge.recipes.compare.marks import MARKS
from modeledge.recipes.compare.study import CellRecipe, StudyRecipe
from modeledge.recipes.tuning.answered import ANSWERS
from modeledge.recipes.tuning.cost import COST


@dataclass(frozen=True)
class Outcome:
    """One number of the table: a cell's mark on a task, the mean over seeds with its 95 % interval over seeds and test
    rows, and how far it is above the cell that the study compares with, over the seeds that both have. `spent` are
    means over seeds of what `recipes.cost` counts, examples a second, and the mark on training rows ("train")."""

    cell: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    by_seed: Mapping[int, float]
    items: int
    seconds: float
    against: Interval | None = None
    spent: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """A study's outcomes, what each body cost (means over seeds), what failed with its error, what is still to run; of
    cells with texts of their own how far these are from the texts of each task."""

    study: StudyRecipe
    outcomes: Sequence[Outcome]
    facts: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str] = field(default_factory=dict)
    waiting: Sequence[str] = ()
    distances: Mapping[tuple[str, str], Distance] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[str, CellRecipe]:
        """The cells that are rows of the tables: repetitions along a sweep have a table and a picture of their own."""
        return {name: cell for name, cell in self.study.cells.items() if cell.swept is None}

    def at(self, cell: str, task: str, metric: str) -> Outcome | None:
        """One number of the table."""
        return next((o for o in self.outcomes if (o.cell, o.task, o.metric) == (cell, task, metric)), None)


def collect(study: StudyRecipe, folder: Path) -> Results:
    """Read every finished run of a study."""
    everything = units(study)
    outcomes: list[Outcome] = []
    for task, (_, metrics) in study.columns().items():
        for metric in metrics:
            cells = [name for name in study.cells if task in study.tasks_of(name) or marks_body(study, name, task)]
            outcomes += marked(study, folder, task, metric, cells)
    failed = {u.name: files.read_json(error_file(u, folder)) for u in everything if error_file(u, folder).exists()}
    waiting = [u.name for u in everything if not done(u, folder) and u.name not in failed]
    facts = {cell: found for cell in study.cells if (found := facts_of(study, folder, cell))}
    told = {name: row["error"] for name, row in failed.items()}
    return Results(study, outcomes, facts, told, waiting, distances(study, folder))


def marks_body(study: StudyRecipe, cell: str, name: str) -> bool:
    """Is this a column of bodies, and has the cell one of its own?"""
    return name in study.marks and study.cells[cell].of is None and study.cells[cell].model is None


def marked(study: StudyRecipe, folder: Path, task: str, metric: str, cells: Sequence[str]) -> list[Outcome]:
    """One column: every cell that has a seed, compared with the study's own row where both have a seed."""
    runs = {cell: sides_of(study, folder, cell, task, metric) for cell in cells}
    mark = METRICS[metric]
    whole = {cell: drawn(mark, list(found.values()), seed=0) for cell, found in runs.items() if found}
    base, out = study.against, list[Outcome]()
    for cell, system in whole.items():
        low, high = system.interval
        differs = None
        shared = [seed for seed in runs[cell] if base is not None and base != cell and seed in runs.get(base, {})]
        if base is not None and shared and system.items == whole[base].items:
            pair = [_of(mark, runs[name], shared, whole[name]) for name in (cell, base)]
            differs = drawn_difference(*pair)
        places = [Unit(cell, seed, None if task in study.marks else task).folder(folder) for seed in runs[cell]]
        spent = fmean(seconds(place) for place in places)
        by_seed = dict(zip(runs[cell], (float(v) for v in system.by_seed), strict=True))
        costs = {} if task in study.marks else spent_on(places, metric)
        out.append(Outcome(cell, task, metric, system.value, low, high, by_seed, system.items, spent, differs, costs))
    return out


def difference(study: StudyRecipe, folder: Path, task: str, metric: str, cells: tuple[str, str]) -> Interval | None:
    """How far the first of two cells is above the second, over the seeds that both have; `None` where that is none."""
    runs = [sides_of(study, folder, cell, task, metric) for cell in cells]
    shared = [seed for seed in study.seeds if all(seed in found for found in runs)]
    if not shared:
        return None
    one, other = (drawn(METRICS[metric], [found[seed] for seed in shared], seed=0) for found in runs)
    return drawn_difference(one, other)


def spent_on(folders: Sequence[Path], metric: str) -> dict[str, float]:
    """What the runs of a cell on a task cost, means over those that say it."""
    found = dict[str, list[float]]()
    for folder in folders:
        told = files.read_json(folder / COST) if (folder / COST).exists() else {}
        took, scores = seconds(folder), files.read_json(folder / "results.json").get("train_scores", {})
        rows = {**told, **({"train": scores[metric]["value"]} if metric in scores else {})}
        learned = sum(row["examples"] for row in records(folder / "metrics.jsonl"))
        if took and learned:
            rows["examples_per_second"] = learned / took
        for key, value in rows.items():
            found.setdefault(key, []).append(float(value))
    return {key: fmean(values) for key, values in found.items()}


def _of(metric: Any, runs: Mapping[int, tuple[Any, Any]], seeds: Sequence[int], whole: Drawn) -> Drawn:
    """The draws over some seeds; those that are there already where it is all of them."""
    return whole if list(runs) == list(seeds) else drawn(metric, [runs[seed] for seed in seeds], seed=0)


def sides_of(study: StudyRecipe, folder: Path, cell: str, task: str, metric: str) -> dict[int, tuple[Any, Any]]:
    """Predictions and labels of each finished seed. Raises `E-CONFIG-VALUE` for a metric that the task has not."""
    found = dict[int, tuple[Any, Any]]()
    for seed in study.seeds:
        if task in study.marks:
            path = Unit(cell, seed).folder(folder) / MARKS
            told = files.read_json(path).get(task) if path.exists() else None
            found |= {} if told is None else {seed: (told["predictions"], told["labels"])}
            continue
        unit = Unit(cell, seed, task)
        if not done(unit, folder):
            continue
        told = files.read_json(unit.folder(folder) / ANSWERS)
        side = next((row for row in told if metric in row["metrics"]), None)
        if side is None:
            known = [name for row in told for name in row["metrics"]]
            what = f"task {task!r} is not marked by {metric!r}"
            where = f"tasks.{task}.metrics"
            remedy = f"{nearest(metric, known)}; correct it and go on (--resume), which loses no run"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy=remedy)
        found[seed] = (side["predictions"], side["labels"])
    return found


def facts_of(study: StudyRecipe, folder: Path, cell: str) -> dict[str, Any]:
    """What the body of a cell cost, the mean over its finished seeds; empty where none is finished."""
    found = [costs for seed in study.seeds if (costs := costs_of(study, folder, cell, seed))]
    keys = ("parameters", "objective_parameters", "flops_per_token", "tokens", "loss", "seconds")
    known = [key for key in keys if found and all(row.get(key) is not None for row in found)]
    return {key: fmean(row[key] for row in found) for key in known}


def costs_of(study: StudyRecipe, folder: Path, cell: str, seed: int) -> dict[str, Any]:
    """What one body cost: the parameters of its first run, tokens and seconds of all that are in its weights, the mean
    of their operations a token, the loss of its last; empty where one of them is not finished."""
    body, trained = body_of(study, cell, seed), trained_by(study, cell, seed)
    chain = [body, *before(study, body)] if body is not None else []
    paths = {unit: unit.folder(folder) / FACTS for unit in chain}
    if not paths or not all(path.exists() for path in paths.values()):
        return {}
    rows = {unit: files.read_json(path) for unit, path in paths.items()}
    costs: dict[str, Any] = {"parameters": rows[chain[-1]]["parameters"], "tokens": 0, "seconds": 0.0}
    if trained:
        costs |= {key: rows[chain[0]][key] for key in ("objective_parameters", "loss")}
        costs |= {key: sum(rows[unit][key] for unit in trained) for key in ("tokens", "seconds")}
        operations = sum(rows[unit]["flops_per_token"] * rows[unit]["tokens"] for unit in trained)
        costs["flops_per_token"] = operations / costs["tokens"]
    return costs


def as_plain(results: Results) -> dict[str, Any]:
    """What `results.json` keeps."""
    study = results.study
    rows = []
    for o in results.outcomes:
        row = {**vars(o), "by_seed": {str(seed): value for seed, value in o.by_seed.items()}, "spent": dict(o.spent)}
        rows.append({**row, "against": None if o.against is None else vars(o.against)})
    return {
        "title": study.title,
        "scale": study.scale,
        "seeds": list(study.seeds),
        "against": study.against,
        "cells": {name: {"label": study.label(name), "group": c.group} for name, c in study.cells.items()},
        "outcomes": rows,
        "facts": {name: dict(facts) for name, facts in results.facts.items()},
        "distances": [{"cell": cell, "task": task, **vars(d)} for (cell, task), d in results.distances.items()],
        "failed": dict(results.failed),
        "waiting": list(results.waiting),
    }


COLUMNS = (
    "cell", "label", "group", "parameters", "flops_per_token", "pretraining_tokens", "pretraining_seconds",
    "task", "metric", "value", "low", "high", "seeds", "items", "finetuning_seconds",
    "against", "difference", "difference_low", "difference_high", "p",
    "moved", "kept_bytes", "peak_bytes", "examples_per_second", "train_value",
)  # fmt: skip


def as_csv(results: Results) -> str:
    """A line an outcome; cells without one stand with their costs alone."""
    study, text = results.study, io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, cell in study.cells.items():
        facts = results.facts.get(name, {})
        costs = {"parameters": "parameters", "flops_per_token": "flops_per_token"}
        costs |= {"tokens": "pretraining_tokens", "seconds": "pretraining_seconds"}
        first: dict[str, Any] = {"cell": name, "label": study.label(name), "group": cell.group}
        first |= {column: facts.get(key) for key, column in costs.items()}
        mine = [_columns(o, study) for o in results.outcomes if o.cell == name]
        writer.writerows({**first, **columns} for columns in mine or [{}])
    return text.getvalue()


def _columns(o: Outcome, study: StudyRecipe) -> dict[str, Any]:
    row = {"task": o.task, "metric": o.metric, "value": o.value, "low": o.low, "high": o.high}
    row |= {"seeds": len(o.by_seed), "items": o.items, "finetuning_seconds": o.seconds}
    row |= {key: o.spent.get(key) for key in ("moved", "kept_bytes", "peak_bytes", "examples_per_second")}
    row |= {"train_value": o.spent.get("train")}
    if o.against is None:
        return row
    found = o.against
    paired = {"difference": found.mean, "difference_low": found.low, "difference_high": found.high, "p": found.p}
    return {**row, "against": study.against, **paired}
