"""Ordered, resumable sources of examples.

The order of an epoch is not a list but arithmetic: position k of epoch e shows example `permuted(k)`, a pseudo-random
permutation keyed by (seed, "shuffle", e). So there is nothing to store and nothing to replay: the whole state
of a stream is one number, its position, and a stream that resumes at k continues exactly as one that ran there. How the
corpus was cut into files, how many ranks read, and what was read before cannot change the order.
"""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol, Self

import numpy as np

from modeledge.corpus.pack import How, cut_examples, left_out
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.records import AnyArray, Example, IntArray
from modeledge.seed import Noise, permuted_many

BLOCK = 4096


class Stream(Protocol):
    """What a trainer reads: examples in one global order, with a state that names the place in it."""

    @property
    def fingerprint(self) -> str:
        """Names data, tokenizer and packing; resume refuses another."""

    @property
    def replayable(self) -> bool:
        """False for what cannot be asked for twice (rollouts): no prefetch, the buffer is saved."""

    def __iter__(self) -> Iterator[Example]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def position_in(state: Mapping[str, Any], fingerprint: str) -> int:
    """The place that a state of this very stream names; that of another stream is `E-RESUME`."""
    theirs, position = state.get("fingerprint"), state.get("position")
    if theirs != fingerprint:
        what = f"the state belongs to stream {theirs}, this is stream {fingerprint}"
        raise ModeledgeError("E-RESUME", what, why="data, tokenizer, cutting, seed, shuffling or a share changed")
    if type(position) is not int or position < 0:
        raise ModeledgeError("E-RESUME", f"{position!r} is not a position in a stream")
    return position


class IndexedStream(ABC):
    """A stream over examples that can be asked for by number. All its iterators continue from one shared position."""

    replayable = True

    def __init__(self, length: int, fingerprint: str, seed: int, *, shuffle: bool, epochs: int | None) -> None:
        if length < 1:
            raise ModeledgeError("E-NO-RECORDS", "the stream has no example")
        if epochs is not None and epochs < 1:
            raise ModeledgeError("E-CONFIG-VALUE", f"epochs is {epochs}; it is at least 1, or none for endless")
        self.fingerprint = digest(fingerprint, seed if shuffle else None)
        self._length, self._seed, self._shuffle, self._epochs = length, seed, shuffle, epochs
        self._position = 0
        self._block: tuple[int, int] | None = None
        self._images: IntArray = np.zeros(0, np.int64)

    @abstractmethod
    def example(self, index: int, epoch: int = 0) -> Example:
        """The example with a number in the unshuffled corpus."""

    def __len__(self) -> int:
        """Examples in one epoch."""
        return self._length

    def __iter__(self) -> Iterator[Example]:
        end = None if self._epochs is None else self._epochs * self._length
        while end is None or self._position < end:
            example = self.at(self._position)
            self._position += 1
            yield example

    def placed(self, index: int, epoch: int, place: int) -> Example:
        """The example with a number, as it stands at a place of a run."""
        return replace(self.example(index, epoch), place=place)

    def at(self, position: int, place: int | None = None) -> Example:
        """The example at a position of the global order; asking for it moves nothing. Its `place` in the run is that
        position, or where a stream that mixes this one with others has it."""
        place = position if place is None else place
        epoch, within = divmod(position, self._length)
        if not self._shuffle:
            return self.placed(within, epoch, place)
        block, offset = divmod(within, BLOCK)
        if self._block != (epoch, block):
            indices = np.arange(block * BLOCK, min((block + 1) * BLOCK, self._length))
            self._images = permuted_many(indices, self._length, Noise(self._seed).at("shuffle", epoch))
            self._block = (epoch, block)
        return self.placed(int(self._images[offset]), epoch, place)

    def state_dict(self) -> dict[str, Any]:
        """The place in the order, after the last example that was given out."""
        return {"position": self._position, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state. Raises `E-RESUME` for the state of another stream, or none at all."""
        self._position = position_in(state, self.fingerprint)


class ShardStream(IndexedStream):
    """Examples that are ranges of tokens `ranges [n, 2]` (start, stop) in shards: for pre-training.

    `index` is an example's number in the unshuffled corpus; `left_out` counts the tokens that no range covers.
    """

    def __init__(
        self,
        shards: Shards,
        ranges: IntArray,
        content: str,
        seed: int,
        *,
        shuffle: bool = True,
        epochs: int | None = None,
    ) -> None:
        self.shards, self.ranges, self.left_out = shards, ranges, left_out(shards.documents, ranges)
        super().__init__(len(ranges), content, seed, shuffle=shuffle, epochs=epochs)

    def example(self, index: int, epoch: int = 0) -> Example:
        start, stop = (int(token) for token in self.ranges[index])
        channels: dict[str, AnyArray] = {name: self.shards.channel(name, start, stop) for name in self.shards.channels}
        ids = self.shards.tokens(start, stop)
        return Example(index, ids, epoch=epoch, where=f"tokens {start}:{stop}", channels=channels)

    @property
    def note(self) -> str:
        """What is said before the first step of tokens that no example shows; empty where there are none."""
        return f"{self.left_out:,} of {len(self.shards):,} tokens stand in no example" if self.left_out else ""

    def only(self, numbers: IntArray) -> Self:
        """The stream of these examples alone, from its beginning: to hold some out. `index` counts among them."""
        other = copy.copy(self)
        name = hashlib.sha256(np.asarray(numbers, "<i8").tobytes()).hexdigest()
        other.ranges, other.fingerprint = self.ranges[numbers], digest(self.fingerprint, name)
        other._length, other._position, other._block = len(other.ranges), 0, None
        if not other._length:
            raise ModeledgeError("E-NO-RECORDS", "the stream has no example")
        return other

    def where(self, index: int) -> str:
        """The documents that an example was cut from: for messages."""
        start, stop = (int(token) for token in self.ranges[index])
        first, last = self.shards.document_of(start), self.shards.document_of(stop - 1)
        return first if first == last else f"{first} to {last}"


class TokenStream(ShardStream):
    """Examples cut from token shards every `length` tokens (see `cut_examples`), with all channels of the shards.

    `left_out` counts the tokens that `shortest` leaves out.
    """

    def __init__(
        self,
        shards: Shards,
        length: int,
        seed: int,
        how: How = "split",
        *,
        shuffle: bool = True,
        epochs: int | None = None,
        shortest: int = 1,
    ) -> None:
        ranges = cut_examples(shards.documents, length, how=how, shortest=shortest)
        content = digest(shards.fingerprint, length, how, shortest)
        super().__init__(shards, ranges, content, seed, shuffle=shuffle, epochs=epochs)


class ListStream(IndexedStream):
    """Labelled examples in memory: for fine-tuning. Each keeps its own `index`, which must be unique (`E-DUP-ID`)."""

    def __init__(
        self, examples: Sequence[Example], seed: int, *, shuffle: bool = True, epochs: int | None = None
    ) -> None:
        self._examples = list(examples)
        seen: dict[int, str] = {}
        for example in self._examples:
            if example.index in seen:
                places = f"{seen[example.index]} and {example.where}"
                raise ModeledgeError("E-DUP-ID", f"two examples have the index {example.index}", where=places)
            seen[example.index] = example.where
        content = digest(*(_content(example) for example in self._examples))
        super().__init__(len(self._examples), content, seed, shuffle=shuffle, epochs=epochs)

    def example(self, index: int, epoch: int = 0) -> Example:
        """The example at a place in the list."""
        return replace(self._examples[index], epoch=epoch)


def window(stream: Stream, count: int) -> list[Example]:
    """The next `count` examples; fewer only where the stream ends."""
    return list(islice(iter(stream), count))


def _content(example: Example) -> Any:
    pair = None if example.pair is None else _plain(example.pair)
    channels = {name: _plain(values) for name, values in example.channels.items()}
    return [int(example.index), _plain(example.ids), pair, _plain(example.label), channels]


def _plain(value: Any) -> Any:
    """A value as JSON can say it, the same for equal content in a list, a tuple or an array."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    what = f"a label of type {type(value).__name__} has no plain form"
    raise ModeledgeError("E-LABEL-TYPE", what, remedy="use numbers, strings, lists or dictionaries")


def digest(*parts: Any) -> str:
    """32 hexadecimal digits that name these values."""
    state = hashlib.sha256()
    for part in parts:
        state.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return state.hexdigest()[:32]
