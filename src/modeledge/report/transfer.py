"""The picture of a source-target study: what pre-training bought, by how far its texts are from those of the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from modeledge.errors import ModeledgeError, printable
from modeledge.report.plots import WIDTH, legend, marker_of
from modeledge.report.svg import MUTED, PAPER, SERIES, drawing, render_figure

AXES = (("divergence", "Jensen-Shannon divergence (bits)"), ("bits", "bits a piece of the target"))


@dataclass(frozen=True)
class Gained:
    """A difference (`what` it is of) that a source makes, with its 95 % interval, and both distances of the source."""

    what: str
    source: str
    divergence: float
    bits: float
    value: float
    low: float
    high: float


def transfer_plot(rows: Sequence[Gained], *, score: str) -> str:
    """Differences by distance: a panel a measure, a colour a difference, the name of each source at its first one."""
    if not rows:
        raise ModeledgeError("E-EMPTY-SPLIT", "no result was handed in, so there is nothing to plot")
    kinds = list(dict.fromkeys(row.what for row in rows))
    with drawing():
        figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
        panels = figure.subplots(1, len(AXES), sharey=True)
        for axes, (measure, title) in zip(panels, AXES, strict=True):
            axes.axhline(0, color=MUTED, lw=1.0, zorder=1)
            for n, kind in enumerate(kinds):
                here = [row for row in rows if row.what == kind]
                places, colour = [getattr(row, measure) for row in here], SERIES[n % len(SERIES)]
                axes.vlines(places, [row.low for row in here], [row.high for row in here], color=colour, lw=2, zorder=2)
                marker, values = marker_of(n), [row.value for row in here]
                axes.plot(places, values, ls="none", marker=marker, color=colour, ms=7, mec=PAPER, label=kind, zorder=3)
                for row in here if n == 0 else ():
                    place = (getattr(row, measure), row.value)
                    name = printable(row.source, 24)
                    axes.annotate(name, place, (6, 4), textcoords="offset points", fontsize="small", color=MUTED)
            axes.margins(x=0.2, y=0.1)
            axes.set_xlabel(title)
        panels[0].set_ylabel(printable(score, 60))
        legend(panels[0], columns=len(kinds))
        return render_figure(figure, f"{score}: what a source gives, by how far it is from the target")
