"""How tokenizers fit sources, as a picture: density, fertility and coverage side by side, a dot a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from modeledge.errors import ModeledgeError, printable
from modeledge.report.plots import WIDTH, legend, marker_of
from modeledge.report.svg import SERIES, drawing, render_figure


@dataclass(frozen=True)
class Fit:
    """One tokenizer on one source: bytes a token, tokens a word, and the share of tokens that are known."""

    tokenizer: str
    source: str
    density: float
    fertility: float
    coverage: float


def fit_plot(fits: Sequence[Fit]) -> str:
    """Three panels over the same sources, in the order given; more than seven tokenizers share colours and markers.

    Raises `E-NO-RECORDS` where there is nothing to draw.
    """
    if not fits:
        raise ModeledgeError("E-NO-RECORDS", "no tokenizer was measured, so there is nothing to draw")
    sources = list(dict.fromkeys(fit.source for fit in fits))
    tokenizers = list(dict.fromkeys(fit.tokenizer for fit in fits))
    panels = {"bytes a token": "density", "tokens a word": "fertility", "coverage": "coverage"}
    with drawing():
        figure = Figure(figsize=(WIDTH, 1.3 + 0.42 * len(sources)), layout="constrained")
        panes = figure.subplots(1, len(panels), sharey=True)
        for axes, (title, key) in zip(panes, panels.items(), strict=True):
            for n, name in enumerate(tokenizers):
                here = [fit for fit in fits if fit.tokenizer == name]
                shift = (n - (len(tokenizers) - 1) / 2) * 0.6 / max(len(tokenizers), 3)
                places = [sources.index(fit.source) + shift for fit in here]
                look = {"color": SERIES[n % len(SERIES)], "marker": marker_of(n), "ms": 6}
                axes.plot([getattr(f, key) for f in here], places, ls="none", label=printable(name, 30), **look)
            axes.set_xlabel(title)
            axes.grid(visible=False, axis="y")
            low, high = (f(getattr(fit, key) for fit in fits) for f in (min, max))
            axes.set_xlim((min(0.98 * low, 0.9), 1.01) if key == "coverage" else (0, 1.08 * high))
        panes[2].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        panes[0].set_yticks(range(len(sources)), [printable(name, 30) for name in sources])
        panes[0].set_ylim(len(sources) - 0.45, -0.55)
        if len(tokenizers) > 1:
            legend(panes[0], columns=min(len(tokenizers), 4))
        return render_figure(figure, f"How {', '.join(tokenizers)} fit {', '.join(sources)}")
