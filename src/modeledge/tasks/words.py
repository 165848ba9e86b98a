"""Words and the pieces of a tokenizer: which piece a word is read at, and windows where a sentence is too long.

A row's words are joined by single spaces and encoded as one text, so that every tokenizer cuts them as it would in
running text (byte-level and SentencePiece vocabularies mark a word by the space before it). Which piece belongs to
which word is then a matter of characters, so a word that vanishes (control characters) shifts no other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from modeledge.records import IntArray


@dataclass(frozen=True)
class Words:
    """The words of one row: the text that they stand in, and from which to which character each does."""

    text: str
    places: tuple[tuple[int, int], ...]

    @staticmethod
    def joined(words: Sequence[str]) -> Words:
        """Words that are given, between single spaces."""
        starts = accumulate((len(word) + 1 for word in words), initial=0)
        return Words(" ".join(words), tuple((s, s + len(word)) for s, word in zip(starts, words, strict=False)))

    @staticmethod
    def found(text: str) -> Words:
        """The words of a text: runs of letters, marks and digits; every other visible character, and every character
        of a script that sets no spaces between words (Chinese, Japanese), is a word of its own."""
        places: list[tuple[int, int]] = []
        running = False
        for i, char in enumerate(text):
            kind = _kind(char)
            if kind == "run" and running:
                places[-1] = (places[-1][0], i + 1)
            elif kind != "space":
                places.append((i, i + 1))
            running = kind == "run"
        return Words(text, tuple(places))

    def __len__(self) -> int:
        return len(self.places)

    def word(self, first: int, last: int | None = None) -> str:
        """The text from a word up to, not including, another."""
        return self.text[self.places[first][0] : self.places[first if last is None else last - 1][1]]


@lru_cache(maxsize=1 << 16)
def _kind(char: str) -> str:
    if char.isspace():
        return "space"
    code = ord(char)
    if 0x2E80 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF:
        return "alone"
    joiner = char in "_\u200c\u200d"
    return "run" if joiner or unicodedata.category(char)[0] in "LMN" else "alone"


def read_places(words: Words, offsets: IntArray) -> IntArray:
    """The number of the piece that each word is read at `[words]`: the first one that begins in it.

    `offsets [pieces, 2]` are characters of the text. Where no piece begins in a word it is read at the one that covers
    it (a piece may span two words: `…"` in byte-level vocabularies); −1 where there is none.
    """
    out = np.full(len(words), -1, dtype=np.int64)
    covering = out.copy()
    word = 0
    for piece, (start, end) in enumerate(offsets.tolist()):
        while start < end and words.text[start].isspace():
            start += 1
        while word < len(words) and words.places[word][1] <= start:
            word += 1
        other = word if start < end else len(words)
        while other < len(words) and words.places[other][0] < end:
            side = out if words.places[other][0] <= start else covering
            side[other] = piece if side[other] < 0 else side[other]
            other += 1
    return np.where(out >= 0, out, covering)


def stop_places(reads: IntArray, pieces: int) -> IntArray:
    """The place behind the last piece of each word `[words]`: where the next word is read, or the end of the text.

    Words that are read at one piece end behind it together; a word without a piece has none (−1)."""
    known = np.unique(reads[reads >= 0])
    stops = np.append(known[1:], pieces)
    return np.where(reads >= 0, stops[np.searchsorted(known, np.maximum(reads, 0))], -1) if len(known) else reads


def windows(reads: IntArray, pieces: int, room: int, stride: int, *, both: bool) -> list[tuple[slice, IntArray]]:
    """Which pieces stand in each window, and the numbers of the words that it answers.

    Windows are `room` pieces long and share `stride` with their neighbour. Each word that has a piece is answered by
    exactly one: where it has the most context, on its poorer side (Devlin et al.'s rule for SQuAD) where a model reads
    `both` ways, else on its left. A window that answers no word is left out; one is always kept.
    """
    starts = list(range(0, max(pieces - stride, 1), room - stride)) if pieces > room else [0]
    known = np.flatnonzero(reads >= 0)
    left = reads[known][None, :] - np.array(starts)[:, None]
    right = np.minimum(np.array(starts) + room, pieces)[:, None] - 1 - reads[known][None, :]
    context: npt.NDArray[np.int64] = np.where((left < 0) | (right < 0), -1, np.minimum(left, right) if both else left)
    owner = context.argmax(0)
    parts = [(slice(s, min(s + room, pieces)), known[owner == n]) for n, s in enumerate(starts)]
    return [part for part in parts if len(part[1])] or parts[:1]
