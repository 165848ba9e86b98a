"""Named entities in running text: spans of characters in, spans of characters out, tags of words in between.

A row is a text and a list of spans `{"start", "end", "label"}` (or `[start, end, label]`), in characters from 0, the
end excluded. Words are found in the text by its characters alone, so that they do not depend on a tokenizer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.tasks.columns import text_of, where_of
from modeledge.tasks.labels import Labels
from modeledge.tasks.schemes import OUTSIDE, SCHEMES, Scheme, Span, split, tags_of
from modeledge.tasks.tag import TagTask
from modeledge.tasks.tagged import TagShape
from modeledge.tasks.task import Row, Say
from modeledge.tasks.words import Words

Place: TypeAlias = tuple[int, int, str]  # first character, character behind the last, type


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
        read = [read_span(span, words.text, where) for span in told]
        spans = sorted(_of_words(span, words, shape.widen, where) for span in read)
        for before, span in pairwise(spans):
            if span[0] < before[1]:
                what = f"the spans {words.word(*before[:2])!r} and {words.word(*span[:2])!r} overlap"
                raise ModeledgeError("E-SPAN", what, where=where, remedy="a word has one tag: keep one of the two")
        return tags_of(spans, len(words), _scheme(shape))

    @classmethod
    def named(cls, told: Sequence[Sequence[str]], wheres: Sequence[str], shape: TagShape) -> Labels:
        """Every tag that the scheme has for the types that occur, and "O"."""
        types = sorted({kind for tags in told for tag in tags if (kind := split(tag)[1])})
        if not types:
            raise ModeledgeError("E-ONE-CLASS", f"none of the {len(told)} rows has a span")
        letters = sorted(_scheme(shape).letters)
        return Labels("class", (OUTSIDE, *(f"{letter}-{kind}" for kind in types for letter in letters)))

    def introduce(self, rows: Sequence[Row], told: Sequence[Sequence[str]], say: Say) -> None:
        """Say also how many spans were widened."""
        super().introduce(rows, told, say)
        cut = 0
        for i, row in enumerate(rows):
            words = self.words(row, self.columns, i)
            spans = (read_span(span, words.text, where_of(row, i)) for span in row[self.columns["spans"]])
            cut += sum(_cuts(span, words) for span in spans)
        if cut:
            say(f"{cut} spans cut a word: they are learned as whole words")


def _scheme(shape: TagShape) -> Scheme:
    if (shape.scheme or "bio") not in SCHEMES:
        what, remedy = f"spans cannot be written in the scheme {shape.scheme!r}", nearest(str(shape.scheme), SCHEMES)
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.scheme", remedy=remedy)
    return SCHEMES[shape.scheme or "bio"]


def read_span(span: Any, text: str, where: str) -> Place:
    """Start, end and label of one span that lies in its text; where it says its own `text`, that must stand there."""
    if isinstance(span, Mapping):
        parts = [span.get(name) for name in ("start", "end", "label")]
    else:
        parts = list(span) if isinstance(span, list | tuple) else []
    if len(parts) != 3 or not all(type(p) is int for p in parts[:2]) or not isinstance(parts[2], str) or not parts[2]:
        what = f"{printable(repr(span), 60)} is not a start, an end and a label"
        raise ModeledgeError("E-SPAN", what, where=where)
    start, end, label = int(parts[0]), int(parts[1]), str(parts[2])  # type: ignore[arg-type]
    if not 0 <= start < end <= len(text):
        what = f"the span {start} … {end} does not lie in a text of {len(text)} characters"
        raise ModeledgeError("E-SPAN", what, where=where)
    said = span.get("text") if isinstance(span, Mapping) else None
    if said is not None and said != text[start:end]:
        what = f"at {start} … {end} stands {printable(text[start:end], 40)!r}, not {printable(str(said), 40)!r}"
        raise ModeledgeError("E-SPAN", what, where=where, remedy="count characters, not bytes or UTF-16 units")
    return start, end, label


def _of_words(span: Place, words: Words, widen: bool, where: str) -> Span:
    """The words that a span of characters takes; space around them is not counted."""
    start, end, label = span
    first, last = _touched(span, words)
    if first >= last:
        raise ModeledgeError("E-SPAN", f"the span {start} … {end} holds no word", where=where)
    if _cuts(span, words) and not widen:
        what = f"the span {printable(words.text[start:end], 40)!r} cuts {printable(words.word(first, last), 60)!r}"
        remedy = "correct its ends, or set options.widen = true"
        raise ModeledgeError("E-SPAN", what, where=where, why="a tag belongs to a whole word", remedy=remedy)
    return first, last, label


def _touched(span: Place, words: Words) -> tuple[int, int]:
    """The first word that a span has a character of, and the one behind the last."""
    first = bisect_right(words.places, span[0], key=lambda place: place[1])
    return first, bisect_left(words.places, span[1], key=lambda place: place[0])


def _cuts(span: Place, words: Words) -> bool:
    """Does a span begin or end within a word?"""
    first, last = _touched(span, words)
    return first < last and (words.places[first][0] < span[0] or words.places[last - 1][1] > span[1])
