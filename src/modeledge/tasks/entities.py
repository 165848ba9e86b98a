"""Named entities in running text: spans of characters in, spans of characters out, tags of words in between.

A row is a text and a list of spans `{"start", "end", "label"}` (or `[start, end, label]`), in characters from 0, the
end excluded. Words are found in the text by its characters alone, so that they do not depend on a tokenizer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from modeledge.errors import ModeledgeError, printable
from modeledge.tasks.columns import text_of, where_of
from modeledge.tasks.labels import Labels
from modeledge.tasks.schemes import OUTSIDE, SCHEMES, Span, split, tags_of
from modeledge.tasks.tag import TagTask
from modeledge.tasks.tagged import TagShape
from modeledge.tasks.task import Row
from modeledge.tasks.words import Words


class EntityTask(TagTask):
    """A `text` and its `spans`, which do not overlap. With `widen` a span that cuts a word takes the whole word."""

    kind: ClassVar[str] = "entities"
    inputs: ClassVar[tuple[str, ...]] = ("text",)
    target: ClassVar[str] = "spans"
    options: ClassVar[tuple[str, ...]] = (*TagTask.options, "widen")

    @classmethod
    def words(cls, row: Row, columns: Mapping[str, str], number: int) -> Words:
        """The words that the text is found to have."""
        return Words.found(text_of(row, columns["text"], number))

    @classmethod
    def gold(cls, row: Row, words: Words, columns: Mapping[str, str], shape: TagShape, number: int) -> list[str]:
        """The tags that spell the spans of a row (`E-SPAN`, `E-LABEL-MISSING`)."""
        where, told = where_of(row, number), row.get(columns["spans"])
        if told is None:
            what = f"there are no {columns['spans']}"
            raise ModeledgeError("E-LABEL-MISSING", what, where=where, remedy="write [] where a text has none")
        if isinstance(told, str) or not isinstance(told, Sequence):
            what = f"column {columns['spans']!r} is {type(told).__name__}, not a list of spans"
            raise ModeledgeError("E-FIELD-TYPE", what, where=where)
        spans = sorted(_of_words(read_span(span, words.text, where), words, shape.widen, where) for span in told)
        for before, span in zip(spans, spans[1:], strict=False):
            if span[0] < before[1]:
                what = f"the spans {words.word(*before[:2])!r} and {words.word(*span[:2])!r} overlap"
                raise ModeledgeError("E-SPAN", what, where=where, remedy="a word has one tag: keep one of the two")
        return tags_of(spans, len(words), SCHEMES[shape.scheme or "bio"])

    @classmethod
    def named(cls, told: Sequence[Sequence[str]], wheres: Sequence[str], shape: TagShape) -> Labels:
        """Every tag that the scheme has for the types that occur, and "O"."""
        types = sorted({kind for tags in told for tag in tags if (kind := split(tag)[1])})
        if not types:
            raise ModeledgeError("E-ONE-CLASS", f"none of the {len(told)} rows has a span")
        letters = sorted(SCHEMES[shape.scheme or "bio"].letters)
        return Labels("class", (OUTSIDE, *(f"{letter}-{kind}" for kind in types for letter in letters)))


def read_span(span: Any, text: str, where: str) -> tuple[int, int, str]:
    """Start, end and label of one span that lies in its text; where it says its own `text`, that must stand there."""
    if isinstance(span, Mapping):
        parts = [span.get(name) for name in ("start", "end", "label")]
    else:
        parts = list(span) if isinstance(span, list | tuple) else []
    if len(parts) != 3 or not all(type(p) is int for p in parts[:2]) or not isinstance(parts[2], str) or not parts[2]:
        what = f"{printable(repr(span), 60)} is not a start, an end and a label"
        raise ModeledgeError("E-SPAN", what, where=where)
    start, end, label = parts
    if not 0 <= start < end <= len(text):
        what = f"the span {start} … {end} does not lie in a text of {len(text)} characters"
        raise ModeledgeError("E-SPAN", what, where=where)
    said = span.get("text") if isinstance(span, Mapping) else None
    if said is not None and said != text[start:end]:
        what = f"at {start} … {end} stands {printable(text[start:end], 40)!r}, not {printable(str(said), 40)!r}"
        raise ModeledgeError("E-SPAN", what, where=where, remedy="count characters, not bytes or UTF-16 units")
    return start, end, label


def _of_words(span: tuple[int, int, str], words: Words, widen: bool, where: str) -> Span:
    """The words that a span of characters takes; space around them is not counted."""
    start, end, label = span
    first = bisect_right(words.places, start, key=lambda place: place[1])
    last = bisect_left(words.places, end, key=lambda place: place[0])
    if first >= last:
        raise ModeledgeError("E-SPAN", f"the span {start} … {end} holds no word", where=where)
    cuts = words.places[first][0] < start or words.places[last - 1][1] > end
    if cuts and not widen:
        what = f"the span {printable(words.text[start:end], 40)!r} cuts {printable(words.word(first, last), 60)!r}"
        remedy = "correct its ends, or set options.widen = true"
        raise ModeledgeError("E-SPAN", what, where=where, why="a tag belongs to a whole word", remedy=remedy)
    return first, last, label
