"""The pictures of a report: what was learned over time, and what it bought.

Each function returns an inline `<svg>`. A series is told apart by colour *and* marker, the colours keep apart for
colour-blind eyes, and every comparison carries its interval: a dot without a bar is an opinion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from modeledge.errors import ModeledgeError, printable
from modeledge.records import FloatArray
from modeledge.report.read import Run
from modeledge.report.svg import GRID, INK, MUTED, PAPER, SERIES, drawing, render_figure

A_LETTER, A_ROW = 0.075, 0.2  # inches of a key
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
BUCKETS = 240  # points a line is thinned to: about four pixels each on a full page
WIDTH = 9.6  # inches of 72 points; the page scales it to its column


@dataclass(frozen=True)
class Result:
    """One dot of a comparison: a strategy at a label budget, its score and 95 % interval."""

    strategy: str
    labels: int
    value: float
    low: float
    high: float


def loss_curves(runs: Sequence[Run], names: Sequence[str] = ()) -> str:
    """Training loss by step: a line of bucket means within a band of the least and greatest loss of each bucket.

    Runs without a recorded loss are left out; `names` replaces the folders' names in the key. Where an evaluation
    recorded a loss, hollow dots show it.
    """
    named = zip(runs, names or [run.name for run in runs], strict=True)
    drawn = [(run, name, run.series("loss")) for run, name in named if run.series("loss")[0]]
    if not drawn:
        raise ModeledgeError("E-RUN-FOLDER", "no step with a loss was recorded, so there is no curve to draw")
    with drawing():
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        for n, (run, name, (steps, values)) in enumerate(drawn):
            line(axes, steps, values, n, label=printable(name, 40))
            ends = run.held_loss()
            if ends[0]:
                axes.plot(*ends, ls="none", marker="o", ms=5, mfc=PAPER, mec=SERIES[n % len(SERIES)], mew=1.5)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        step_axis(axes)
        if len(drawn) > 1:
            legend(axes, columns=min(len(drawn), 4))
        return render_figure(figure, f"Training loss by step of {', '.join(name for _, name, _ in drawn)}")


def progress_panels(run: Run) -> str | None:
    """Small pictures of learning rate, gradient norm, speed and each evaluated metric; None where there are none.

    An evaluated loss is left to `loss_curves`, where it stands beside the training loss.
    """
    names = {"lr": "learning rate", "grad_norm": "gradient norm", "tokens_per_second": "tokens per second"}
    panels = {title: run.series(key) for key, title in names.items()}
    panels |= {
        f"evaluation: {name}": series
        for name, series in sorted(run.eval_series().items())
        if not name.endswith(("loss", "loss.lm"))
    }
    panels = {title: series for title, series in panels.items() if series[0]}
    if not panels:
        return None
    rows = math.ceil(len(panels) / 3)
    with drawing():
        figure = Figure(figsize=(WIDTH, 2.15 * rows), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        grid = figure.subplots(rows, 3, squeeze=False).ravel()
        for axes, (title, (steps, values)) in zip(grid, panels.items(), strict=False):
            if title.startswith("evaluation"):
                axes.plot(steps, values, color=SERIES[1], marker="o", ms=4)
            else:
                line(axes, steps, values, 0)
            axes.set_title(printable(title, 40), fontsize=9)
            step_axis(axes, bins=4)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(FuncFormatter(short))
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        return render_figure(figure, f"Progress of {run.name}: {', '.join(panels)}")


def comparison_plot(rows: Sequence[Result], *, score: str = "score", chance: float | None = None) -> str:
    """Dots with 95 % interval bars, strategies below each other in the order given, one dot a label budget.

    `chance` draws the score of guessing as a dashed line.
    """
    check_results(rows)
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    budgets = sorted({row.labels for row in rows})
    with drawing():
        figure = Figure(
            figsize=(WIDTH, 0.9 + len(strategies) * max(0.42, 0.2 * len(budgets) + 0.16)), layout="constrained"
        )
        axes = figure.subplots()
        for n, budget in enumerate(budgets):
            here = [row for row in rows if row.labels == budget]
            shift = (n - (len(budgets) - 1) / 2) * 0.62 / max(len(budgets), 2)
            places = [strategies.index(row.strategy) + shift for row in here]
            bars(axes, places, here, n, f"{budget:,} labels", across=True)
        for place in range(1, len(strategies)):
            axes.axhline(place - 0.5, color=GRID, lw=0.8)
        axes.set_yticks(range(len(strategies)), [printable(name, 44) for name in strategies])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(strategies) - 0.45, -0.55)
        chance_line(axes, chance, across=True)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(printable(score, 60))
        legend(axes, columns=min(len(budgets) + (chance is not None), 5))
        return render_figure(figure, f"{score} with 95 % intervals by strategy and label budget")


def budget_plot(rows: Sequence[Result], *, score: str = "score", chance: float | None = None) -> str:
    """Score against the number of labels, a line a strategy, with 95 % interval bars; labels on a log axis."""
    check_results(rows)
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    budgets = sorted({row.labels for row in rows})
    with drawing():
        figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        apart = max(budgets[-1] / max(budgets[0], 0.5), 2.0) ** 0.011  # side by side, so that bars hide no other
        for n, strategy in enumerate(strategies):
            here = sorted((row for row in rows if row.strategy == strategy), key=lambda row: row.labels)
            spread = apart ** (n - (len(strategies) - 1) / 2)
            places = [max(row.labels, 0.5) * spread for row in here]
            axes.plot(places, [row.value for row in here], color=SERIES[n % len(SERIES)], lw=1.4, alpha=0.75)
            bars(axes, places, here, n, printable(strategy, 44), across=False)
        axes.set_xticks([max(b, 0.5) for b in budgets], [f"{budget:,}" for budget in budgets])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.08, y=0.08)
        chance_line(axes, chance, across=False)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("labelled examples")
        axes.set_ylabel(printable(score, 60))
        legend(axes, columns=min(len(strategies), 3))
        return render_figure(figure, f"{score} with 95 % intervals by number of labelled examples")


def line(axes: Axes, steps: Sequence[int], values: Sequence[float], n: int, label: str = "") -> None:
    """One thinned series: the mean of each bucket, and a faint band from its least to its greatest value."""
    x, mean, low, high = thinned(steps, values)
    colour = SERIES[n % len(SERIES)]
    if len(steps) > BUCKETS:
        axes.fill_between(x, low, high, color=colour, alpha=0.16, lw=0)
    dashes = "-" if n < len(SERIES) else "--"
    axes.plot(x, mean, color=colour, label=label, ls=dashes, marker="o" if len(x) == 1 else "")


def thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """At most `BUCKETS` points: mean step, and mean, least and greatest value of each run of neighbours."""
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    starts = np.unique(np.linspace(0, len(x), min(BUCKETS, len(x)), endpoint=False).astype(np.int64))
    counts = np.diff(np.append(starts, len(x)))
    mean_x, mean_y = np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts
    return mean_x, mean_y, np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)


def bars(axes: Axes, places: Sequence[float], rows: Sequence[Result], n: int, label: str, *, across: bool) -> None:
    """Dots with their interval bars, lying (`across`) or standing."""
    colour, draw = SERIES[n % len(SERIES)], axes.hlines if across else axes.vlines
    draw(places, [row.low for row in rows], [row.high for row in rows], color=colour, lw=2, zorder=2)
    values = [row.value for row in rows]
    x, y = (values, places) if across else (places, values)
    marker = marker_of(n)
    axes.plot(x, y, ls="none", marker=marker, color=colour, ms=7, mec=PAPER, mew=1.1, label=label, zorder=3)


def chance_line(axes: Axes, chance: float | None, *, across: bool) -> None:
    """The score of guessing, drawn last so that it closes the key, and always within the picture."""
    if chance is None:
        return
    draw = axes.axvline if across else axes.axhline
    draw(chance, color=MUTED, lw=1.1, ls=(0, (4, 3)), zorder=1, label="chance")
    axes.update_datalim([(chance, chance)], updatex=across, updatey=not across)
    axes.autoscale_view(scalex=across, scaley=not across)


def marker_of(n: int) -> str:
    """The sign of the n-th series: where the colours begin again, it is another one."""
    return MARKERS[(n + n // len(MARKERS)) % len(MARKERS)]


def legend(axes: Axes, columns: int) -> None:
    """The key above the plot, flush left, in fewer columns where its words are long; the figure grows with its rows."""
    words = axes.get_legend_handles_labels()[1]
    columns = max(1, min(columns, int(WIDTH / (0.5 + A_LETTER * max(map(len, words), default=1)))))
    figure, rows = axes.figure, -(-len(words) // columns)
    if isinstance(figure, Figure):
        figure.set_figheight(figure.get_figheight() + A_ROW * max(0, rows - 2))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handletextpad=0.5,
        columnspacing=1.6,
    )


def step_axis(axes: Axes, bins: int = 7) -> None:
    """Whole steps, written short, and no vertical grid."""
    axes.xaxis.set_major_locator(MaxNLocator(bins, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.grid(visible=False, axis="x")
    axes.margins(x=0.01)


def short(value: float, _: object = None) -> str:
    """A tick in few characters: 12k, 0.003, 6e−4."""
    if value == 0:
        return "0"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scale = {"G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{value / scale:.4g}{unit}".replace("-", "−")
    text = f"{value:,.4g}" if abs(value) >= 1e-3 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    return text.replace("-", "−")


def check_results(rows: Sequence[Result]) -> None:
    """Something to draw, and all of it finite. A value may lie outside its percentile interval: no order is asked."""
    if not rows:
        raise ModeledgeError("E-EMPTY-SPLIT", "no result was handed in, so there is nothing to plot")
    for row in rows:
        numbers: Mapping[str, float] = {"value": row.value, "low": row.low, "high": row.high}
        for name, value in numbers.items():
            if not math.isfinite(value):
                where = f"{printable(row.strategy, 60)} at {row.labels} labels"
                raise ModeledgeError("E-NOT-FINITE", f"{name} is {value}", where=where)
