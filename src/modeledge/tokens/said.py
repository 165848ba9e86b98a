"""Text that remembers, for each character, who said it.

A chat template mixes its own marks with what people wrote. Once they are one string, nobody can tell the `<|im_end|>`
that ends a turn from the one that a user typed to end it. `Said` is a string with a second one of the same length
beside it, in which each character stands for the speaker of its neighbour: `TEMPLATE`, or `speaker(n)` for turn n. The
operations that templates use keep the two in step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

TEMPLATE = "\0"
GENERATED = 1 << 19  # added to a speaker within {% generation %}: what the model is trained to say
OWN = TEMPLATE + chr(GENERATED)  # the template's own characters


def speaker(turn: int) -> str:
    """The sign of a turn; -1 is anyone who is no turn (tools, documents, variables)."""
    return chr(turn + 2)


class Said(str):
    """A string and its speakers, `who`."""

    who: str

    def __new__(cls, text: str, who: str) -> Said:
        made = str.__new__(cls, text)
        made.who = who
        assert len(who) == len(text)
        return made

    def __getitem__(self, key: SupportsIndex | slice) -> Said:
        return Said(str.__getitem__(self, key), self.who[key])

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))

    def __add__(self, other: str) -> Said:
        return joined([self, other])

    def __radd__(self, other: str) -> Said:
        return joined([other, self])

    def __str__(self) -> str:
        return self

    def strip(self, chars: str | None = None, /) -> Said:
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None, /) -> Said:
        return self[len(self) - len(str.lstrip(self, chars)) :]

    def rstrip(self, chars: str | None = None, /) -> Said:
        return self[: len(str.rstrip(self, chars))]

    def removeprefix(self, prefix: str, /) -> Said:
        return self[len(prefix) :] if prefix and self.startswith(prefix) else self

    def removesuffix(self, suffix: str, /) -> Said:
        return self[: -len(suffix)] if suffix and self.endswith(suffix) else self

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Any]:
        return self._pieces(str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Any]:
        return self._pieces(str.rsplit(self, sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[Any]:
        return self._pieces(str.splitlines(self, keepends), None)

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> Said:
        if not old:
            return whole(str.replace(self, old, new, count), [self, new])
        return joined(self.split(old, count), new)

    def join(self, parts: Iterable[str], /) -> Said:
        return joined(parts, self)

    def lower(self) -> Said:
        return self._mapped(str.lower(self))

    def upper(self) -> Said:
        return self._mapped(str.upper(self))

    def title(self) -> Said:
        return self._mapped(str.title(self))

    def capitalize(self) -> Said:
        return self._mapped(str.capitalize(self))

    def _mapped(self, text: str) -> Said:
        return Said(text, self.who) if len(text) == len(self) else whole(text, [self])

    def _pieces(self, pieces: list[str], sep: str | None) -> list[Any]:
        """The pieces of a split, found again: `sep` apart, or else after white space that no piece begins with."""
        found, at = [], 0
        for piece in pieces:
            at = self.index(piece, at) if sep is None else at
            found.append(self[at : at + len(piece)])
            at += len(piece) + len(sep or "")
        return found


def who_said(text: str) -> str:
    """The speakers of any string: one that does not remember is the template's own."""
    return text.who if isinstance(text, Said) else TEMPLATE * len(text)


def joined(parts: Iterable[str], between: str = "") -> Said:
    """The parts as one string."""
    texts = list(parts)
    text = str.join(between, [str.__str__(part) for part in texts])
    return Said(text, who_said(between).join(map(who_said, texts)))


def whole(text: str, sources: Iterable[object]) -> Said:
    """A string of which it is not known which character came from where: all of it is the first speaker's among its
    sources who is not the template, so that nothing in it counts as the template's own."""
    for source in sources:
        others = who_said(source).strip(OWN) if isinstance(source, Said) else ""
        if others:
            return Said(text, others[0] * len(text))
    return Said(text, TEMPLATE * len(text))


def generated(text: str) -> Said:
    """The same, marked as what the model is to say."""
    return Said(str.__str__(text), "".join(chr(ord(c) | GENERATED) for c in who_said(text)))


def turn_of(sign: str) -> int:
    """The turn of a speaker's sign, -1 where it is the template or no turn."""
    return max((ord(sign) & ~GENERATED) - 2, -1)
