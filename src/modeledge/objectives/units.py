"""What is hidden together: a token, a word, an n-gram, a span, a name.

A mask over single tokens often asks for the end of a word whose beginning can be read. Larger units ask for more: whole
words (Devlin et al., release of May 2019), n-grams (Lan et al. 2020, ALBERT, section 4.1; p(n) ∝ 1/n), random spans of
words (Joshi et al. 2020, SpanBERT, arXiv 1907.10529, section 3.1; Geo(0.2) up to 10 words), names, dates and numbers
(Guu et al. 2020, REALM, section 3.4). All but the first and the last are one mechanism, `Runs` of whole words whose
lengths follow a table.

**The law that a mask keeps.** A budget and a law of lengths contradict each other where the last span is cut, or left
out, because the budget is spent: long ones are cut more often. So the count is drawn first, as a renewal process that
has been running for ever (Feller 1971, chapter XI.4): an offset from the law of what is left of a length that has
begun, then lengths until the offset and their sum reach the budget. Then the expected number of hidden words is the
budget exactly, and lengths follow their table exactly. Places are drawn at once and uniformly among all arrangements
without overlap: SpanBERT's uniform starts, without trying again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np

from modeledge.corpus.channels import BEGINS, SALIENT, WORDS
from modeledge.errors import ModeledgeError
from modeledge.records import FloatArray, IntArray

LONGEST_WORD = 16  # tokens; what is longer is no word but a key, a link or a table, and is cut


@dataclass(frozen=True)
class Readable:
    """Where an example may be hidden: rising `places [n]`, and the channels of the same tokens `[n]`."""

    places: IntArray
    channels: Mapping[str, IntArray]
    where: str = ""

    def channel(self, name: str) -> IntArray:
        """A channel (`E-MISSING-FIELD` where the shards have none)."""
        if name not in self.channels:
            what, remedy = f"the examples have no channel {name!r}", f'build the corpus with channels = ["{name}"]'
            raise ModeledgeError("E-MISSING-FIELD", what, where=self.where, remedy=remedy)
        return self.channels[name]

    @cached_property
    def joined(self) -> np.typing.NDArray[np.bool_]:
        """Does a token follow the one before it without a special token between them? `[n]`"""
        told = np.zeros(len(self.places), dtype=bool)
        told[1:] = np.diff(self.places) == 1
        return told


@dataclass(frozen=True)
class Chosen:
    """Rising `places [n]` in the example, and the number of the unit that each belongs to, `[n]`, from 0 on."""

    places: IntArray
    units: IntArray


@dataclass(frozen=True)
class Single:
    """Tokens by themselves: round(rate · n) of n, at least one, never all of several (Devlin et al. 2019, 3.1)."""

    together: bool = False
    channels: ClassVar[frozenset[str]] = frozenset()

    def choose(self, text: Readable, rate: float, random: np.random.Generator) -> Chosen:
        count = max(1, min(round(rate * len(text.places)), len(text.places) - 1))
        return Chosen(np.sort(random.choice(text.places, count, replace=False)), np.arange(count))


@dataclass(frozen=True)
class Runs:
    """Runs of whole words; `lengths[k]` is the probability of k + 1 words. The budget is `rate` of the words.

    `apart` keeps a word that can be read between two runs. `together` disguises a run as one, not token by token. A
    word of more than `LONGEST_WORD` tokens, or than half of the example, is cut. No more than half of the words are
    hidden (or the budget, where it is larger), and never all of several: what a short text has no room for is cut off
    the last run. At least one word is hidden, so that short texts lie above their budget.
    """

    lengths: tuple[float, ...] = (1.0,)
    apart: bool = False
    together: bool = False
    channels: ClassVar[frozenset[str]] = frozenset({WORDS})

    def __post_init__(self) -> None:
        law = np.array(self.lengths)
        if not len(law) or law.min() < 0 or abs(law.sum() - 1) > 1e-9:
            what, remedy = f"lengths {self.lengths} are no probabilities", "give one for each length; their sum is 1"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="lengths", remedy=remedy)

    @property
    def mean(self) -> float:
        """The mean length in words."""
        return float(np.dot(np.arange(1, len(self.lengths) + 1), self.lengths))

    def choose(self, text: Readable, rate: float, random: np.random.Generator) -> Chosen:
        bounds = np.append(np.flatnonzero(word_begins(text)), len(text.places))
        words = len(bounds) - 1
        lengths = self._drawn(words, rate, random)
        starts = self._placed(words, lengths, random)
        return _gathered(text, bounds[starts], bounds[starts + lengths])

    def _drawn(self, words: int, rate: float, random: np.random.Generator) -> IntArray:
        """How many words each run has, `[runs]`: see the module's page."""
        budget = int(rate * words + random.random())
        law = np.array(self.lengths)
        left = np.cumsum(law[::-1])[::-1] / self.mean  # P(offset = v) = P(length > v) / mean
        offset = _drawn(left, 1, random)[0]
        lengths = 1 + _drawn(law, max(budget, 1), random)
        before = offset + np.cumsum(lengths) - lengths
        lengths = lengths[: max(1, int((before < budget).sum()))]
        most = max(1, min(words - 1, max(budget, words // 2)))
        within = np.diff(np.minimum(np.cumsum(lengths), most), prepend=0)
        kept: IntArray = within[within > 0]
        return kept

    def _placed(self, words: int, lengths: IntArray, random: np.random.Generator) -> IntArray:
        """The word that each run begins with: k of the slots between words that stay, one each where they are apart."""
        runs, stay = len(lengths), words - int(lengths.sum())
        alone = self.apart and runs <= stay + 1
        if alone:
            slots = np.sort(random.choice(stay + 1, runs, replace=False))
        else:
            slots = np.sort(random.choice(stay + runs, runs, replace=False)) - np.arange(runs)
        starts: IntArray = slots + np.cumsum(lengths) - lengths
        return starts


@dataclass(frozen=True)
class Salient:
    """Names, dates and numbers, in random order, while they fit into round(rate · n) tokens; one in any case, of which
    no more than half of the example's tokens are hidden. An example without any hides whole words."""

    together: bool = False
    channels: ClassVar[frozenset[str]] = frozenset({SALIENT, WORDS})

    def choose(self, text: Readable, rate: float, random: np.random.Generator) -> Chosen:
        starts, stops = salient_runs(text)
        if not len(starts):
            return Runs().choose(text, rate, random)
        count = len(text.places)
        stops, budget = np.minimum(stops, starts + max(1, count // 2)), min(round(rate * count), count - 1)
        chosen = affordable(stops - starts, budget, random)
        return _gathered(text, starts[chosen], stops[chosen])


def affordable(sizes: IntArray, budget: int, random: np.random.Generator) -> IntArray:
    """Which spans are hidden, rising: in random order those that still fit the budget of tokens, one in any case."""
    spent, kept = 0, list[int]()
    for number in random.permutation(len(sizes)).tolist():
        if not kept or spent + int(sizes[number]) <= budget:
            kept.append(number)
            spent += int(sizes[number])
    return np.sort(np.array(kept))


Unit: TypeAlias = Single | Runs | Salient


def whole_words() -> Runs:
    """Each word by itself, each token of it disguised by itself (Devlin et al., release of May 2019)."""
    return Runs()


def ngrams(longest: int = 3) -> Runs:
    """Runs of n words with p(n) = (1/n) / Σ 1/k, n ≤ `longest` (Lan et al. 2020, section 4.1)."""
    _positive(longest)
    weights = 1 / np.arange(1, longest + 1)
    return Runs(tuple((weights / weights.sum()).tolist()))


def spans(p: float = 0.2, longest: int = 10) -> Runs:
    """SpanBERT's spans: p(ℓ) ∝ (1 − p)^(ℓ−1) p words, ℓ ≤ `longest` (mean 3.8 of 10 at 0.2), disguised as one each,
    with a word that can be read on both sides (Joshi et al. 2020, section 3.1)."""
    _positive(longest)
    if not 0 < p < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"p is {p}; it lies between 0 and 1", where="p")
    weights = p * (1 - p) ** np.arange(longest)
    return Runs(tuple((weights / weights.sum()).tolist()), apart=True, together=True)


def word_begins(text: Readable) -> np.typing.NDArray[np.bool_]:
    """Where a word begins among the places `[n]`: by the channel, behind special tokens, and where a long word is cut.

    A text that the channel marks nowhere is one word, and is cut as one.
    """
    begins = (text.channel(WORDS) > 0) | ~text.joined
    size = max(1, min(LONGEST_WORD, len(begins) // 2))
    within = np.arange(len(begins)) - np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
    told: np.typing.NDArray[np.bool_] = begins | (within % size == 0)
    return told


def salient_runs(text: Readable) -> tuple[IntArray, IntArray]:
    """From which to which of the places each salient span reaches, two times `[spans]`."""
    marks = text.channel(SALIENT)
    inside = marks > 0
    before = np.concatenate([[False], inside[:-1]]) & text.joined
    starts = np.flatnonzero(inside & ((marks == BEGINS) | ~before))
    after = np.flatnonzero(np.append(~inside | (marks == BEGINS) | ~text.joined, True))
    return starts, after[np.searchsorted(after, starts, side="right")]


def _gathered(text: Readable, starts: IntArray, stops: IntArray) -> Chosen:
    """The places of runs that do not overlap; one that a special token divides counts as two."""
    sizes = stops - starts
    number = np.repeat(np.arange(len(sizes)), sizes)
    at = np.arange(len(number)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(starts, sizes)
    new = np.diff(number, prepend=-1) > 0
    return Chosen(text.places[at], np.cumsum(new | ~text.joined[at]) - 1)


def _drawn(law: FloatArray, count: int, random: np.random.Generator) -> IntArray:
    """`count` numbers from 0 on with these probabilities."""
    return np.minimum(np.searchsorted(np.cumsum(law), random.random(count), side="right"), len(law) - 1)


def _positive(longest: int) -> None:
    if longest < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"longest is {longest}; it is at least 1 word", where="longest")
