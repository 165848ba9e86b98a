"""BART's noises (Lewis et al. 2020, arXiv 1910.13461, section 2.2): the text is damaged in any way, and all of it is
written again.

Of the text A B C . D E . (figure 2), in the order in which they act here, after the authors' code:

    sentence permutation  D E . A B C .    sentences in a random order
    text infilling        A _ . D _ E .    spans of Poisson(3) tokens, each one mask; one of none is a mask put in
    token masking         A _ C . _ E .    a token, one mask
    token deletion        A . C . E .      a token taken out: also where it stood must be found
    document rotation     C . D E . A B    another token comes first

BART itself fills in 30 % of the tokens and permutes all sentences (section 5.1): that is the default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.objectives.damage import Damage, Damaged, Generator, chosen, tokens_of
from modeledge.objectives.form import Sizes
from modeledge.records import Example, IntArray

SENTENCES = "sentences"  # the channel that is 1 where a token begins a sentence


@dataclass(frozen=True)
class Bart(Damage):
    """The five noises; a share of 0 is none of it, and `permute` and `rotate` are chances for each example.

    `infill`, `masking` and `delete` are shares of the tokens, `poisson` the mean length of a span that is filled in.
    Sentences are read from the channel "sentences" where they are permuted; the part of a sentence with which an
    example begins is one of them.
    """

    mask: int
    infill: float = 0.3
    poisson: float = 3.0
    permute: float = 1.0
    masking: float = 0.0
    delete: float = 0.0
    rotate: float = 0.0

    @property
    def channels(self) -> frozenset[str]:
        """Sentences, where they are permuted."""
        return frozenset({SENTENCES}) if self.permute else frozenset()

    def __call__(self, example: Example, random: Generator) -> Damaged:
        ids = told = tokens_of(example)
        if random.random() < self.permute:
            told = permuted(told, sentences_of(example), random)
        if self.infill:
            told = infilled(told, span_lengths(len(told), self.infill, self.poisson, random), self.mask, random)
        if self.masking:
            told = np.where(chosen(len(told), self.masking, random), self.mask, told)
        if self.delete and len(told) > 1:
            told = told[~chosen(len(told), self.delete, random)]
        if random.random() < self.rotate:
            told = np.roll(told, -int(random.integers(len(told))))
        return Damaged(told, ids)

    def sizes(self, tokens: int) -> Sizes:
        """Masks never outnumber what they hide."""
        return [(tokens, tokens)]


def sentences_of(example: Example) -> IntArray:
    """Where the sentences of an example begin, 0 among them, rising (`E-CONFIG` where nobody said)."""
    if SENTENCES not in example.channels:
        what, remedy = "nothing says where sentences begin", "build the shards with the channel, or set permute = 0"
        raise ModeledgeError("E-CONFIG", what, where=example.where or f"example {example.index}", remedy=remedy)
    starts = np.flatnonzero(np.asarray(example.channels[SENTENCES]) == 1)
    return starts if len(starts) and starts[0] == 0 else np.append(0, starts)


def permuted(ids: IntArray, starts: IntArray, random: Generator) -> IntArray:
    """The sentences that begin at `starts` in a random order."""
    parts = np.split(ids, starts[1:])
    return np.concatenate([parts[i] for i in random.permutation(len(parts))])


def span_lengths(tokens: int, share: float, poisson: float, random: Generator) -> IntArray:
    """Poisson lengths that add up to round(`share` · `tokens`), at least 1: the last is cut to what is missing.

    Some are 0. There are never more spans than hidden tokens, so that the text does not grow: zeros beyond that (only
    texts of a few tokens have them) are left out.
    """
    budget = max(round(share * tokens), 1)
    drawn = np.zeros(0, dtype=np.int64)
    while drawn.sum() < budget:
        drawn = np.append(drawn, random.poisson(poisson, int(budget / poisson) + 8))
    total = np.cumsum(drawn)
    lengths = drawn[: int(np.searchsorted(total, budget)) + 1]
    lengths[-1] -= total[len(lengths) - 1] - budget
    surplus = np.flatnonzero(lengths == 0)[: max(len(lengths) - budget, 0)]
    return np.delete(lengths, surplus)


def infilled(ids: IntArray, lengths: IntArray, mask: int, random: Generator) -> IntArray:
    """Spans of these lengths at random places become one mask each: they and the tokens that stay are laid in a random
    order, so that no two overlap and every arrangement is as likely."""
    items = len(ids) - int(lengths.sum()) + len(lengths)
    places = np.sort(random.choice(items, len(lengths), replace=False))
    return filled_in(ids, places, random.permutation(lengths), mask)


def filled_in(ids: IntArray, places: IntArray, lengths: IntArray, mask: int) -> IntArray:
    """The text with span i, `lengths[i]` tokens long, as a mask at `places[i]` of the result."""
    before = np.cumsum(lengths) - lengths
    starts = places - np.arange(len(places)) + before
    change = np.zeros(len(ids) + 1, dtype=np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, starts + lengths, -1)
    kept = ids[np.cumsum(change)[:-1] == 0]
    return np.insert(kept, places - np.arange(len(places)), mask)
