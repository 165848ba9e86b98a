"""Pairs of segments: does the second follow the first? For the objectives over sentences.

An example is a run of whole sentences of one document, as BERT makes it (Devlin et al. 2019, appendix A.2 and the
published code): sentences are taken until they fill `room` tokens. It is cut between two sentences into a first and a
second segment, and then

    next     half the time the second segment is replaced by sentences from another document (label 1; Devlin et al.
             2019, task 2),
    order    half the time the two are swapped (label 1; Lan et al. 2020, section 3.1),

and label 0 is what the text itself says. While the pair is too long the longer segment loses a token, at its front or
its end, as a coin says. A share `short` of the pairs aims at a random length below `room`, because what a model will
read later is short, too.

Pairs are live: the cut, the coin, the other document and the truncation are a function of (seed, epoch, index), so no
two epochs show the same ones, nothing is stored, and a stream resumes anywhere. That is the one difference to the
original, which makes them once and puts the sentences behind a replaced segment back, so that where an example begins
depends on all draws before it; here they wait for another epoch. Another document is one of this stream's own examples:
what is held out stays out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, Protocol, Self

import numpy as np

from modeledge.corpus.channels import SENTENCES
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import ShardStream, digest
from modeledge.errors import ModeledgeError
from modeledge.records import AnyArray, Example, IntArray
from modeledge.seed import Noise

Ask = Literal["next", "order"]
SHORT = 0.1  # `short_seq_prob` of the published code
BLOCK = 2**24  # tokens whose sentence marks are read at once


@dataclass(frozen=True)
class Pairing:
    """How pairs are made: `room` tokens for both segments together, and which question is asked of them.

    With `repeats` the pairs of an epoch come again after that many (BERT's data held 10 copies of each text); else no
    two epochs are alike.
    """

    room: int
    ask: Ask = "next"
    short: float = SHORT
    repeats: int | None = None

    def __post_init__(self) -> None:
        if self.room < 2:
            raise ModeledgeError("E-CONFIG-VALUE", f"a pair has room for {self.room} tokens; it has at least 2")
        if not 0 <= self.short < 1:
            what = f"short is {self.short}; it is a share, at least 0 and below 1"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="short")
        if self.repeats is not None and self.repeats < 1:
            raise ModeledgeError("E-CONFIG-VALUE", f"pairs repeat after {self.repeats} epochs; after 1 at least")


class Rooms(Protocol):
    """A room that follows the run (see `objectives.schedule`)."""

    def at(self, place: int | None) -> float:
        """The room at a place of the run; the last one for `None`."""
        ...


class PairStream(ShardStream):
    """`Example.ids` and `pair` are the two segments; `label` is 0 or 1.

    With `rooms` pairs are made for a room that follows the run, of sentences of the same examples: BERT read 128 tokens
    at a time before it read 512. What a shorter pair does not show waits for another epoch.

    Channels hold one value for each token of both segments, one behind the other. Documents of one sentence hold no
    pair: `lone` counts them, `left_out` their tokens.
    Raises `E-MISSING-FIELD` for shards without the channel "sentences", `E-NO-TARGET` where no document has two
    sentences, or for `next` where there is only one document.
    """

    def __init__(
        self,
        shards: Shards,
        pairing: Pairing,
        seed: int,
        *,
        rooms: Rooms | None = None,
        shuffle: bool = True,
        epochs: int | None = None,
    ) -> None:
        self.pairing, self.rooms, self.begins = pairing, rooms, sentence_begins(shards)
        ranges, self.lone = cut_runs(self.begins, shards.documents, pairing.room)
        if not len(ranges):
            what = f"none of the {self.lone:,} documents has two sentences"
            remedy = "give longer documents, or an objective that needs no pairs"
            raise ModeledgeError("E-NO-TARGET", what, where="the corpus", remedy=remedy)
        content = digest(shards.fingerprint, asdict(pairing), *([] if rooms is None else [repr(rooms)]))
        super().__init__(shards, ranges, content, seed, shuffle=shuffle, epochs=epochs)
        self._noise = Noise(seed).at("pair")
        self._number_documents()

    @property
    def note(self) -> str:
        """How many documents hold no pair."""
        what = f"{self.lone:,} documents of one sentence ({self.left_out:,} tokens) hold no pair and are left out"
        return what if self.lone else ""

    def only(self, numbers: IntArray) -> Self:
        other = super().only(numbers)
        other._number_documents()
        return other

    def _number_documents(self) -> None:
        """Which document each example is of, counted among those that have any; and where each one's examples begin."""
        document = np.searchsorted(self.shards.documents, self.ranges[:, 0], side="right")
        _, first, self._document = np.unique(document, return_index=True, return_inverse=True)
        self._firsts: IntArray = np.append(first, len(self.ranges))
        if self.pairing.ask == "next" and len(first) < 2:
            what = f"{len(first)} document has pairs; a segment that does not follow comes from another one"
            remedy = 'give more documents, or ask for the order of sentences (kind = "albert")'
            raise ModeledgeError("E-NO-TARGET", what, where="the corpus", remedy=remedy)

    def example(self, index: int, epoch: int = 0) -> Example:
        return self._made(index, epoch, None)

    def placed(self, index: int, epoch: int, place: int) -> Example:
        return self._made(index, epoch, place)

    def _made(self, index: int, epoch: int, place: int | None) -> Example:
        room = self.pairing.room if self.rooms is None else min(round(self.rooms.at(place)), self.pairing.room)
        random = self._noise.at(epoch % (self.pairing.repeats or epoch + 1), index).generator()
        marks, target = self._shown(index, room, random)
        cut = int(random.integers(1, len(marks) - 1))
        first, second = (int(marks[0]), int(marks[cut])), (int(marks[cut]), int(marks[-1]))
        label = int(random.random() < 0.5)
        if label and self.pairing.ask == "next":
            second = self._elsewhere(index, target - (first[1] - first[0]), random)
        elif label:
            first, second = second, first
        one, two = self._fitted(first, second, room, random)
        ids, pair = self.shards.tokens(*one), self.shards.tokens(*two)
        channels: dict[str, AnyArray] = {
            name: np.concatenate([self.shards.channel(name, *part) for part in (one, two)])
            for name in self.shards.channels
        }
        where = f"tokens {one[0]}:{one[1]} and {two[0]}:{two[1]}"
        return Example(index, ids, pair, label, epoch, where, channels, place=place)

    def _sentences(self, index: int) -> IntArray:
        """Where the sentences of an example begin, and where the last one ends."""
        start, stop = self.ranges[index]
        low, high = np.searchsorted(self.begins, (start, stop))
        return np.append(self.begins[low:high], stop)

    def _shown(self, index: int, room: int, random: np.random.Generator) -> tuple[IntArray, int]:
        """The marks of the sentences that are shown now, and how many tokens they aim at: all of the example, or of a
        short pair, or one for less room, at least two that reach its length."""
        marks = self._sentences(index)
        short = random.random() < self.pairing.short
        if not short and room == self.pairing.room:
            return marks, room
        target = int(random.integers(2, room + 1)) if short else room
        begins = len(marks) - 2
        if not short:  # where the room can be filled
            begins = max(1, min(begins, int(np.searchsorted(marks, marks[-1] - room, side="right"))))
        first = int(random.integers(0, begins))
        last = int(np.searchsorted(marks, marks[first] + target))
        return marks[first : max(last, first + 2) + 1], target

    def _elsewhere(self, index: int, wanted: int, random: np.random.Generator) -> tuple[int, int]:
        """Sentences of another document, every document being as likely, that reach `wanted` tokens where they can."""
        own = self._document[index]
        other = int(random.integers(0, len(self._firsts) - 2))
        other += other >= own
        number = int(random.integers(self._firsts[other], self._firsts[other + 1]))
        marks = self._sentences(number)
        enough = int(np.searchsorted(marks, marks[-1] - max(wanted, 1), side="right"))
        first = int(random.integers(0, max(1, min(enough, len(marks) - 1))))
        last = min(int(np.searchsorted(marks, marks[first] + max(wanted, 1))), len(marks) - 1)
        return int(marks[first]), int(marks[last])

    def _fitted(
        self, one: tuple[int, int], two: tuple[int, int], room: int, random: np.random.Generator
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """The longer segment loses tokens until both fit the room; of two as long the second one."""
        lengths = [one[1] - one[0], two[1] - two[0]]
        surplus = max(0, sum(lengths) - room)
        alone = min(surplus, abs(lengths[0] - lengths[1]))
        rest, longer = surplus - alone, int(lengths[1] >= lengths[0])
        lost = [rest // 2, rest - rest // 2]
        lost[longer] += alone
        fitted = []
        for (start, stop), count in zip((one, two), lost, strict=True):
            front = int(random.binomial(count, 0.5))
            fitted.append((start + front, stop - (count - front)))
        return fitted[0], fitted[1]


class SentenceStream(ShardStream):
    """One sentence an example, of at least `shortest` tokens and cut after `length`; `left_out` counts the others'
    tokens and what is cut off. Raises `E-MISSING-FIELD` for shards without the channel "sentences"."""

    def __init__(
        self,
        shards: Shards,
        length: int,
        seed: int,
        *,
        shortest: int = 2,
        shuffle: bool = True,
        epochs: int | None = None,
    ) -> None:
        begins = sentence_begins(shards)
        stops = np.minimum(np.append(begins[1:], len(shards)), begins + length)
        ranges = np.stack([begins, stops], 1)[stops - begins >= shortest]
        content = digest(shards.fingerprint, "sentences", length, shortest)
        super().__init__(shards, ranges, content, seed, shuffle=shuffle, epochs=epochs)


def sentence_begins(shards: Shards) -> IntArray:
    """The tokens that sentences begin with, rising: those that are marked, and the first of each document."""
    shards.need([SENTENCES])
    total = len(shards)
    found = [
        np.flatnonzero(shards.channel(SENTENCES, start, min(start + BLOCK, total))) + start
        for start in range(0, total, BLOCK)
    ]
    starts = shards.documents[:-1]
    return np.union1d(np.concatenate(found), starts[starts < total]).astype(np.int64)


def cut_runs(begins: IntArray, documents: IntArray, room: int) -> tuple[IntArray, int]:
    """Ranges `[n, 2]` of at least two whole sentences of one document that just fill `room`; and how many documents
    have one sentence alone.

    A last sentence that would stand alone takes the one before it along, or else joins the run before.
    """
    ends = np.searchsorted(begins, documents[1:])  # of documents, in sentences
    document = np.searchsorted(documents[1:], begins, side="right")
    limit = ends[document]
    here = np.arange(len(begins))
    marks = np.append(begins, documents[-1])
    following = np.minimum(np.maximum(np.searchsorted(marks, begins + room), here + 2), limit)
    left = limit - following == 1
    following = np.where(left, np.where(following - here > 2, following - 1, limit), following)
    cuts, sentence = [], 0
    while sentence < len(begins):
        cuts.append(sentence)
        sentence = int(following[sentence])
    first = np.array(cuts, dtype=np.int64)
    last = following[first] if len(first) else first
    pairs = last - first > 1
    ranges: IntArray = np.stack([marks[first], marks[last]], 1)[pairs]
    return ranges, int((~pairs).sum())
