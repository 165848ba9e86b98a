"""Several corpora as one stream, each with a share: a domain with some general text replayed beside it.

Which corpus the example at position k comes from is arithmetic, as its order is: with a share s the first k positions
hold ⌊k · s⌋ examples of that corpus, so every stretch of the order has its share, to within one example (Bresenham's
line), the state is still one number, and no two ranks or restarts can disagree. Shares are exact fractions: a float's
last bit must not move an example. Of more than two corpora the first is told apart from all others, then the second
from those that are left, and so on. Each corpus is read in its own shuffled order and begins again at its end.

Replay is the oldest remedy against forgetting: a few per cent of the earlier data keep what it taught (Scialom et al.
2022, arXiv 2205.12393; Ibrahim et al. 2024, arXiv 2403.08763, section 5: 5 % do for a weak change of text, more for a
strong one).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from modeledge.corpus.stream import IndexedStream, position_in
from modeledge.errors import ModeledgeError
from modeledge.records import Example

FINEST = 10**6  # the largest denominator of a share


class MixedStream:
    """Streams by share. `index` counts through all of them: the second one's begin where the first one's end.

    Its length is how many positions show the whole of the first stream once.
    """

    replayable = True

    def __init__(self, streams: Sequence[IndexedStream], shares: Sequence[float]) -> None:
        if len(streams) != len(shares) or not streams:
            raise ModeledgeError("E-CONFIG-VALUE", f"{len(streams)} corpora have {len(shares)} shares")
        exact = [Fraction(share).limit_denominator(FINEST) for share in shares]
        if min(exact) <= 0:
            raise ModeledgeError("E-CONFIG-VALUE", f"a share of {min(shares):g}", remedy="shares are above 0")
        whole = sum(exact)
        self.streams, self.shares = tuple(streams), tuple(share / whole for share in exact)
        self.offsets = [sum(len(s) for s in streams[:n]) for n in range(len(streams))]
        told = [[stream.fingerprint, str(share)] for stream, share in zip(streams, self.shares, strict=True)]
        self.fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
        self._position = 0

    def __len__(self) -> int:
        return int(len(self.streams[0]) / self.shares[0])

    def __iter__(self) -> Iterator[Example]:
        while True:
            example = self.at(self._position)
            self._position += 1
            yield example

    def place(self, position: int) -> tuple[int, int]:
        """Which stream stands at a position, and at which position of its own."""
        return _place(self.shares, position)

    def at(self, position: int) -> Example:
        """The example at a position, which is its `place`; asking for it moves nothing."""
        number, place = self.place(position)
        example = self.streams[number].at(place, position)
        return replace(example, index=example.index + self.offsets[number])

    def example(self, index: int, epoch: int = 0) -> Example:
        """The example with a number, counted through all streams."""
        number = max(n for n, offset in enumerate(self.offsets) if offset <= index)
        found = self.streams[number].example(index - self.offsets[number], epoch)
        return replace(found, index=index)

    def state_dict(self) -> dict[str, Any]:
        """The place in the order."""
        return {"position": self._position, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; that of another stream is `E-RESUME`."""
        self._position = position_in(state, self.fingerprint)


class PhasedStream(MixedStream):
    """Streams whose shares change: `phases` are (examples, shares), of which the last one's examples never end.

    A source goes on in a phase where it stopped in the one before; a share may be 0. Its length is that of all phases.
    """

    def __init__(self, streams: Sequence[IndexedStream], phases: Sequence[tuple[int, Sequence[float]]]) -> None:
        if not phases or min(examples for examples, _ in phases) < 1:
            raise ModeledgeError("E-CONFIG-VALUE", "a mixture has at least one phase, each with an example")
        super().__init__(streams, [1.0] * len(streams))
        self.phases: list[tuple[int, tuple[Fraction, ...], list[int]]] = []
        start, begun = 0, [0] * len(streams)
        for examples, shares in phases:
            exact = [Fraction(share).limit_denominator(FINEST) for share in shares]
            if len(exact) != len(streams) or min(exact) < 0 or not sum(exact):
                what = f"a phase gives {len(streams)} corpora the shares {list(shares)}"
                raise ModeledgeError("E-CONFIG-VALUE", what, remedy="one share a corpus, at least 0, one of them above")
            parts = tuple(share / sum(exact) for share in exact)
            self.phases.append((start, parts, begun))
            start, begun = start + examples, [b + c for b, c in zip(begun, _counts(parts, examples), strict=True)]
        self._length = start
        told = [self.fingerprint, [[at, [str(part) for part in parts]] for at, parts, _ in self.phases]]
        self.fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return self._length

    def place(self, position: int) -> tuple[int, int]:
        """Which stream stands at a position, and at which position of its own."""
        start, parts, begun = next(phase for phase in reversed(self.phases) if phase[0] <= position)
        number, place = _place(parts, position - start)
        return number, place + begun[number]

    def counts(self, positions: int) -> list[int]:
        """How many of the first positions each stream has."""
        start, parts, begun = next(phase for phase in reversed(self.phases) if phase[0] <= positions)
        return [before + more for before, more in zip(begun, _counts(parts, positions - start), strict=True)]


def _place(shares: Sequence[Fraction], position: int) -> tuple[int, int]:
    """Which of several shares has a position, and how many of its own came before."""
    left = Fraction(1)
    for number, share in enumerate(shares[:-1]):
        part = share / left
        before, behind = int(position * part), int((position + 1) * part)
        if behind > before:
            return number, before
        position, left = position - before, left - share
    return len(shares) - 1, position


def _counts(shares: Sequence[Fraction], position: int) -> list[int]:
    """How many of the positions before this one each share has."""
    counts, left = [], Fraction(1)
    for share in shares[:-1]:
        count = int(position * (share / left)) if left else 0
        counts.append(count)
        position, left = position - count, left - share
    return [*counts, position]
