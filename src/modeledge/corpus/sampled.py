"""Several tasks' examples as one stream: which task comes next, and how often.

Small tasks are forgotten beside large ones, and repeated too often beside each other. With Nᵢ examples in task i, a
batch is of task i with the chance pᵢ ∝ Nᵢ^α:

    proportional   α = 1
    temperature    α = 1 / T, flatter for a larger T (multilingual BERT: α = 0.7; Raffel et al. 2020, section 3.5.2)
    annealed       α = 1 − 0.8 · (e − 1) / (E − 1) in epoch e of E: by size at first, nearly alike at the end
                   (Stickland and Murray 2019, arXiv 1902.02671, section 3.1)

As in `mix.py` nothing is drawn: within an epoch, which is as long as all tasks together, every stretch of batches has
each task's share to within one batch, so the state of the stream is one number. A batch holds examples of one task
alone, so that a task's share in the steps is its share in what is learned, however large its loss is an example.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from modeledge.corpus.mix import MixedStream
from modeledge.corpus.stream import IndexedStream
from modeledge.errors import ModeledgeError

Sampling = Literal["proportional", "temperature", "annealed"]


def exponents(sampling: Sampling, epochs: float, temperature: float = 1.0) -> list[float]:
    """α in each epoch of a run; a temperature below 1 or one that nothing reads is `E-CONFIG-VALUE`."""
    if temperature < 1.0 or (sampling != "temperature" and temperature != 1.0):
        what = f"a temperature of {temperature:g} with {sampling} sampling"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="temperature", remedy='say sampling = "temperature", T ≥ 1')
    count = max(1, math.ceil(epochs))
    if sampling == "annealed":
        return [1.0 - 0.8 * epoch / max(1, count - 1) for epoch in range(count)]
    return [1.0 / temperature] * count


class SampledStream(MixedStream):
    """Examples of several streams, `batch` of one stream at a time, with shares Nᵢ^α for each epoch's α.

    An epoch has as many batches as all streams together fill; behind the last α the last one stays. Each stream is
    read in its own order and begins again at its end.
    """

    def __init__(self, streams: Sequence[IndexedStream], alphas: Sequence[float], batch: int) -> None:
        sizes = [len(stream) for stream in streams]
        shares = [[size**alpha / max(sizes) ** alpha for size in sizes] for alpha in alphas]
        self._epochs = [MixedStream(streams, each) for each in shares]
        super().__init__(streams, shares[0])
        self.batch, self.blocks = batch, max(1, math.ceil(sum(sizes) / batch))
        self._before = [[0] * len(streams)]  # blocks of each stream before each epoch
        for mixed in self._epochs[:-1]:
            shown = counts(mixed, self.blocks)
            self._before.append([a + b for a, b in zip(self._before[-1], shown, strict=True)])
        told = [[stream.fingerprint for stream in streams], [m.fingerprint for m in self._epochs], batch]
        self.fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return self.blocks * self.batch

    def place(self, position: int) -> tuple[int, int]:
        """Which stream stands at a position, and at which position of its own."""
        block, offset = divmod(position, self.batch)
        epoch = min(block // self.blocks, len(self._epochs) - 1)
        number, own = self._epochs[epoch].place(block - epoch * self.blocks)
        return number, (self._before[epoch][number] + own) * self.batch + offset


def counts(mixed: MixedStream, positions: int) -> list[int]:
    """How many of the first positions each stream has."""
    out, left, rest = list[int](), Fraction(1), positions
    for share in mixed.shares[:-1]:
        out.append(int(rest * (share / left)))
        rest, left = rest - out[-1], left - share
    return [*out, rest]
