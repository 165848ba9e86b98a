"""The verbs of studies: `modeledge compare`, and which cells there can be: `modeledge objectives`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modeledge.cli.terminal import progress, say


def compare(
    study: Annotated[Path, typer.Argument(help="A study (TOML), or the run.toml of one.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, over the study")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")] = Path("runs/study"),
    scale: Annotated[str, typer.Option(help="A scale of the study: smoke, default, full, …")] = "default",
    data: Annotated[str | None, typer.Option(help="The folder that {data} stands for.", show_default=False)] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these runs and what they need: CELL, CELL/seed-0, */seed-0/TASK")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; give each one thread (train.threads).")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in the folder.")] = False,
) -> None:
    """Run a grid of pre-trainings and fine-tunings, and write one table of what came of it."""
    from modeledge.recipes.compare import load_study
    from modeledge.recipes.compare.table import finish_study

    values: dict[str, Any] = {} if data is None else {"data": data}
    asked = load_study(study, scale, overrides or (), values)
    finish_study(asked, out, resume=resume, only=only or (), jobs=jobs, progress=progress, say=say)


def objectives() -> None:
    """Print which kind of pre-training fits which architecture: `[objective] kind` by the body of a recipe."""
    from modeledge.recipes.objectives.fits import table

    rows = table()
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


VERBS = (compare, objectives)
