"""The pictures of a comparison of adaptations: what a mark cost in weights, in bytes over many tasks, in care."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from modeledge.errors import ModeledgeError, printable
from modeledge.report.plots import WIDTH, Result, bars, check_results, legend, marker_of, short
from modeledge.report.svg import PAPER, SERIES, drawing, render_figure

TASKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Grown:
    """What a way to adapt takes: `each` a task, beside what is spent `once` for the body that all tasks share."""

    name: str
    each: float
    once: float


def moved_plot(rows: Sequence[Result], *, score: str) -> str:
    """A mark against the number of weights that moved for it (`labels` of the rows), on a log axis."""
    check_results(rows)
    names = list(dict.fromkeys(row.strategy for row in rows))
    with drawing():
        figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        for n, name in enumerate(names):
            here = [row for row in rows if row.strategy == name]
            bars(axes, [max(row.labels, 1) for row in here], here, n, printable(name, 44), across=False)
        axes.margins(x=0.08, y=0.08)
        axes.xaxis.set_major_formatter(short)
        axes.set_xlabel("weights that moved")
        axes.set_ylabel(printable(score, 60))
        legend(axes, columns=min(len(names), 4))
        return render_figure(figure, f"{score} with 95 % intervals by the number of weights that moved")


def growth_plot(rows: Sequence[Grown], *, axis: str) -> str:
    """What is spent in all as the number of tasks grows: once for the body, and what each task adds; both axes log."""
    if not rows:
        raise ModeledgeError("E-EMPTY-SPLIT", "nothing was handed in, so there is nothing to plot")
    tasks = np.asarray(TASKS, dtype=np.float64)
    with drawing():
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for n, row in enumerate(rows):
            dashes = "-" if n < len(SERIES) else "--"
            label, colour = printable(row.name, 44), SERIES[n % len(SERIES)]
            axes.plot(tasks, row.once + tasks * row.each, color=colour, ls=dashes, label=label)
        axes.set_xlabel("tasks")
        axes.set_ylabel(printable(axis, 60))
        axes.xaxis.set_major_formatter(short)
        axes.yaxis.set_major_formatter(short)
        legend(axes, columns=min(len(rows), 4))
        return render_figure(figure, f"{axis} by the number of tasks, body included")


def sweep_plot(rows: Mapping[str, Mapping[float, Sequence[float]]], *, score: str, axis: str) -> str:
    """How a mark depends on one setting: of each way `{value: marks by seed}`, a line through the means and a dot a
    seed. A flat line within narrow dots is a method that is easy to train."""
    if not any(rows.values()):
        raise ModeledgeError("E-EMPTY-SPLIT", "no result was handed in, so there is nothing to plot")
    with drawing():
        figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        for n, (name, found) in enumerate(rows.items()):
            values, colour = sorted(found), SERIES[n % len(SERIES)]
            spread = 1.025 ** (n - (len(rows) - 1) / 2)  # side by side, so that dots hide no other
            means = [float(np.mean(found[value])) for value in values]
            axes.plot([v * spread for v in values], means, color=colour, label=printable(name, 44))
            dots = [(value * spread, mark) for value in values for mark in found[value]]
            marker = marker_of(n)
            axes.plot(*zip(*dots, strict=True), ls="none", marker=marker, color=colour, ms=6, mec=PAPER, mew=1.0)
        axes.xaxis.set_major_formatter(short)
        axes.set_xlabel(printable(axis, 60))
        axes.set_ylabel(printable(score, 60))
        legend(axes, columns=min(len(rows), 4))
        return render_figure(figure, f"{score} by {axis}, a dot a seed")
