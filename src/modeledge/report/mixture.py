"""What a run read of which corpus: `mixture.json` of its folder as a pie, as bars, and as GPT-3's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import EngFormatter

from modeledge.errors import printable
from modeledge.report.blocks import Block, Cell, Figure, Paragraph, Table, aligned
from modeledge.report.markup import number
from modeledge.report.plots import WIDTH, legend
from modeledge.report.read import Run, broken, is_number, read_object
from modeledge.report.svg import INK, PAPER, SERIES, drawing, render_figure

FILE = "mixture.json"
NUMBERS = ("size", "planned", "epochs", "read", "read_epochs")


def mixture_blocks(run: Run) -> list[Block]:
    """The mixture of a run; nothing where it has none."""
    told = read_object(run.path / FILE)
    if not told:
        return []
    rows, phases = told.get("sources"), told.get("phases", [])
    if not isinstance(rows, list) or not rows or not all(whole(row) for row in rows):
        broken(run.path / FILE, f"each source needs a name and the numbers {', '.join(NUMBERS)}")
    planned = sum(row["planned"] for row in rows)
    cells: list[list[Cell]] = [
        [
            row["name"], round(row["size"]), f"{100 * row['planned'] / max(planned, 1e-9):.1f} %",
            round(row["planned"]), round(row["read"]), f"{row['epochs']:.2f}", f"{row['read_epochs']:.2f}",
        ]
        for row in rows
    ]  # fmt: skip
    heads = ("Source", "Tokens", "Weight", "Planned", "What was read", "Epochs planned", "Epochs read")
    blocks: list[Block] = [Figure(mixture_plot(rows), "What the plan reads of each source, and what the run has read.")]
    blocks.append(Table(heads, cells, aligned(len(heads)), "In tokens."))
    if len(phases) > 1:
        names = [str(row["name"]) for row in rows]
        shares: list[list[Cell]] = [
            [number(phase["start"]), *(f"{100 * phase['shares'].get(name, 0.0):.1f} %" for name in names)]
            for phase in phases
        ]
        blocks.append(Table(("From step", *names), shares, (), "Shares of the tokens of each phase."))
    return [*blocks, *(Paragraph(str(note)) for note in told.get("notes", []))]


def whole(row: object) -> bool:
    """Has a source its name and its numbers?"""
    return isinstance(row, Mapping) and "name" in row and all(is_number(row.get(key)) for key in NUMBERS)


def mixture_plot(rows: Sequence[Mapping[str, Any]], beside: Literal["read", "size"] = "read") -> str:
    """A pie of the planned tokens, and beside it planned tokens a source as bars, with those that a run has read, or
    with the size of the source."""
    word = {"read": "read", "size": "there"}[beside]
    names = [printable(str(row["name"]), 30) for row in rows]
    colours = [SERIES[n % len(SERIES)] for n in range(len(rows))]
    with drawing():
        figure = Canvas(figsize=(WIDTH, max(2.6, 1.1 + 0.5 * len(rows))), layout="constrained")
        pie, bars = figure.subplots(1, 2, width_ratios=(1, 1.7))
        shares = [max(float(row["planned"]), 0.0) for row in rows]
        if sum(shares) > 0:
            slices = pie.pie(shares, colors=colours, startangle=90, counterclock=False, wedgeprops={"ec": PAPER})
            del slices
        pie.set_title("planned", fontsize=9)
        places = np.arange(len(rows))
        bars.barh(places - 0.18, shares, 0.34, color=colours, label="planned")
        bars.barh(places + 0.18, [float(row[beside]) for row in rows], 0.34, color=PAPER, ec=INK, label=word)
        bars.set_yticks(places, names)
        bars.invert_yaxis()
        bars.set_xlabel("tokens")
        bars.xaxis.set_major_formatter(EngFormatter(sep=" "))
        bars.grid(visible=False, axis="y")
        legend(bars, columns=2)
        return render_figure(figure, f"The mixture of {', '.join(names)}, planned and {word}")
