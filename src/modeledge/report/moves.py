"""What moves under a strategy, drawn: the parts of a model from left to right, moments of a run from top to bottom.

    lp-ft          embeddings  1–6  norm  head
      start        ·           ·    ·     ■
      middle       ■           ■    ■     ■

A part that moves as a whole at the base rate is `■`, one that stays `·`; of a part that moves in part its share of
parameters is written, and a rate that is not the base rate as `×0.4`. Numbers alone come in, so that a drawing is what
the strategy itself said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle

from modeledge.report.plots import WIDTH
from modeledge.report.svg import GRID, INK, MUTED, SERIES, drawing, render_figure

STILL, WHOLE = "·", "■"
LEAST = 0.25  # how faint the slowest rate and the smallest share are drawn, so that both are seen


@dataclass(frozen=True)
class Cell:
    """One part at one moment: the share of its parameters that moves, and their lowest and highest rate."""

    share: float = 0.0
    low: float = 1.0
    high: float = 1.0

    def __str__(self) -> str:
        if not self.share:
            return STILL
        amount = "" if self.share > 0.9995 else f"{100 * self.share:.2g}%"
        same = f"{self.low:.2g}" == f"{self.high:.2g}"
        rate = f"×{self.low:.2g}" if same else f"×{self.low:.2g}–{self.high:.2g}"
        return " ".join(word for word in (amount, rate if rate != "×1" else "") if word) or WHOLE


@dataclass(frozen=True)
class Moves:
    """A strategy's drawing: `parts` by name (embeddings, 1 … L, norm, head), at each moment a cell for each."""

    name: str
    parts: tuple[str, ...]
    moments: tuple[tuple[str, tuple[Cell, ...]], ...]

    def folded(self) -> Moves:
        """The same with neighbouring layers that do alike at all moments as one part, `3–6`; and with moments that are
        alike as one."""
        columns = list(zip(*(cells for _, cells in self.moments), strict=True))
        kept: list[int] = []
        names: list[str] = []
        for _, group in groupby(enumerate(self.parts), lambda p: (p[1].isdigit() or p[1], columns[p[0]])):
            members = list(group)
            kept.append(members[0][0])
            first, last = members[0][1], members[-1][1]
            names.append(first if first == last else f"{first}–{last}")
        rows: list[tuple[str, tuple[Cell, ...]]] = []
        for cells, same in groupby(self.moments, lambda moment: moment[1]):
            labels = [label for label, _ in same]
            label = "always" if len(labels) == len(self.moments) > 1 else ", ".join(labels)
            rows.append((label, tuple(cells[n] for n in kept)))
        return Moves(self.name, tuple(names), tuple(rows))


def moves_text(moves: Moves) -> str:
    """The drawing for a terminal, without a line end."""
    short = moves.folded()
    table = [[short.name, *short.parts], *([f"  {label}", *map(str, cells)] for label, cells in short.moments)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def moves_plot(drawn: Sequence[Moves]) -> str:
    """Drawings below each other as one figure: filled where a part moves, fainter where it moves slowly or in part,
    with what is written in a terminal in each cell that is neither whole nor still."""
    heights = [len(moves.moments) + 1.8 for moves in drawn]
    with drawing():
        figure = Drawing(figsize=(WIDTH, 0.27 * sum(heights) + 0.3), layout="constrained")
        grid = figure.add_gridspec(len(drawn), 1, height_ratios=heights)
        for number, moves in enumerate(drawn):
            axes = figure.add_subplot(grid[number])
            axes.grid(visible=False)
            rows, columns = len(moves.moments), len(moves.parts)
            for row, (_, cells) in enumerate(moves.moments):
                for column, cell in enumerate(cells):
                    strong = LEAST + (1 - LEAST) * min(1.0, cell.share * cell.high)
                    colour = {"facecolor": SERIES[0], "alpha": strong} if cell.share else {"facecolor": "none"}
                    axes.add_patch(Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, **colour))
                    axes.add_patch(Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, fill=False, edgecolor=GRID))
                    if str(cell) not in (STILL, WHOLE):
                        place = (column + 0.5, row + 0.52)
                        axes.text(*place, str(cell), ha="center", va="center", fontsize=7, color=INK)
            axes.set_xlim(0, columns)
            axes.set_ylim(rows, 0)
            axes.set_xticks([n + 0.5 for n in range(columns)], moves.parts, fontsize=7.5, color=MUTED)
            axes.set_yticks([n + 0.5 for n in range(rows)], [label for label, _ in moves.moments], fontsize=7.5)
            axes.set_title(moves.name)
            for spine in axes.spines.values():
                spine.set_visible(False)
        said = "; ".join(moves.name for moves in drawn)
        return render_figure(figure, f"What moves under {said}")
