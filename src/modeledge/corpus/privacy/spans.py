"""Where personal data stands in a text, each place once.

Kinds are asked one after another, and a place that an earlier kind took is not given to a later one: of two spans that
overlap, that of the kind with the stronger proof stays (the order of the table `KINDS`: what has a structure of its own
and a checksum before what is only digits); of one kind the longer, then the earlier. So the answer is a function of the
text and the kinds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol


class Finder(Protocol):
    """(start, end) of each candidate of one kind in a text, in characters."""

    def __call__(self, text: str) -> Iterable[tuple[int, int]]: ...


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (excluded) of a text are of this kind."""

    start: int
    end: int
    kind: str


START = attrgetter("start")


def find(text: str, finders: Mapping[str, Finder]) -> list[Span]:
    """The spans of a text, in order, none overlapping another."""
    taken: list[Span] = []  # in order, none overlapping another: so only a neighbour can overlap a new one
    for kind, finder in finders.items():
        found = sorted(finder(text), key=lambda span: (span[0] - span[1], span[0]))
        for start, end in found:
            place = bisect_left(taken, start, key=START)
            before = taken[place - 1].end if place else 0
            behind = taken[place].start if place < len(taken) else len(text)
            if before <= start < end <= behind:
                taken.insert(place, Span(start, end, kind))
    return taken


def pieces(text: str, spans: Iterable[Span]) -> Iterator[tuple[str, Span | None]]:
    """The text in pieces: those of spans with their span, what is between with None."""
    place = 0
    for span in spans:
        yield text[place : span.start], None
        yield text[span.start : span.end], span
        place = span.end
    yield text[place:], None
