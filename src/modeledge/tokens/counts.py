"""Words and how often they occur, in bounded memory: all that the training of a tokenizer needs of a corpus.

A trainer sees a text as its words (the pieces of `tokens.words`), so a corpus of any size is a table of counts. It is
held in memory up to `memory` bytes; beyond, it is sorted, written to a temporary file and begun afresh, and files are
merged at the end (external sorting, Knuth 1973, section 5.4). The trainer's own memory grows with the number of
*distinct* words, which also has a bound: where there are more, the rarest go, all of one count together, and that is
said. Nothing is sampled: counts are exact, and below the bounds the result is that of the texts themselves.
"""

from __future__ import annotations

import heapq
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import IO

import tokenizers

from modeledge.files import Runs
from modeledge.tokens.words import pieces_of

A_PIECE = 130  # bytes of a piece in a table of counts, beside its characters
A_WORD = 1500  # bytes of a distinct word in a trainer, about: its symbols, its pairs and where they are
TOGETHER = 1 << 12  # characters that a trainer is given at once: in larger pieces it is slower


class WordCounts:
    """Counts of pieces; `add` all texts, then iterate over `repeated()`, which may be done again."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._counts: Counter[str] = Counter()
        self._held = 0
        self._runs = Runs(tempfile.TemporaryFile, lambda runs: _written(_merged(runs)))
        self.notes: list[str] = []

    def __enter__(self) -> WordCounts:
        return self

    def __exit__(self, *error: object) -> None:
        self._runs.close()

    def add(self, text: str) -> None:
        """Count the pieces of a text."""
        before = len(self._counts)
        pieces = pieces_of(text)
        self._counts.update(pieces)
        grown = len(self._counts) - before
        self._held += grown * A_PIECE + (len(text) * grown // max(len(pieces), 1))
        if self._held > self._memory // 2:
            self._spill()

    def merged(self) -> Iterator[tuple[str, int]]:
        """Each piece once, in the order of code points, with its count."""
        return _merged(self._runs.files, iter(sorted(self._counts.items())))

    def least(self) -> int:
        """The smallest count that is kept, so that the trainer stays within half of the memory."""
        room, least = max(self._memory // 2 // A_WORD, 1), 1
        if not self._runs and len(self._counts) <= room:
            return least
        sizes: Counter[int] = Counter()
        for _, count in self.merged():
            sizes[min(count, 1 << 20)] += 1
        left = sum(sizes.values())
        for count in sorted(sizes):
            if left <= room:
                break
            left, least = left - sizes[count], count + 1
        if least > 1:
            gone = sum(number for count, number in sizes.items() if count < least)
            what = f"{gone:,} words that occur less than {least} times were left out of the training"
            self.notes.append(f"{what}, as memory is {self._memory >> 20:,} MB")
        return least

    def repeated(self, cut: Callable[[str], Iterable[str]], least: int = 1) -> Iterator[str]:
        """Texts of words with a space between them, in which each word of `cut(piece)` stands as often as the piece
        was counted; of the pieces that occur `least` times."""
        held: list[str] = []
        room = TOGETHER
        for piece, count in self.merged() if self._runs else self._counts.items():
            if count < least:
                continue
            for word in cut(piece):
                left = count
                while left > 0:
                    number = min(left, max(room // (len(word) + 1), 1))
                    held.append(" ".join([word] * number))
                    left, room = left - number, room - number * (len(word) + 1)
                    if room <= len(word):
                        yield " ".join(held)
                        held, room = [], TOGETHER
        if held:
            yield " ".join(held)

    def _spill(self) -> None:
        """Write the table, sorted, and begin another."""
        self._runs.add(_written(sorted(self._counts.items())))
        self._counts, self._held = Counter(), 0


class Cut:
    """Counted words as a pipeline cuts them, as often as it is asked for them."""

    def __init__(self, words: WordCounts, least: int, pipeline: tokenizers.Tokenizer) -> None:
        self.words, self.least = words, least
        self._normalizer, self._splitter = pipeline.normalizer, pipeline.pre_tokenizer

    def __iter__(self) -> Iterator[str]:
        return self.words.repeated(self._words_of, self.least)

    def _words_of(self, piece: str) -> Iterator[str]:
        """What the pipeline's trainer would make of a piece."""
        text = piece if self._normalizer is None else self._normalizer.normalize_str(piece)
        return (word for word, _ in self._splitter.pre_tokenize_str(text))


def _written(entries: Iterable[tuple[str, int]]) -> Iterator[bytes]:
    """Entries as they are written."""
    return (json.dumps(entry).encode() + b"\n" for entry in entries)


def _merged(runs: Iterable[IO[bytes]], *more: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Each piece of several runs once, with its count in all."""
    for piece, entries in groupby(heapq.merge(*map(_read, runs), *more), key=itemgetter(0)):
        yield piece, sum(count for _, count in entries)


def _read(run: IO[bytes]) -> Iterator[tuple[str, int]]:
    """A run from its beginning. Runs are merged, so each is read by itself."""
    run.seek(0)
    place = run.tell()
    while lines := _lines(run, place):
        for line in lines:
            piece, count = json.loads(line)
            yield piece, count
        place = run.tell()


def _lines(run: IO[bytes], place: int) -> list[bytes]:
    run.seek(place)
    return run.readlines(1 << 17)  # a piece of each run is held while they are merged


def counted(texts: Iterable[str], memory: int) -> WordCounts:
    """The counts of some texts."""
    counts = WordCounts(memory)
    for text in texts:
        counts.add(text)
    return counts
