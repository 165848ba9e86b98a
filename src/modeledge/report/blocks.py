"""A report as typed blocks: a `Page` is a value, sections of blocks with nothing rendered yet.

Recipes say what to show; `page` alone knows how it looks. So every report of the house looks alike, and no recipe ever
writes markup.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Tone: TypeAlias = Literal["good", "bad", "mixed", "neutral"]
Align: TypeAlias = Literal["left", "right", "center"]
Cell: TypeAlias = str | int | float | bool | None


def aligned(columns: int, words: int = 1) -> tuple[Align, ...]:
    """Of so many columns the first few hold words, on the left, and the others figures, on the right."""
    left: Align = "left"
    right: Align = "right"
    return (left,) * words + (right,) * (columns - words)


@dataclass(frozen=True)
class Paragraph:
    """Running text; blank lines part paragraphs."""

    text: str


@dataclass(frozen=True)
class Verdict:
    """One conclusion in words. The tone shows as a sign and a word as well as a colour."""

    text: str
    tone: Tone = "neutral"


@dataclass(frozen=True)
class Table:
    """Rows under column heads. `highlight` names whole rows by number or single cells by (row, column), from 0.

    Numbers are set with four significant digits and aligned right unless `align` says otherwise for each column;
    hand in a string to choose the digits. `None` prints as a dash.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    align: Sequence[Align] = ()
    caption: str = ""
    highlight: Collection[int | tuple[int, int]] = ()


@dataclass(frozen=True)
class Figure:
    """An inline SVG, as `plots` draws it; anything but plain shapes and text is refused (see `svg.check_svg`)."""

    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Text as it was typed, in a fixed width."""

    text: str
    caption: str = ""


@dataclass(frozen=True)
class Samples:
    """What a model wrote: (prompt, continuation) pairs that read on, or with `apart` (text, answer) pairs that do not:
    an encoder's text with its gaps filled, what a decoder answered to a source."""

    samples: Sequence[tuple[str, str]]
    caption: str = ""
    apart: bool = False


@dataclass(frozen=True)
class KeyValues:
    """Names with their values; nested mappings are flattened to dotted names."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class LedgerTable:
    """Where every record went: `Ledger.as_dict()`, with its balance checked in front of the reader."""

    ledger: Mapping[str, Any]


@dataclass(frozen=True)
class Details:
    """Blocks that stay folded until the reader asks."""

    summary: str
    blocks: Sequence[Block]


Block: TypeAlias = Paragraph | Verdict | Table | Figure | Code | Samples | KeyValues | LedgerTable | Details


@dataclass(frozen=True)
class Headline:
    """One key number of the strip under the title."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in its table of contents."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report. Three to five headlines read best."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    headlines: Sequence[Headline] = ()
