"""How long documents are: a line a source over classes of length that double."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from modeledge.errors import ModeledgeError, printable
from modeledge.report.plots import MARKERS, WIDTH, legend
from modeledge.report.svg import SERIES, drawing, render_figure

MOST = 7  # sources that are told apart by colour and marker; the others are drawn together


def length_plot(sources: Mapping[str, Mapping[int, int]], unit: str = "tokens") -> str:
    """`sources[name][n]` documents of n/2 to n - 1 tokens (or another unit), as shares of each source, over n on a
    doubling axis.

    Beyond seven sources the smallest are one line, "others". Raises `E-NO-RECORDS` where there is no document.
    """
    filled = {name: dict(counts) for name, counts in sources.items() if sum(counts.values())}
    if not filled:
        raise ModeledgeError("E-NO-RECORDS", "there is no document whose length could be drawn")
    order = sorted(filled, key=lambda name: (-sum(filled[name].values()), name))
    shown = {name: filled[name] for name in (order if len(order) <= MOST else order[: MOST - 1])}
    if len(order) > MOST:
        rest: dict[int, int] = {}
        for name in order[MOST - 1 :]:
            for n, count in filled[name].items():
                rest[n] = rest.get(n, 0) + count
        shown["others"] = rest
    classes = [2**e for e in range(_low(shown), max(n for counts in shown.values() for n in counts).bit_length())]
    with drawing():
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (name, counts) in enumerate(shown.items()):
            total, colour = sum(counts.values()), SERIES[number]
            shares = [100 * counts.get(n, 0) / total for n in classes]
            axes.plot(
                range(len(classes)), shares, color=colour, marker=MARKERS[number], ms=5, label=printable(name, 40)
            )
        step = max(1, len(classes) // 8)  # labels of six digits stand beside each other
        axes.set_xticks(range(0, len(classes), step), [f"{n:,}" for n in classes[::step]])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{unit} in a document, fewer than")
        if len(shown) > 1:
            legend(axes, columns=min(len(shown), 4))
        return render_figure(figure, f"Lengths of documents of {', '.join(shown)}")


def _low(sources: Mapping[str, Mapping[int, int]]) -> int:
    return min(n for counts in sources.values() for n in counts).bit_length() - 1
