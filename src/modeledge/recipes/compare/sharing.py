"""The part of a study's report that asks what it costs a task to share its body with others.

Each task has a model of its own in the row that the study compares with, and one head of several on one body in a cell
that learns `together` (Caruana 1997; Stickland and Murray 2019, arXiv 1902.02671). The difference is paired: the same
training rows, the same test rows, the same seeds.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from modeledge import files
from modeledge.recipes.compare.facts import seconds
from modeledge.recipes.compare.grid import Unit
from modeledge.recipes.compare.results import Outcome, Results
from modeledge.recipes.compare.study import TOGETHER
from modeledge.recipes.compare.table import scale, short, told
from modeledge.recipes.tuning.cost import COST
from modeledge.report import Section, Table
from modeledge.report.blocks import Block, Cell, aligned
from modeledge.report.markup import DASH


def sharing_section(results: Results, folder: Path) -> Section:
    """A row a task, and what all models together take; nothing where no cell learns together."""
    study, alone = results.study, results.study.against
    shared = [name for name, cell in study.cells.items() if cell.together is not None]
    if alone is None or alone in shared or not shared:
        return Section("What sharing costs each task", [])
    heads = ["Task", f"{study.label(alone)}", *(h for name in shared for h in (study.label(name), "Difference"))]
    rows: list[list[Cell]] = []
    for task in study.learned(alone):
        metric = study.tasks[task].metrics[0]
        row: list[Cell] = [f"{study.tasks[task].label or task} ({metric})", told(results, alone, task, metric)]
        for name in shared:
            row += [told(results, name, task, metric), apart(results.at(name, task, metric))]
        rows.append(row)
    for title, key, by in (("MB kept for all", "kept_bytes", 1e6), ("Seconds of training", "seconds", 1.0)):
        spent = [total(results, folder, name, key) for name in (alone, *shared)]
        words = [DASH if value is None else short(value / by) for value in spent]
        rows.append([title, words[0], *(w for word in words[1:] for w in (word, ""))])
    caption = (
        "A model each against a head each on one body: paired differences with 95 % intervals over seeds and test "
        "rows, * where 0 is left out. Kept: the weights that moved, in fp32. Means over seeds."
    )
    blocks: list[Block] = [Table(heads, rows, aligned(len(heads)), caption)]
    return Section("What sharing costs each task", blocks)


def apart(o: Outcome | None) -> str:
    """`-1.2 [-2.0, -0.4]*`."""
    if o is None or o.against is None:
        return DASH
    by = scale(o.metric)
    mean, low, high = (f"{by * v:+.{1 if by == 100 else 3}f}" for v in (o.against.mean, o.against.low, o.against.high))
    return f"{mean} [{low}, {high}]{'*' if o.against.excludes_zero else ''}"


def total(results: Results, folder: Path, cell: str, key: str) -> float | None:
    """What all runs of a cell on its tasks take in one seed, the mean over seeds that are finished."""
    study, found = results.study, list[float]()
    for seed in study.seeds:
        tasks = (TOGETHER,) if study.cells[cell].together is not None else study.learned(cell)
        places = [Unit(cell, seed, task).folder(folder) for task in tasks]
        if all((place / COST).exists() for place in places):
            found.append(sum(seconds(p) if key == "seconds" else files.read_json(p / COST)[key] for p in places))
    return fmean(found) if found else None
