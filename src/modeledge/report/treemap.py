"""A treemap: parts of a whole as rectangles whose areas are their shares, grouped by category.

Slices of a pie are compared badly, and twenty of them not at all; The Pile's own figure of its composition (Gao et al.
2020, figure 1) is a treemap. The layout is *squarified* (Bruls, Huizing and van Wijk 2000): rectangles are laid in rows
along the shorter side of what is free, and a row is closed when one more would make its worst rectangle longer and
thinner than it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from modeledge.errors import ModeledgeError
from modeledge.report.markup import clean
from modeledge.report.plots import WIDTH
from modeledge.report.svg import INK, PAPER, SERIES, drawing, render_figure

Box = tuple[float, float, float, float]  # left, bottom, width, height
HEIGHT = 4.6  # inches
EM = 0.075  # inches that a letter of a label takes, on average


def squarified(sizes: Sequence[float], box: Box) -> list[Box]:
    """A rectangle for each size, in the order given, areas in proportion; they fill the box.

    Sizes are positive and should fall: the algorithm is greedy. Raises `E-NOT-FINITE` for a size that is none.
    """
    if any(not (math.isfinite(size) and size > 0) for size in sizes):
        raise ModeledgeError("E-NOT-FINITE", "a part of a treemap must have a size above 0")
    scale = box[2] * box[3] / math.fsum(sizes) if sizes else 0.0
    areas, boxes, free = [size * scale for size in sizes], list[Box](), box
    while areas:
        count = _row_length(areas, min(free[2], free[3]))
        row, free = _laid(areas[:count], free)
        boxes += row
        areas = areas[count:]
    return boxes


def _row_length(areas: Sequence[float], side: float) -> int:
    """How many areas the next row along `side` takes."""
    worst = math.inf
    for count in range(1, len(areas) + 1):
        depth = math.fsum(areas[:count]) / side
        longest = max(max(depth * depth / area, area / (depth * depth)) for area in areas[:count])
        if longest > worst:
            return count - 1
        worst = longest
    return len(areas)


def _laid(areas: Sequence[float], free: Box) -> tuple[list[Box], Box]:
    """The row along the shorter side, and what is free beside it."""
    left, bottom, width, height = free
    upright = height <= width
    depth = math.fsum(areas) / (height if upright else width)
    boxes, place = list[Box](), 0.0
    for area in areas:
        length = area / depth
        boxes.append((left, bottom + place, depth, length) if upright else (left + place, bottom, length, depth))
        place += length
    rest = (left + depth, bottom, max(width - depth, 0.0), height) if upright else free
    return boxes, rest if upright else (left, bottom + depth, width, max(height - depth, 0.0))


def treemap(parts: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Categories, each with its parts and their sizes, as an inline `<svg>`; parts without a size are left out.

    A category has one colour, and its name stands in it with its share. Raises `E-NO-RECORDS` where nothing has a size.
    """
    sized = {name: {k: float(v) for k, v in inner.items() if v > 0} for name, inner in parts.items()}
    totals = {name: math.fsum(inner.values()) for name, inner in sized.items() if inner}
    if not totals:
        raise ModeledgeError("E-NO-RECORDS", "nothing has a size, so there is no composition to draw")
    whole, order = math.fsum(totals.values()), sorted(totals, key=lambda name: (-totals[name], name))
    with drawing():
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
        axes.axis("off")
        for number, (name, box) in enumerate(
            zip(order, squarified([totals[name] for name in order], (0, 0, WIDTH, HEIGHT)), strict=True)
        ):
            _category(axes, name, sized[name], box, SERIES[number % len(SERIES)], whole)
        return render_figure(figure, title)


def _category(axes: Axes, name: str, parts: Mapping[str, float], box: Box, colour: str, whole: float) -> None:
    """One category: a head with its name where there is room, and its parts below."""
    left, bottom, width, height = box
    head = 0.3 if height > 0.7 and width > 0.8 else 0.0
    order = sorted(parts, key=lambda part: (-parts[part], part))
    inner = squarified([parts[part] for part in order], (left, bottom, width, height - head))
    for part, (x, y, w, h) in zip(order, inner, strict=True):
        axes.add_patch(Rectangle((x, y), w, h, facecolor=colour, alpha=0.22, edgecolor="none"))
        axes.add_patch(Rectangle((x, y), w, h, facecolor="none", edgecolor=PAPER, linewidth=1.6))
        shown = part if head else f"{name}: {part}" if part != name else name
        _label(axes, (shown, _percent(parts[part] / whole)), (x, y, w, h))
    if head:
        axes.add_patch(
            Rectangle((left, bottom + height - head), width, head, facecolor=colour, edgecolor=PAPER, lw=1.6)
        )
        words = f"{clean(name)}  {_percent(math.fsum(parts.values()) / whole)}"
        fitted = _cut(words, width)
        axes.text(left + 0.1, bottom + height - head / 2, fitted, color=PAPER, va="center", fontsize=9, weight="bold")


def _label(axes: Axes, lines: Sequence[str], box: Box) -> None:
    """The lines in the upper left corner of a rectangle, as many as fit."""
    x, y, w, h = box
    if w < 0.45:
        return
    for number, line in enumerate(lines):
        if h > 0.22 + 0.2 * number:
            axes.text(x + 0.1, y + h - 0.17 - 0.19 * number, _cut(clean(line), w), color=INK, va="center", fontsize=8.5)


def _cut(words: str, width: float) -> str:
    room = max(int((width - 0.15) / EM), 1)
    flat = " ".join(words.split())
    return flat if len(flat) <= room else flat[: room - 1] + "…"


def _percent(share: float) -> str:
    return "<0.1 %" if share < 0.0005 else f"{100 * share:.1f} %"
