"""Text → ids of many texts in one array: what a corpus asks of a tokenizer, without a loop over tokens.

A `Coder` gives the ids of a list of texts as one array with the length of each text. `tokens.coders` chooses one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from modeledge.records import IntArray


@dataclass(frozen=True, slots=True)
class Flat:
    """The ids of some texts one after another, uint32 `[tokens]`, and how many each has, int64 `[texts]`."""

    ids: IntArray
    lengths: IntArray


class Coder(Protocol):
    """Texts to ids. A value that can be sent to other processes."""

    name: str

    def __call__(self, texts: Sequence[str]) -> Flat: ...


class Encoder(Protocol):
    """What can encode; `Tokenizer` is one."""

    def encode_batch(self, texts: Sequence[str]) -> Sequence[IntArray]: ...


class LibraryCoder:
    """The tokenizer as it is."""

    name = "tokenizers"

    def __init__(self, tokenizer: Encoder) -> None:
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> Flat:
        return flat(self._tokenizer.encode_batch(texts))


def flat(rows: Sequence[IntArray]) -> Flat:
    """Rows of ids as one."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return Flat(np.concatenate(rows).astype(np.uint32) if rows else np.zeros(0, np.uint32), lengths)
