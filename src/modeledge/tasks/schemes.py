"""Tags that spell spans: what a prefix means, which tags may stand side by side, and from tags to spans and back.

BIO (Ramshaw and Marcus 1995): B-X begins a span of type X, I-X goes on, O is outside. IOBES adds E-X, where a span
ends, and S-X, a span of one word; BILOU is the same with L and U, BMES with M. Spans are read as conlleval and seqeval
read them: an I-X that follows no X begins a span, so every list of tags has one reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.tasks.decode import Steps

Span: TypeAlias = tuple[int, int, str]  # first word, word behind the last, type
OUTSIDE = "O"
REFUSED = -1e6  # the price of a step that the scheme forbids: taken only where there is no other way


@dataclass(frozen=True)
class Scheme:
    """The letters of a scheme: of a span's first, middle and last word, and of a span of one word."""

    name: str
    begin: str
    inside: str
    end: str
    single: str

    @property
    def letters(self) -> frozenset[str]:
        return frozenset((self.begin, self.inside, self.end, self.single))

    def follows(self, before: str | None, tag: str | None) -> bool:
        """May `tag` stand behind `before`? `None` is the edge of the sentence."""
        last, kind = split(before)
        letter, other = split(tag)
        open_ended = self.end == self.inside  # BIO: a span may end at any of its words
        started = last in (self.begin, self.inside)
        if letter in (self.inside, self.end) and letter not in (self.begin, self.single):
            return started and kind == other
        return open_ended or not started

    def spelled(self, size: int) -> list[str]:
        """The letters of a span of so many words."""
        if size == 1:
            return [self.single]
        return [self.begin, *[self.inside] * (size - 2), self.end]


SCHEMES = {
    "bio": Scheme("bio", "B", "I", "I", "B"),
    "iobes": Scheme("iobes", "B", "I", "E", "S"),
    "bilou": Scheme("bilou", "B", "I", "L", "U"),
    "bmes": Scheme("bmes", "B", "M", "E", "S"),
}
LETTERS = frozenset("BIESLUM")


def split(tag: str | None) -> tuple[str, str]:
    """`B-LOC` → `B` and `LOC`; a tag without a prefix, and the edge, have no letter."""
    letter, dash, kind = (tag or OUTSIDE).partition("-")
    return (letter, kind) if dash and len(letter) == 1 and kind else ("", "")


def scheme_of(names: Iterable[str], asked: str | None = None) -> Scheme | None:
    """The scheme that all tags fit, or none: tags of words (parts of speech) spell no span.

    `asked` is a row of `SCHEMES` or "none". Raises `E-TAG-SCHEME` where tags with and without a prefix are mixed, where
    the prefixes are of no scheme, and where they are not of the one that is asked for; `E-CONFIG-VALUE` for no scheme.
    """
    if asked not in (None, "none", *SCHEMES):
        what = f"there is no tag scheme {asked!r}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.scheme", remedy=nearest(str(asked), SCHEMES))
    tags = sorted(set(names) - {OUTSIDE})
    letters = {split(tag)[0] for tag in tags}
    if asked == "none" or (asked is None and not letters & LETTERS and ("" in letters or not tags)):
        return None
    remedy = 'repair them, or take them as they are with options.scheme = "none"'
    if "" in letters:
        plain = next(tag for tag in tags if not split(tag)[0])
        what = f"{printable(plain, 40)!r} has no prefix, {printable(max(tags, key=_prefixed), 40)!r} has one"
        raise ModeledgeError("E-TAG-SCHEME", what, remedy=remedy)
    fits = [s for name, s in SCHEMES.items() if letters <= s.letters and asked in (None, name)]
    if not fits:
        known = f"the scheme {asked}" if asked else f"any of {', '.join(SCHEMES)}"
        what = f"the prefixes {', '.join(sorted(letters))} are not of {known}"
        raise ModeledgeError("E-TAG-SCHEME", what, remedy=remedy)
    return fits[0]


def _prefixed(tag: str) -> bool:
    return bool(split(tag)[0])


def breaks(scheme: Scheme, tags: Sequence[str]) -> list[int]:
    """The words whose tag may not stand behind the one before it; a span that the sentence leaves open counts there."""
    edged = [None, *tags, None]
    wrong = [i for i in range(len(tags) + 1) if not scheme.follows(edged[i], edged[i + 1])]
    return sorted({min(i, len(tags) - 1) for i in wrong})


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans that tags spell, as conlleval reads them: of any scheme here, and of tags that break it."""
    out: list[Span] = []
    begun: int | None = None
    kind, last = "", ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        letter, other = split(tag)
        fresh = letter in "BSU" or other != kind or last in "ESLU"
        if begun is not None and (not letter or fresh):
            out.append((begun, i, kind))
            begun = None
        if letter and begun is None:
            begun, kind = i, other
        last = letter or "-"
    return out


def tags_of(spans: Iterable[Span], size: int, scheme: Scheme) -> list[str]:
    """The tags of so many words that spell these spans, which do not overlap."""
    out = [OUTSIDE] * size
    for first, last, kind in spans:
        out[first:last] = [f"{letter}-{kind}" for letter in scheme.spelled(last - first)]
    return out


def legal_steps(names: Sequence[str], scheme: Scheme) -> Steps:
    """0 for each step that the scheme allows, `REFUSED` for the others."""

    def price(before: str | None, tag: str | None) -> float:
        return 0.0 if scheme.follows(before, tag) else REFUSED

    return Steps(
        np.array([price(None, name) for name in names]),
        np.array([[price(before, name) for name in names] for before in names]),
        np.array([price(name, None) for name in names]),
    )
