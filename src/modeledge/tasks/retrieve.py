"""BM25: the passages that share a question's rare words, and the open-book row beside the closed-book one.

    score(q, d) = Σ_{t in q} idf(t) · tf(t, d) · (k₁ + 1) / (tf(t, d) + k₁ · (1 − b + b · |d| / mean |d|))
    idf(t) = ln(1 + (N − n(t) + ½) / (n(t) + ½))

(Robertson and Zaragoza 2009, equations 3.4 and 3.15; the 1 inside the logarithm is Lucene's, so that no word that half
of the passages hold counts against them.) k₁ = 0.9 and b = 0.4 are the values of DPR's baseline (Karpukhin et al. 2020,
arXiv 2004.04906, section 5.1). A word of the question counts as often as it stands there.

A reader answers out of the best passages: here it is a prompt that holds them, which any decoder can be asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix

from modeledge.errors import ModeledgeError
from modeledge.records import FloatArray
from modeledge.tasks.task import Generate, Row
from modeledge.tasks.write import WriteTask

WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Runs of letters, digits and underscores, lower case.

    >>> words_of("Who's THE 2nd?")
    ['who', 's', 'the', '2nd']
    """
    return WORD.findall(text.lower())


@dataclass(frozen=True)
class Hit:
    """A passage's number and its score."""

    passage: int
    score: float


class Bm25:
    """An index over passages; what each word adds to each passage is computed once and kept sparse."""

    def __init__(self, passages: Sequence[str], *, k1: float = 0.9, b: float = 0.4) -> None:
        if not k1 >= 0 or not 0 <= b <= 1:
            raise ModeledgeError("E-USAGE", f"k1 = {k1}, b = {b}", remedy="k1 is at least 0, b from 0 to 1")
        if not passages:
            raise ModeledgeError("E-NO-RECORDS", "there is no passage to look in")
        counts = [Counter(words_of(passage)) for passage in passages]
        self.passages = list(passages)
        self.words = {word: n for n, word in enumerate(sorted(set().union(*counts)))}
        lengths = np.array([sum(count.values()) for count in counts], dtype=np.float64)
        rows = np.array([d for d, count in enumerate(counts) for _ in count], dtype=np.int64)
        columns = np.array([self.words[word] for count in counts for word in count], dtype=np.int64)
        found = np.array([n for count in counts for n in count.values()], dtype=np.float64)
        holding = np.bincount(columns, minlength=len(self.words))
        rarity = np.log1p((len(passages) - holding + 0.5) / (holding + 0.5))
        share = lengths / max(lengths.mean(), 1e-12)
        values = rarity[columns] * found * (k1 + 1) / (found + k1 * (1 - b + b * share[rows]))
        self.weights = csc_matrix((values, (rows, columns)), shape=(len(passages), max(len(self.words), 1)))

    def scores(self, query: str) -> FloatArray:
        """The score of each passage `[passages]`, float64; words that no passage holds add nothing."""
        asked = Counter(word for word in words_of(query) if word in self.words)
        total = np.zeros(len(self.passages))
        for word, count in sorted(asked.items()):
            column = self.words[word]
            part = slice(self.weights.indptr[column], self.weights.indptr[column + 1])
            total[self.weights.indices[part]] += count * self.weights.data[part]
        return total

    def best(self, query: str, count: int = 5) -> list[Hit]:
        """The best passages that share a word with the query, best first; of equals the first in the list."""
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:count]
        return [Hit(int(n), float(scores[n])) for n in order if scores[n] > 0]


def open_book(task: WriteTask, index: Bm25, row: Row, count: int = 3) -> Generate:
    """The task's own prompt behind the best passages, one a paragraph, the best one nearest to the question."""
    asked = task.request(row)
    assert isinstance(asked, Generate), "a text is written, not chosen"
    passages = [index.passages[hit.passage].strip() for hit in index.best(task.source_of(row, 0), count)]
    return Generate("\n\n".join([*reversed(passages), asked.prompt]), asked.stop, asked.max_new_tokens)
