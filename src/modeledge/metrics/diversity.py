"""How varied is generated text, in itself and across items? No reference is read.

distinct-n (Li et al. 2016, N16-1014) is the number of different n-grams over the number of all, across the whole set: a
system that answers everything with "I don't know" is near 0. It falls with the size of the set, so only sets of one
size compare. Self-repetition (seq-rep-n of Welleck et al. 2020, arXiv 1908.04319) is the share of n-grams that repeat
an earlier one of the same text: the sign of a decoder that loops. The type/token ratio is different words over words,
each text by itself, then the mean. Tokens are what stands between white space, in the case it has.

An item that is drawn twice would count as repetition across items, so distinct-n has a jackknife interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import LeftOut, Tally, mean_of
from modeledge.metrics.ranking import at_least_one
from modeledge.metrics.text import lone_texts

TOKENS = "tokens:white-space"


def distinct(n: int) -> Callable[[Any, Any], LeftOut]:
    """distinct-n over all texts, 0 … 1; 0 where no text has n tokens."""
    at_least_one(n)

    def parts(predictions: Any, labels: Any) -> LeftOut:
        bags = [grams(text, n) for text in lone_texts(predictions, labels)]
        everywhere: Counter[tuple[str, ...]] = Counter()
        for bag in bags:
            everywhere.update(bag)
        types, tokens = len(everywhere), everywhere.total()
        without = [
            share(types - sum(everywhere[gram] == count for gram, count in bag.items()), tokens - bag.total())
            for bag in bags
        ]
        return LeftOut(share(types, tokens), np.array(without, np.float64), f"n:{n}|{TOKENS}")

    return parts


def self_repetition(n: int) -> Callable[[Any, Any], Tally]:
    """The mean over texts of 1 − different n-grams / n-grams, 0 … 1; a text shorter than n repeats nothing."""
    at_least_one(n)

    def parts(predictions: Any, labels: Any) -> Tally:
        bags = [grams(text, n) for text in lone_texts(predictions, labels)]
        return mean_of(np.array([1 - len(bag) / bag.total() if bag else 0.0 for bag in bags]), f"n:{n}|{TOKENS}")

    return parts


def type_token(predictions: Any, labels: Any) -> Tally:
    """The mean over texts of different words / words, 0 … 1; an empty text is `E-SCORES`: it has no ratio."""
    bags = [grams(text, 1) for text in lone_texts(predictions, labels)]
    for item, bag in enumerate(bags):
        if not bag:
            raise ModeledgeError("E-SCORES", "the text holds no word", where=f"predictions[{item}]")
    return mean_of(np.array([len(bag) / bag.total() for bag in bags]), TOKENS)


def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n tokens occurs in a text."""
    tokens = text.split()
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def share(part: int, whole: int) -> float:
    """part / whole; 0 of nothing."""
    return part / whole if whole else 0.0
