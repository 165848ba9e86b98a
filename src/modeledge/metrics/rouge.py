"""ROUGE: how much of a reference summary's wording a summary has (Lin 2004, W04-1013).

ROUGE-n counts shared n-grams, ROUGE-L the longest common subsequence of words, in order but not side by side. ROUGE-L
of a whole text takes it as one line; ROUGE-Lsum takes each line as a sentence, unites what any sentence of the summary
shares with a sentence of the reference, and counts no word twice. The marks here are F1 values, equal to the Python
package `rouge-score`: words are runs of a–z and 0–9 in lower case; with stemming, words of more than three letters are
cut to their Porter stem. Of several references the one with the highest F1 counts.

Common subsequences are found bit by bit in whole numbers of any length (Hyyrö 2004): one row of the usual table is one
number, in which the zeros below a place count the length up to it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from modeledge.metrics.metric import Tally, mean_of
from modeledge.metrics.stem import porter
from modeledge.metrics.text import text_pair

OTHER = re.compile(r"[^a-z0-9]+")
STEMMED_FROM = 4  # letters; rouge-score leaves shorter words alone
Kind = Literal["1", "2", "L", "Lsum"]


@dataclass(frozen=True)
class Overlap:
    """Precision (of the prediction's words), recall (of the reference's) and their harmonic mean."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """2PR / (P + R); 0 where both are 0."""
        seen = self.precision + self.recall
        return 2 * self.precision * self.recall / seen if seen else 0.0


def rouge(kind: Kind, *, stem: bool = False) -> Callable[[Any, Any], Tally]:
    """The metric's parts for one kind of ROUGE: the mean F1 over items, 0 … 1."""
    how = f"words:a-z0-9|stem:{'porter-nltk' if stem else 'no'}|reference:best-f1"

    def parts(predictions: Any, labels: Any) -> Tally:
        guesses, truths = text_pair(predictions, labels)
        marks = [
            max(overlap(kind, guess, truth, stem=stem).f1 for truth in golds)
            for guess, golds in zip(guesses, truths, strict=True)
        ]
        return mean_of(np.array(marks, np.float64), how)

    return parts


def overlap(kind: Kind, prediction: str, reference: str, *, stem: bool = False) -> Overlap:
    """One kind of ROUGE of one text against one reference."""
    if kind == "Lsum":
        return union_overlap(*([words(line, stem) for line in side.split("\n")] for side in (prediction, reference)))
    guess, truth = words(prediction, stem), words(reference, stem)
    if kind == "L":
        return shares(subsequence(truth, guess), len(guess), len(truth))
    shared, true = ngrams(guess, int(kind)), ngrams(truth, int(kind))
    return shares((shared & true).total(), shared.total(), true.total())


def words(text: str, stem: bool) -> list[str]:
    """The words that ROUGE compares."""
    found = OTHER.sub(" ", text.lower()).split()
    return [porter(word) if len(word) >= STEMMED_FROM else word for word in found] if stem else found


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of `n` words occurs."""
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def shares(shared: int, predicted: int, true: int) -> Overlap:
    """Counts as precision and recall; nothing shared with nothing is 0."""
    return Overlap(shared / max(predicted, 1), shared / max(true, 1))


def subsequence(truth: Sequence[str], guess: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    return len(guess) - lcs_rows(truth, guess)[-1].bit_count()


def lcs_rows(truth: Sequence[str], guess: Sequence[str]) -> list[int]:
    """One number for each prefix of `truth`, none first: bit j is 0 where the length grows at word j of `guess`."""
    places: dict[str, int] = {}
    for place, word in enumerate(guess):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(guess)) - 1
    rows = [full]
    for word in truth:
        row = rows[-1]
        matched = row & places.get(word, 0)
        rows.append(((row + matched) | (row - matched)) & full)
    return rows


def shared_places(truth: Sequence[str], guess: Sequence[str]) -> set[int]:
    """The places in `truth` of one longest common subsequence: the one that rouge-score's walk back finds."""
    rows = lcs_rows(truth, guess)

    def length(i: int, j: int) -> int:
        return j - (rows[i] & ((1 << j) - 1)).bit_count()

    found, i, j = set(), len(truth), len(guess)
    while i and j:
        if truth[i - 1] == guess[j - 1]:
            i, j = i - 1, j - 1
            found.add(i)
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1
    return found


def union_overlap(guess: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> Overlap:
    """ROUGE-Lsum of sentences (Lin 2004, section 3.2), no word of either side counted twice."""
    left = {"guess": Counter(w for s in guess for w in s), "truth": Counter(w for s in truth for w in s)}
    predicted, true = left["guess"].total(), left["truth"].total()
    shared = 0
    for sentence in truth:
        for place in sorted(set().union(*(shared_places(sentence, other) for other in guess))):
            word = sentence[place]
            if all(side[word] > 0 for side in left.values()):
                shared += 1
                for side in left.values():
                    side[word] -= 1
    return shares(shared, predicted, true)
