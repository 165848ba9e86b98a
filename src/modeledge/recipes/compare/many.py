"""Pre-train once, adapt many times: what N tasks take in bytes and in time, out of what the runs of a study recorded.

A way to adapt that moves little keeps one body and a piece a task; one that moves everything keeps a copy a task. The
time of the one pre-training stands beside that of N fine-tunings, means of those that were run.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from modeledge.recipes.compare.results import Results
from modeledge.recipes.compare.table import short
from modeledge.report import Figure, Table
from modeledge.report.adaptation import Grown, growth_plot
from modeledge.report.blocks import Block, Cell, aligned
from modeledge.report.markup import DASH

COUNTS = (1, 10, 100, 1000)
WHOLE = 0.9  # of the weights moved: then no body is shared
CAPTION = (
    "MB kept for N tasks: one body in fp32 and what each task adds, a copy each where all weights move. Hours: the "
    "pre-training, once, and N fine-tunings; of a body that was not trained here the fine-tunings alone. In brackets "
    "the share that the pre-training is."
)


def many_tasks(results: Results, costs: Mapping[str, Mapping[str, float]]) -> list[Block]:
    """A table and two pictures; nothing where no run told its costs."""
    ways = {name: grown(results, name, found) for name, found in costs.items() if is_way(results, name)}
    if not ways:
        return []
    heads = ["", *(f"MB, {n:,}" for n in COUNTS), *(f"Hours, {n:,}" for n in COUNTS)]
    rows: list[list[Cell]] = []
    for name, (kept, took) in ways.items():
        megabytes = [short(kept.once + n * kept.each) for n in COUNTS]
        rows.append([results.study.label(name), *megabytes, *(hours(took, n) for n in COUNTS)])
    table = Table(heads, rows, aligned(len(heads)), CAPTION)
    pictures = [Figure(growth_plot([kept for kept, _ in ways.values()], axis="megabytes kept"), "Kept for N tasks.")]
    timed = [took for _, took in ways.values() if took.each > 0]
    if timed:
        pictures.append(Figure(growth_plot(timed, axis="hours in all"), "Pre-training once, and N fine-tunings."))
    return [table, *pictures]


def is_way(results: Results, cell: str) -> bool:
    """Is it a way of its own: no repetition of a sweep, and no run of several tasks at once?"""
    asked = results.study.cells[cell]
    return asked.swept is None and asked.together is None


def grown(results: Results, cell: str, costs: Mapping[str, float]) -> tuple[Grown, Grown]:
    """Megabytes and hours of a cell: once, and a task."""
    whole = costs["moved"] > WHOLE * costs["parameters"]
    label, once = results.study.label(cell), 0.0 if whole else 4.0 * costs["parameters"]
    runs = [o.seconds for o in results.outcomes if o.cell == cell and o.spent and o.metric == first(results, o.task)]
    before = float(results.facts.get(cell, {}).get("seconds", 0.0))
    return Grown(label, costs["kept_bytes"] / 1e6, once / 1e6), Grown(label, fmean(runs) / 3600, before / 3600)


def first(results: Results, task: str) -> str:
    """The metric that decides."""
    return results.study.tasks[task].metrics[0] if task in results.study.tasks else ""


def hours(took: Grown, count: int) -> str:
    """`0.21 (80 %)`."""
    whole = took.once + count * took.each
    if whole == 0:
        return DASH
    return f"{short(whole)} ({100 * took.once / whole:.0f} %)" if took.once else short(whole)
