"""Several runs side by side: one picture, one table of scores, and the recipe fields in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from modeledge.config.changed import exact, flat
from modeledge.errors import ModeledgeError
from modeledge.report.blocks import Block, Cell, Code, Figure, Page, Paragraph, Section, Table, aligned
from modeledge.report.markup import DASH
from modeledge.report.page import write_report
from modeledge.report.plots import loss_curves
from modeledge.report.read import Run, read_run
from modeledge.report.summary import TAIL, Mark, again, kind, marks


def compare_report(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Write one `report.html` over several runs into `output`, else into the folder that holds them all."""
    paths = [Path(folder) for folder in folders]
    resolved = [path.resolve() for path in paths]
    if len(paths) < 2:
        raise ModeledgeError("E-USAGE", f"{len(paths)} run is no comparison", remedy="name at least two run folders")
    if len(set(resolved)) < len(resolved):
        twice = next(p for p, r in zip(paths, resolved, strict=True) if resolved.count(r) > 1)
        raise ModeledgeError("E-DUP-INPUT", "the run is named twice", where=str(twice))
    runs = [read_run(path) for path in paths]
    parents = {path.parent for path in resolved}
    if output is None and len(parents) > 1:
        raise ModeledgeError("E-USAGE", "the runs lie in different folders", remedy="name an output folder")
    return write_report(output or parents.pop(), compare_page(runs))


def compare_page(runs: Sequence[Run]) -> Page:
    """The page of several runs: one picture, one table, and where their recipes differ."""
    names = unique_names(runs)
    sections = [
        Section("Training", compare_training(runs, names)),
        Section("Scores", compare_scores(runs, names)),
        Section("Recipes", compare_recipes(runs, names)),
        Section("Reproduce", [Code(again(r, str(r.path / "run.toml")), n) for r, n in zip(runs, names, strict=True)]),
    ]
    return Page(f"{len(runs)} runs compared", ", ".join(names), [s for s in sections if s.blocks])


def compare_training(runs: Sequence[Run], names: Sequence[str]) -> list[Block]:
    """All loss curves in one picture, and how each run ended."""
    blocks: list[Block] = []
    if any(run.series("loss")[0] for run in runs):
        blocks.append(Figure(loss_curves(runs, names), "Training loss by step."))
    rows: list[list[Cell]] = []
    for run, name in zip(runs, names, strict=True):
        steps, losses = run.series("loss")
        speed = run.series("tokens_per_second")[1]
        final = f"{fmean(losses[-TAIL:]):.3f}" if losses else None
        rows.append([name, kind(run), steps[-1] if steps else None, final, round(median(speed)) if speed else None])
    columns = ("Run", "Kind", "Steps", "Final loss", "Tokens per second")
    caption = f"Final loss: mean of the last {TAIL} steps. Losses of different objectives do not compare."
    return [*blocks, Table(columns, rows, ("left", "left", "right", "right", "right"), caption)]


def compare_scores(runs: Sequence[Run], names: Sequence[str]) -> list[Block]:
    """A row a run, a column a metric; the best value is marked where its direction is recorded."""
    found = [{mark.name: mark for mark in marks(run)} for run in runs]
    metrics = list(dict.fromkeys(name for row in found for name in row))
    if not metrics:
        return []
    best = set()
    for column, metric in enumerate(metrics, 1):
        here = [(row[metric].value, r) for r, row in enumerate(found) if metric in row]
        ways = {row[metric].greater_is_better for row in found if metric in row}
        if len(here) > 1 and len(ways) == 1 and None not in ways:
            top = (max if True in ways else min)(value for value, _ in here)
            ahead = {(r, column) for value, r in here if value == top}
            best |= ahead if len(ahead) < len(here) else set()
    rows = [[name, *(scored(row.get(metric)) for metric in metrics)] for name, row in zip(names, found, strict=True)]
    return [
        Table(
            ("Run", *metrics), rows, aligned(1 + len(metrics)), "Final scores with 95 % intervals where recorded.", best
        )
    ]


def compare_recipes(runs: Sequence[Run], names: Sequence[str]) -> list[Block]:
    """Only the recipe fields that are not the same in every run."""
    recipes = [{k: exact(v) for k, v in flat(run.recipe).items()} for run in runs]
    keys = [key for key in dict.fromkeys(k for r in recipes for k in r) if len({r.get(key) for r in recipes}) > 1]
    if not keys:
        return [Paragraph("The recipes are the same, field by field.")]
    rows = [[key, *(recipe.get(key) for recipe in recipes)] for key in sorted(keys)]
    return [Table(("Field", *names), rows, (), "Recipe fields that differ.")]


def scored(mark: Mark | None) -> str | None:
    """A score with its interval in one cell."""
    if mark is None:
        return None
    value, interval = mark.words()
    return value if interval == DASH else f"{value} [{interval}]"


def unique_names(runs: Sequence[Run]) -> list[str]:
    """Each run's folder name, with its parents where two are alike."""
    paths = [run.path.resolve() for run in runs]
    for depth in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
