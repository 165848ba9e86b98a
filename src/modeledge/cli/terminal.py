"""What a person at the terminal sees: lines, a progress bar, scores. Standard output stays free for results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

    from modeledge.train.record import StepRecord


def say(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[StepRecord], None]]:
    """A progress bar with loss, tokens a second and the time left; plain lines where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(title, total=None, loss=float("nan"), speed=0.0)
        smooth = [0.0, 0.0]

        def listen(record: StepRecord) -> None:
            smooth[:] = [0.95 * smooth[0] + record.tokens, 0.95 * smooth[1] + record.seconds]
            speed = smooth[0] / smooth[1]
            bars.update(bar, completed=record.step, total=record.of, loss=record.loss, speed=speed)
            if record.scores:
                say(f"{title}: step {record.step}  " + "  ".join(f"{k} {v:.4g}" for k, v in record.scores.items()))
            if not console.is_terminal and (record.step % max(1, record.of // 10) == 0 or record.step == record.of):
                say(f"{title}: step {record.step}/{record.of}  loss {record.loss:.3f}  {speed:,.0f} tokens/s")

        yield listen


def show_scores(results: dict[str, Any]) -> None:
    """Each score with its 95 % interval, on standard output."""
    for name, s in results["scores"].items():
        print(f"{name:20s} {s['value']:.4f}  [{s['low']:.4f}, {s['high']:.4f}]  n = {s['n']}")


def strategy_of(word: str) -> dict[str, Any]:
    """`freeze:first=2,embeddings=true` → a strategy recipe."""
    from modeledge.config import load_values

    kind, _, fields = word.partition(":")
    return {"kind": kind, "options": load_values(fields.split(",")) if fields else {}}


def write_report(folder: Path) -> Path:
    """Write `report.html` of a run, or of a study."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from modeledge.recipes.folder import RECIPE, kind_of
    from modeledge.report import run_report

    if not (folder / RECIPE).exists() or kind_of(folder) != "study":
        return run_report(folder)
    from modeledge.config import load_config
    from modeledge.recipes.compare import StudyRecipe
    from modeledge.recipes.compare.table import write_results

    write_results(load_config(StudyRecipe, folder / RECIPE), folder)
    return folder / "report.html"


def given(context: typer.Context) -> set[str]:
    """The names of the arguments and options that were written on the command line."""
    return {name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}


def said(column: list[str] | None, **words: Any) -> dict[str, Any]:
    """Keys of a recipe out of the words of a verb: those that were left out (`None`) are not among them."""
    keys = {name: value for name, value in words.items() if value is not None}
    return {**keys, "columns": columns_of(column)} if column else keys


def columns_of(words: list[str]) -> dict[str, str]:
    """`tokens=words` → {"tokens": "words"}; `E-USAGE` for a word without a sign."""
    from modeledge.errors import ModeledgeError

    pairs = [word.partition("=") for word in words]
    wrong = [word for word, sign, column in pairs if not sign or not column]
    if wrong:
        raise ModeledgeError("E-USAGE", f"{wrong[0]!r} names no column", where="--column", remedy="write role=column")
    return {role: column for role, _, column in pairs}
