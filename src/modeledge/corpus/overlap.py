"""How much of one source is in another: the level of data sets.

The containment of A in B is |A ∩ B| / |A| over the sets of their shingles (Broder 1997): 0.3 says that three tenths of
what A says, B says too. Sets of billions are compared by the shingles whose hash lies below a limit, the same sample
of both (Irber et al. 2022, "FracMinHash"); the limit is halved until the samples fit into memory, so it depends on
what the sources hold, not on the order in which they are read. A ratio p over a sample of m shingles has a standard
error near √(p(1 − p)/m).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from modeledge.corpus.shingles import Hashes, Shingling, shingle
from modeledge.corpus.workers import batches_of
from modeledge.records import Document, FloatArray

A_SHINGLE = 32  # bytes of memory that a shingle of a sample takes while it is merged


@dataclass(frozen=True)
class Overlap:
    """`containment[a, b]` is the share of source a's shingles that source b has; `sampled` how many were looked at."""

    names: tuple[str, ...]
    containment: FloatArray
    sampled: tuple[int, ...]


def overlap(
    sources: Mapping[str, Iterable[Document]], shingling: Shingling | None = None, *, memory: int = 1 << 28
) -> Overlap:
    """What the sources share. Empty sources contain nothing: their row is 0."""
    shingling = shingling or Shingling(n=13)
    limit, samples = 1 << 64, dict.fromkeys(sources, np.zeros(0, np.uint64))
    for name, documents in sources.items():
        for held in batches_of(documents):
            found = shingle([document.text for document in held], shingling).values
            samples[name] = np.union1d(samples[name], _below(found, limit))
            while limit > 1 and sum(map(len, samples.values())) * A_SHINGLE > memory:
                limit //= 2
                samples = {name: _below(sample, limit) for name, sample in samples.items()}
    shared = np.zeros((len(samples), len(samples)))
    for row, first in enumerate(samples.values()):
        for column, second in enumerate(samples.values()):
            both = len(np.intersect1d(first, second, assume_unique=True))
            shared[row, column] = both / len(first) if len(first) else 0.0
    return Overlap(tuple(sources), shared, tuple(len(sample) for sample in samples.values()))


def _below(values: Hashes, limit: int) -> Hashes:
    return values if limit >= 1 << 64 else values[values < np.uint64(limit)]
