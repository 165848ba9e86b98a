"""Texts that are longer than a row: windows that overlap, and the characters behind their tokens.

A window begins every `stride` tokens until one reaches the end of the text (Devlin et al. 2019 use 128; there, as here,
the stride is the step, where transformers' tokenizers call the overlap by that name).
"""

from __future__ import annotations

import numpy as np

from modeledge.records import IntArray


def windows(count: int, room: int, stride: int) -> list[tuple[int, int]]:
    """First token and end of each window over so many tokens; every token is in one at least.

    >>> windows(10, 6, 3)
    [(0, 6), (3, 9), (6, 10)]
    """
    step, out = min(stride, room), [(0, min(room, count))]
    while out[-1][1] < count:
        start = out[-1][0] + step
        out.append((start, min(start + room, count)))
    return out


def trimmed(offsets: IntArray, text: str) -> IntArray:
    """From which to which character each token stands `[n, 2]`, white space at its ends left out.

    A token of white space alone gets no character: an answer neither begins nor ends with it.
    """
    count = len(text)
    solid = ~np.fromiter(map(str.isspace, text), dtype=np.bool_, count=count)
    places = np.arange(count + 1)
    following = np.append(np.where(solid, places[:-1], count), count)
    following = np.minimum.accumulate(following[::-1])[::-1]
    before = np.maximum.accumulate(np.insert(np.where(solid, places[1:], 0), 0, 0))
    starts, ends = following[offsets[:, 0]], before[offsets[:, 1]]
    empty = starts >= ends
    return np.stack([np.where(empty, offsets[:, 0], starts), np.where(empty, offsets[:, 0], ends)], 1)


def tokens_of(offsets: IntArray, start: int, end: int) -> tuple[int, int] | None:
    """First and last token that hold any of the characters `start … end`; `None` where no token does."""
    inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 1] > offsets[:, 0]))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None
