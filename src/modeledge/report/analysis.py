"""Where a model is wrong, for reading: classes, who was taken for whom, lengths, confidence.

What is drawn is what `results.json` keeps under "analysis" (see `evaluate.analyse`); any part of it may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure as Drawing

from modeledge.errors import ModeledgeError, printable
from modeledge.report.blocks import Align, Block, Cell, Details, Figure, Headline, Page, Section, Table, aligned
from modeledge.report.markup import together
from modeledge.report.svg import INK, MUTED, SERIES, drawing, render_figure

Plain = Mapping[str, Any]


def analysis_blocks(told: Plain) -> list[Block]:
    """The blocks of one analysis; `E-RUN-FOLDER` where it is not shaped as `analyse` shapes it."""
    try:
        return [
            *class_blocks(told.get("classes") or ()),
            *confusion_blocks(told.get("confusion"), told.get("names") or ()),
            *length_blocks(told.get("by_length") or (), str(told.get("metric", "score"))),
            *calibration_blocks(told.get("calibration")),
            *mistake_blocks(told.get("mistakes") or ()),
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"the analysis is not shaped as it is written: {printable(repr(error), 80)}"
        raise ModeledgeError("E-RUN-FOLDER", what, where="results.json", remedy="evaluate again") from error


def error_page(title: str, subtitle: str, scores: Mapping[str, Plain], told: Plain) -> Page:
    """A page of its own for one model on one file."""
    lines = [Headline(name, *_mark(mark)) for name, mark in scores.items()]
    return Page(title, subtitle, [Section("Where it is wrong", analysis_blocks(told))], lines[:5])


def _mark(mark: Plain) -> tuple[str, str]:
    value, low, high = together(mark["value"], mark["low"], mark["high"])
    return value, f"95 %: {low} … {high}, {mark['n']:,} items"


def class_blocks(classes: Sequence[Plain]) -> list[Block]:
    """A row a class."""
    if not classes:
        return []
    rows: list[list[Cell]] = [[c["name"], c["n"], c["precision"], c["recall"], c["f1"]] for c in classes]
    return [Table(("Class", "Items", "Precision", "Recall", "F1"), rows, aligned(5), "Each class by itself.")]


def confusion_blocks(matrix: Sequence[Sequence[int]] | None, names: Sequence[str]) -> list[Block]:
    """Rows are true classes, columns what they were taken for; the diagonal is right."""
    if not matrix:
        return []
    rows: list[list[Cell]] = [[name, *row] for name, row in zip(names, matrix, strict=True)]
    right = [(n, n + 1) for n in range(len(names))]
    caption = "Who was taken for whom: rows are the labels, columns the answers."
    return [Table(("label ╲ answer", *names), rows, aligned(1 + len(names)), caption, right)]


def length_blocks(groups: Sequence[Plain], metric: str) -> list[Block]:
    """A row a group of lengths."""
    if not groups:
        return []
    rows: list[list[Cell]] = []
    for group in groups:
        value, low, high = together(group["value"], group["low"], group["high"])
        rows.append([f"{group['shortest']} … {group['longest']}", group["n"], value, f"{low} … {high}"])
    align: tuple[Align, ...] = aligned(4)
    return [Table(("Tokens", "Items", metric, "95 % interval"), rows, align, "Short texts and long ones.")]


def calibration_blocks(told: Plain | None) -> list[Block]:
    """The reliability diagram, and what the fitted temperature has changed."""
    if not told:
        return []
    scaling = told.get("scaling")
    words = f"Expected calibration error {told['error']:.3f}"
    if scaling:
        fitted = f"the temperature {scaling['temperature']:.3g}, fitted on {scaling['rows']:,} validation rows"
        words += f", {scaling['unscaled']:.3f} without {fitted}"
    return [Figure(reliability_plot(told["bins"]), f"{words}. A calibrated model lies on the line.")]


def reliability_plot(bins: Sequence[Plain]) -> str:
    """The share that was right against the mean confidence, a dot a bin; its area tells how many items it holds."""
    filled = [b for b in bins if b["count"]]
    most = max(b["count"] for b in filled)
    with drawing():
        figure = Drawing(figsize=(4.6, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1.1, ls=(0, (4, 3)))
        sure, right = [b["confidence"] for b in filled], [b["accuracy"] for b in filled]
        axes.vlines(sure, sure, right, color=SERIES[1], lw=1.4)
        axes.scatter(sure, right, s=[30 + 200 * b["count"] / most for b in filled], color=SERIES[0], zorder=3)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share that was right", color=INK)
        return render_figure(figure, "Reliability diagram: share of right answers by confidence")


def mistake_blocks(mistakes: Sequence[Plain]) -> list[Block]:
    """The wrong answers that the model was surest of."""
    if not mistakes:
        return []
    texts = any("text" in m for m in mistakes)
    columns = ("Where", "Label", "Answer", "Confidence", *(("Text",) if texts else ()))
    rows: list[list[Cell]] = [
        [m["where"], m["label"], m["prediction"], m["confidence"], *((m.get("text", ""),) if texts else ())]
        for m in mistakes
    ]
    align: tuple[Align, ...] = ("left", "left", "left", "right", *(("left",) if texts else ()))
    table = Table(columns, rows, align, "Wrong and sure of it: a slip of the labels, or of the model.")
    return [table if texts else Details("The most confident mistakes", [table])]
