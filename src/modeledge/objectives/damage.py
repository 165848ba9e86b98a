"""What every way to damage a text gives, and the draws that they share.

A damage is a plain frozen value: example and random numbers in, inputs and targets out. `modeledge.objectives.corrupt`
holds T5's and MASS's, `modeledge.objectives.bart` BART's, `modeledge.objectives.mixture` UL2's mixture of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.objectives.form import Sizes
from modeledge.records import Example, IntArray

Generator = np.random.Generator
Mask = npt.NDArray[np.bool_]
FAR = (
    5.0  # standard deviations: what chance gives once in a few million examples is bounded, so that rows have a length
)


@dataclass(frozen=True)
class Damaged:
    """What is read and what is to be written; the latter stood at place `begins` where its decoder is to know."""

    inputs: IntArray
    targets: IntArray
    begins: int = 0


class Damage(ABC):
    """Example → inputs and targets; every subclass is a plain frozen dataclass."""

    @property
    def channels(self) -> frozenset[str]:
        """What shards must carry beside ids."""
        return frozenset()

    @abstractmethod
    def __call__(self, example: Example, random: Generator) -> Damaged:
        """The example after this noise. Raises `E-NO-TARGET` for a text that is too short."""

    @abstractmethod
    def sizes(self, tokens: int) -> Sizes:
        """The most inputs and targets that a text of so many tokens becomes; several pairs where they trade off."""

    def needs(self, tokens: int) -> int:
        """The most sentinels that a text of so many tokens asks for."""
        return 0


def tokens_of(example: Example) -> IntArray:
    """The ids `[n]` of a text that has something to hide and something to leave (`E-NO-TARGET`)."""
    if len(example.ids) < 2:
        where, what = example.where or f"example {example.index}", f"{len(example.ids)} tokens cannot be damaged"
        raise ModeledgeError("E-NO-TARGET", what, where=where, remedy="give it two or more, or drop it")
    return np.asarray(example.ids, dtype=np.int64)


# ---- which tokens


def composition(total: int, parts: int, random: Generator) -> IntArray:
    """`parts` whole numbers of at least 1 that add up to `total`, each way as likely, `[parts]`."""
    cuts = np.sort(random.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def chosen(tokens: int, rate: float, random: Generator) -> Mask:
    """Each token with chance `rate`, `[tokens]`; at least one, at most `hidden_at_most`."""
    where: Mask = random.random(tokens) < rate
    if not where.any():
        where[random.integers(tokens)] = True
    surplus = np.flatnonzero(where)[hidden_at_most(tokens, rate) :]
    where[surplus] = False
    return where


def hidden_at_most(tokens: int, rate: float) -> int:
    """The most tokens that are hidden where each is chosen for itself: 5 standard deviations over the mean, not all."""
    far = tokens * rate + FAR * math.sqrt(tokens * rate * (1 - rate))
    return max(1, min(math.ceil(far), tokens - 1))


def runs_at_most(tokens: int, rate: float) -> int:
    """The most runs of hidden tokens, likewise: a run begins at a token with chance rate · (1 − rate)."""
    begins = rate * (1 - rate)
    far = rate + tokens * begins + FAR * math.sqrt(tokens * begins * (1 - begins))
    return max(1, min(math.ceil(far), hidden_at_most(tokens, rate), (tokens + 1) // 2))


def runs(where: Mask) -> IntArray:
    """The runs of chosen tokens: (start, stop), `[runs, 2]`."""
    edges = np.diff(np.concatenate([[0], where.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], 1)


# ---- what becomes of them


def replaced(ids: IntArray, spans: IntArray, sentinels: tuple[int, ...]) -> Damaged:
    """Each span becomes a sentinel of its own; the targets are the spans, each behind its sentinel.

    Where text follows the last span one more sentinel ends the targets, as in the paper's figure 2: it stands for that
    text. Raises `E-SPECIAL-TOKEN` where there are too few.
    """
    count, trailing = len(spans), bool(spans[-1, 1] < len(ids))
    if count + trailing > len(sentinels):
        what = f"{count + trailing} sentinels are needed, {len(sentinels)} are there"
        remedy = "shorten the rows, lower the rate, or train the tokenizer with more sentinels"
        raise ModeledgeError("E-SPECIAL-TOKEN", what, remedy=remedy)
    signs = np.asarray(sentinels[:count], dtype=np.int64)
    hidden = np.zeros(len(ids) + 1, dtype=np.int64)
    hidden[spans[:, 0]] += 1
    hidden[spans[:, 1]] -= 1
    within = np.cumsum(hidden)[:-1] > 0
    inputs = ids.copy()
    inputs[spans[:, 0]] = signs
    keep = ~within
    keep[spans[:, 0]] = True
    lengths = spans[:, 1] - spans[:, 0]
    targets = np.insert(ids[within], np.cumsum(lengths) - lengths, signs)
    return Damaged(inputs[keep], np.append(targets, sentinels[count]) if trailing else targets)


def disguised(
    ids: IntArray, where: Mask, mask: int, random: Generator, *, shares: tuple[float, float], others: IntArray
) -> IntArray:
    """Chosen tokens hidden: one of `others` with the first of the `shares`, left as it is with the second, the `mask`
    otherwise."""
    places = np.flatnonzero(where)
    fate, told = random.random(len(places)), np.full(len(places), mask, dtype=np.int64)
    as_random, kept = shares
    if as_random:
        drawn = fate < as_random
        told[drawn] = others[random.integers(0, len(others), int(drawn.sum()))]
    same = (fate >= as_random) & (fate < as_random + kept)
    told[same] = ids[places[same]]
    hidden = ids.copy()
    hidden[places] = told
    return hidden


@cache
def ordinary(vocab: int, specials: tuple[int, ...]) -> IntArray:
    """All ids that are not special."""
    return np.setdiff1d(np.arange(vocab), specials)
