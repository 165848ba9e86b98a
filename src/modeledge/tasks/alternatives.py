"""The alternatives of a row, and how its label names the right one: by number, by letter, or by its own text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal, get_args

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.tasks.columns import field_of, texts_of, where_of
from modeledge.tasks.task import Row

Kind = Literal["index", "letter", "text"]
LEAST = 2


def columns_of(named: str) -> list[str]:
    """The columns behind the role "choices": one with a list, or several with a text each, parted by commas."""
    return [part.strip() for part in named.split(",")]


def alternatives_of(row: Row, named: str, index: int) -> list[str]:
    """The texts of a row's alternatives, at least two. Of several columns the last ones may be empty: the row then has
    fewer. A gap, or an empty text in a list, is `E-MISSING-FIELD`."""
    columns, where = columns_of(named), where_of(row, index)
    if len(columns) == 1:
        texts = texts_of(row, named, index)
    else:
        cells = [field_of(row, column, index) for column in columns]
        for column, cell in zip(columns, cells, strict=True):
            if cell is not None and not isinstance(cell, str):
                what = f"column {column!r} is {type(cell).__name__}, not text"
                raise ModeledgeError("E-FIELD-TYPE", what, where=where)
        while cells and (cells[-1] is None or not cells[-1].strip()):
            cells.pop()
        texts = ["" if cell is None else cell for cell in cells]
    empty = [number for number, text in enumerate(texts) if not text.strip()]
    if empty:
        raise ModeledgeError(
            "E-MISSING-FIELD", f"choice {empty[0] + 1} is empty", where=where, remedy="fill or drop it"
        )
    if len(texts) < LEAST:
        what = f"{len(texts)} choice is no choice" if texts else "there is no choice"
        raise ModeledgeError("E-MISSING-FIELD", what, where=where, remedy="give at least two, or drop the row")
    return texts


@dataclass(frozen=True)
class Numbering:
    """How labels name alternatives. `first` is the number of the first one where they are numbers."""

    kind: Kind
    first: int = 0

    @property
    def said(self) -> str:
        """The numbering in words."""
        if self.kind == "index":
            return f"labels are their numbers from {self.first}"
        return "labels are letters from A" if self.kind == "letter" else "labels are the right choice's own text"

    def number(self, label: Any, texts: Sequence[str], where: str) -> int:
        """Which alternative a label names, from 0; what does not fit is an error that names the row."""
        label = label.item() if hasattr(label, "item") and not isinstance(label, str) else label
        if label is None or (isinstance(label, str) and not label.strip()):
            raise ModeledgeError("E-LABEL-MISSING", "the label is empty", where=where)
        return READ[self.kind](self, label, texts, where)

    def written(self, number: int, text: str) -> int | str:
        """An answer as the labels are written."""
        if self.kind == "index":
            return number + self.first
        return ascii_uppercase[number] if self.kind == "letter" and number < len(ascii_uppercase) else text


def by_index(self: Numbering, label: Any, texts: Sequence[str], where: str) -> int:
    """A whole number from `first`."""
    whole = isinstance(label, float) and label.is_integer()
    spelled = str(int(label)) if whole else str(label)
    if isinstance(label, bool) or not spelled.strip().removeprefix("-").isdecimal():
        what, remedy = f"{printable(repr(label), 60)} is no number of a choice", "say label_is = letter, or text"
        raise ModeledgeError("E-LABEL-TYPE", what, where=where, remedy=remedy)
    number = int(spelled) - self.first
    if not 0 <= number < len(texts):
        what = f"label {spelled} is none of the {len(texts)} choices, which are {self.first} to"
        raise ModeledgeError("E-LABEL-RANGE", f"{what} {self.first + len(texts) - 1}", where=where)
    return number


def by_letter(self: Numbering, label: Any, texts: Sequence[str], where: str) -> int:
    """A letter from A, large or small."""
    letter = label.strip().upper() if isinstance(label, str) else ""
    if len(letter) != 1 or letter not in ascii_uppercase:
        what, remedy = f"{printable(repr(label), 60)} is no letter of a choice", "say label_is = index, or text"
        raise ModeledgeError("E-LABEL-TYPE", what, where=where, remedy=remedy)
    number = ascii_uppercase.index(letter)
    if number >= len(texts):
        what = f"label {letter} is none of the {len(texts)} choices, A to {ascii_uppercase[len(texts) - 1]}"
        raise ModeledgeError("E-LABEL-RANGE", what, where=where)
    return number


def by_text(self: Numbering, label: Any, texts: Sequence[str], where: str) -> int:
    """The text of one alternative alone."""
    found = [number for number, text in enumerate(texts) if text == str(label)]
    if len(found) != 1:
        what = f"{printable(str(label), 60)!r} is {'none' if not found else 'more than one'} of the choices"
        raise ModeledgeError("E-LABEL-UNKNOWN", what, where=where, remedy=nearest(str(label), texts))
    return found[0]


READ: dict[Kind, Callable[[Numbering, Any, Sequence[str], str], int]] = {
    "index": by_index,
    "letter": by_letter,
    "text": by_text,
}


def numbering(
    labels: Sequence[Any], told: Sequence[Sequence[str]], wheres: Sequence[str], kind: Any = None, first: Any = None
) -> Numbering:
    """The numbering that fits every row.

    Without `kind` the label's own text, letters, and numbers from 0, then from 1, are tried on all rows. Where two fit
    and name different alternatives (the choices "2" and "1" beside the label "1"), nothing is guessed: `E-LABEL-TYPE`.
    """
    if kind is not None and kind not in get_args(Kind):
        remedy = nearest(str(kind), get_args(Kind))
        raise ModeledgeError("E-CONFIG-VALUE", f"{kind!r} is no numbering", where="options.label_is", remedy=remedy)
    if first is not None and (isinstance(first, bool) or first not in (0, 1)):
        raise ModeledgeError("E-CONFIG-VALUE", f"first is {first!r}", where="options.first", remedy="0 or 1")
    kinds: list[Kind] = [kind] if kind is not None else ["text", "letter", "index"]
    starts = (0, 1) if first is None else (first,)
    tried = [Numbering(k, start) for k in kinds for start in (starts if k == "index" else (0,))]
    found: list[tuple[Numbering, list[int]]] = []
    for way in tried:
        if any(way.kind == other.kind for other, _ in found):
            continue  # numbers from 0 fit: those from 1 are not asked
        numbers = fitting(way, labels, told, wheres)
        if numbers is not None:
            found.append((way, numbers))
    if not found:
        likeliest = Numbering("index", starts[0]) if kind is None and any_whole(labels) else tried[0]
        for label, texts, where in zip(labels, told, wheres, strict=True):
            likeliest.number(label, texts, where)  # says which row does not fit
    if any(numbers != found[0][1] for _, numbers in found[1:]):
        ways = " or ".join(way.kind for way, _ in found)
        what, remedy = f"the labels could be read as {ways}", f"say which: options.label_is = {found[0][0].kind!r}"
        raise ModeledgeError("E-LABEL-TYPE", what, remedy=remedy)
    return found[0][0]


def fitting(
    way: Numbering, labels: Sequence[Any], told: Sequence[Sequence[str]], wheres: Sequence[str]
) -> list[int] | None:
    """The alternatives that all labels name in this way; `None` where one label does not fit."""
    try:
        rows = zip(labels, told, wheres, strict=True)
        return [way.number(label, texts, where) for label, texts, where in rows]
    except ModeledgeError as error:
        if error.code == "E-LABEL-MISSING":
            raise
        return None


def any_whole(labels: Sequence[Any]) -> bool:
    """Is one of the labels a whole number?"""
    return any(not isinstance(x, bool) and str(x).strip().removeprefix("-").isdecimal() for x in labels)
