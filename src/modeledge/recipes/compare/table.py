"""The end of a study: results.json, results.csv and report.html, and the table at the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.recipes.compare.engine import Progress, Say, compare, unseen
from modeledge.recipes.compare.results import Outcome, Results, as_csv, as_plain, collect
from modeledge.recipes.compare.study import StudyRecipe
from modeledge.report.markup import DASH, number


def finish_study(
    study: StudyRecipe,
    folder: Path,
    *,
    resume: bool = False,
    only: Sequence[str] = (),
    jobs: int = 1,
    progress: Progress = unseen,
    say: Say = print,
) -> Results:
    """Run what is left of a study and write what came of it, whatever failed.

    Raises `E-STUDY` at the end where runs failed, and what `compare` raises.
    """
    failed = compare(study, folder, resume=resume, only=only, jobs=jobs, progress=progress, say=say)
    results = write_results(study, folder)
    show(results)
    say(f"report: {folder / 'report.html'}")
    if failed:
        names = ", ".join(unit.name for unit in failed[:4]) + (", …" if len(failed) > 4 else "")
        what = f"{len(failed)} of the study's runs failed: {names}"
        raise ModeledgeError("E-STUDY", what, where=str(folder), remedy="see report.html; --resume tries them again")
    return results


def write_results(study: StudyRecipe, folder: Path) -> Results:
    """Read the runs of a study and write its three files."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from modeledge.recipes.compare.page import study_page
    from modeledge.report import write_report

    results = collect(study, folder)
    files.write_json(folder / "results.json", as_plain(results))
    files.write_text(folder / "results.csv", as_csv(results))
    write_report(folder, study_page(results, folder))
    return results


def show(results: Results) -> None:
    """The table on standard output: a row a cell, the columns grouped by task."""
    study = results.study
    table = Table(title=f"{study.title} ({study.scale})", title_justify="left")
    table.add_column("")
    bodies = bool(results.facts)  # else all cells begin with models that exist, and what moved is what differs
    for head in ("parameters", "MFLOPs/token", "tokens", "seconds") if bodies else ("moved", "% of model"):
        table.add_column(head, justify="right")
    named = study.columns()
    columns = [(task, metric) for task, (_, metrics) in named.items() for metric in metrics]
    for task, metric in columns:
        table.add_column(f"{named[task][0]}\n{metric}", justify="right")
    group = None
    for name, cell in results.rows.items():
        if group is not None and cell.group != group:
            table.add_section()
        group = cell.group
        head = " · ".join(part for part in (cell.group, study.label(name)) if part)
        spent = costs(results, name) if bodies else moved(results, name)
        table.add_row(head, *spent, *(told(results, name, *c) for c in columns))
    Console(width=max(100, 56 + 18 * len(columns)) if not Console().is_terminal else None).print(table)
    if study.against is not None:
        print(f"* another than {study.label(study.against)}: the 95 % interval of the paired difference leaves out 0")
    for name, error in results.failed.items():
        print(f"failed: {name}: {error}")
    if results.waiting:
        print(f"still to run: {len(results.waiting)} of the study's runs")


def costs(results: Results, cell: str) -> list[str]:
    """Parameters, millions of operations a token, tokens and seconds of a cell's body, for reading."""
    facts = results.facts.get(cell, {})
    by = {"parameters": 1.0, "flops_per_token": 1e6, "tokens": 1.0, "seconds": 1.0}
    return [short(facts[key] / by[key]) if key in facts else DASH for key in by]


def moved(results: Results, cell: str) -> list[str]:
    """How many weights moved in a cell's runs, and their share of the model."""
    found = next((o.spent for o in results.outcomes if o.cell == cell and "moved" in o.spent), None)
    return [DASH, DASH] if found is None else [short(found["moved"]), short(100 * found["moved"] / found["parameters"])]


def short(value: float) -> str:
    """Whole where it is large, three significant digits where it is small."""
    return number(round(value) if abs(value) >= 100 else float(f"{value:.3g}"))


def told(results: Results, cell: str, task: str, metric: str) -> str:
    """A mark with its interval, and a star where it is another than that of the row compared with."""
    outcome = results.at(cell, task, metric)
    return DASH if outcome is None else worded(outcome)


def worded(o: Outcome) -> str:
    """`62.1 [60.0, 64.4]*`: shares as points of a hundred."""
    factor = scale(o.metric)
    star = "*" if o.against is not None and o.against.excludes_zero else ""
    digits = 1 if factor == 100 or abs(o.value) >= 10 else 3
    value, low, high = (f"{factor * v:.{digits}f}" for v in (o.value, o.low, o.high))
    return f"{value} [{low}, {high}]{star}"


def shares(metric: str) -> bool:
    """Is a mark a share of 1, which is read in points of a hundred?"""
    return METRICS[metric].greater_is_better and metric not in ("bleu", "chrf", "chrf++")


def scale(metric: str) -> int:
    """What a mark is multiplied by where it is read."""
    return 100 if shares(metric) else 1
