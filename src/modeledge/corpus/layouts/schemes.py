"""How chunks are written as one tag a token, and how to tell which way a file uses.

    Alex  is   in  New    York
    I-PER O    O   I-LOC  I-LOC    IOB1: B- only where a chunk follows one of its own type (Ramshaw and Marcus 1995)
    B-PER O    O   B-LOC  I-LOC    IOB2: every chunk begins with B-
    S-PER O    O   B-LOC  E-LOC    IOBES: ends and singles are marked too
    U-PER O    O   B-LOC  L-LOC    BILOU: the same with other letters

Read by the wrong scheme, tags still look like tags, and an entity F1 is wrong by a few points without a word. The
scheme is told from all sentences together: S and E, or U and L, decide at once; else what matters is how chunks begin.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["IOB1", "IOB2", "IOBES", "BILOU", "plain"]
TAG = re.compile(r"([BIESLU])-(.+)", re.S)
_LETTERS: dict[str, frozenset[str]] = {
    "IOB1": frozenset("BI"),
    "IOB2": frozenset("BI"),
    "IOBES": frozenset("BIES"),
    "BILOU": frozenset("BILU"),
}


@dataclass(frozen=True)
class Found:
    """A scheme, how many tags break it, and the sentence and tag of the first that does."""

    scheme: Scheme
    malformed: int = 0
    first: tuple[int, int] | None = None
    unknown: tuple[int, int] | None = None  # the first tag that belongs to no scheme, where others do


def parted(tag: str) -> tuple[str, str]:
    """The letter and the type of a tag: `B-PER` → ("B", "PER"); `O` → ("O", ""); any other → ("", tag)."""
    if tag == "O":
        return "O", ""
    match = TAG.fullmatch(tag)
    return (match[1], match[2]) if match else ("", tag)


def find_scheme(sentences: Sequence[Sequence[str]]) -> Found:
    """The scheme of the tags of many sentences; "plain" where most but O have no letter (parts of speech).

    >>> find_scheme([["I-PER", "O", "I-LOC", "B-LOC"]]).scheme
    'IOB1'
    >>> find_scheme([["B-PER", "O", "I-LOC"]])
    Found(scheme='IOB2', malformed=1, first=(0, 2), unknown=None)
    """
    split = [[parted(tag) for tag in tags] for tags in sentences]
    letters = Counter(letter for tags in split for letter, _ in tags)
    chunked = sum(letters.values()) - letters["O"] - letters[""]
    if letters[""] > chunked or not chunked:
        return Found("plain")
    unknown = _first(split, "")
    scheme = _scheme_of(letters, split)
    wrong = [(s, t) for s, tags in enumerate(split) for t in malformed(tags, scheme)]
    return Found(scheme, len(wrong), wrong[0] if wrong else None, unknown)


def _scheme_of(letters: Counter[str], split: Iterable[Sequence[tuple[str, str]]]) -> Scheme:
    ends, lasts = letters["E"] + letters["S"], letters["L"] + letters["U"]
    if ends or lasts:
        return "IOBES" if ends >= lasts else "BILOU"
    loose = tight = 0  # chunks that begin with I; B where IOB1 would write I
    for tags in split:
        before = ("O", "")
        for tag in tags:
            fresh = before[1] != tag[1] or before[0] in ("O", "")
            loose += tag[0] == "I" and fresh
            tight += tag[0] == "B" and fresh
            before = tag
    return "IOB1" if loose > tight else "IOB2"


def malformed(tags: Sequence[tuple[str, str]], scheme: Scheme) -> list[int]:
    """The places of tags that the scheme forbids where they stand; each tag as `parted` gives it."""
    if scheme == "plain":
        return []
    wrong, letters, closing = [], _LETTERS[scheme], scheme in ("IOBES", "BILOU")
    before = ("O", "")
    for place, (letter, kind) in enumerate([*tags, ("O", "")]):
        open_chunk = before[0] in ("B", "I") and closing
        inside = before[0] in ("B", "I") and before[1] == kind
        bad = letter not in letters and letter != "O"
        if scheme == "IOB1":
            bad = bad or (letter == "B" and not inside)
        elif letter in ("I", "E", "L"):
            bad = bad or not inside
        elif open_chunk and place:  # the chunk before was never closed
            wrong.append(place - 1)
        if bad:
            wrong.append(place)
        before = (letter, kind)
    return sorted(set(wrong))


def _first(split: Sequence[Sequence[tuple[str, str]]], letter: str) -> tuple[int, int] | None:
    return next(((s, t) for s, tags in enumerate(split) for t, tag in enumerate(tags) if tag[0] == letter), None)
