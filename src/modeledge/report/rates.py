"""The page of a learning-rate range test: loss against rate, and the rate that is suggested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure as Drawing

from modeledge.report.blocks import Figure, Headline, Page, Paragraph, Section
from modeledge.report.plots import WIDTH, legend
from modeledge.report.svg import MUTED, SERIES, drawing, render_figure

ABOVE = 1.5  # how far above the first loss the picture goes: what diverges is known to be high


def range_page(test: Mapping[str, Any], name: str) -> Page:
    """A page of `RangeTest.as_plain()`; `name` is that of the recipe."""
    ended = "Training diverged, so the last rates were not tried." if test["diverged"] else "Training did not diverge."
    text = (
        f"The rate rose exponentially over {len(test['rates'])} steps. {ended} The suggestion is a tenth of the rate "
        "at which the smoothed loss was lowest; nothing of these steps is kept."
    )
    heads = [
        Headline("Suggested rate", f"{test['suggested']:.2g}", "train.learning_rate"),
        Headline("Lowest loss at", f"{test['lowest']:.2g}"),
        Headline("Steepest fall at", f"{test['steepest']:.2g}"),
    ]
    section = Section("Learning-rate range test", [Figure(range_plot(test), "Loss by learning rate."), Paragraph(text)])
    return Page(name, "Learning-rate range test", [section], heads)


def range_plot(test: Mapping[str, Any]) -> str:
    """The loss of each step, faint, and smoothed; dashed where the suggestion stands."""
    with drawing():
        figure = Drawing(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.plot(test["rates"], test["losses"], color=SERIES[0], alpha=0.3, lw=1, label="each step")
        axes.plot(test["rates"], test["smoothed"], color=SERIES[0], label="smoothed")
        axes.axvline(test["suggested"], color=MUTED, ls=(0, (4, 3)), lw=1.1, label="suggested")
        low, first = min(test["smoothed"]), test["smoothed"][0]
        axes.set_ylim(low - 0.1 * (first - low) - 0.05, max(first * ABOVE, low + 0.1))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        legend(axes, columns=3)
        return render_figure(figure, f"Loss by learning rate; suggested {test['suggested']:.2g}")
