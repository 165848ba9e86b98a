"""Candidates looked at: documents are joined where the exact Jaccard similarity of their shingles is high enough.

Within a group of candidates only pairs that are not yet in one cluster are compared. Skipping the others cannot
change the clusters, and it makes a group of m copies cost m comparisons, not m². Pairs that failed are remembered,
since unlike documents often meet in several bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, product

import numpy as np

from modeledge.corpus.clusters import Clusters, Groups
from modeledge.corpus.minhash import Near
from modeledge.corpus.shingles import Hashes, jaccard, shingle
from modeledge.corpus.spool import Spool
from modeledge.corpus.workers import BATCH
from modeledge.records import IntArray

A_PAIR = 120  # bytes of memory that a remembered pair takes


class Verifier:
    """Joins what is alike among the candidates of one run."""

    def __init__(self, spool: Spool, near: Near, memory: int) -> None:
        assert near.threshold is not None
        self._spool, self._shingling, self._threshold = spool, near.shingling, near.threshold
        self._most = max(1, memory // A_PAIR)
        self._failed: set[tuple[int, int]] = set()
        self.compared = 0

    def join(self, clusters: Clusters, groups: Groups) -> None:
        """Join the pairs within each group that reach the threshold."""
        for some in self._open(clusters, groups):
            if len(some.starts) > 2:
                within = (pair for members in some for pair in combinations(members.tolist(), 2))
                self._compare(within, clusters, self._sets(np.unique(some.members)))
                continue
            parts = list(self._parts(some.members))  # one group, of any size
            for place, second in enumerate(parts):
                sets = self._sets(second)
                self._compare(combinations(second.tolist(), 2), clusters, sets)
                for first in parts[:place]:
                    self._compare(product(first.tolist(), second.tolist()), clusters, sets | self._sets(first))

    def _parts(self, members: IntArray) -> Iterator[IntArray]:
        """The members of a group in pieces, two of which are as much text as a batch."""
        sizes = np.frombuffer(self._spool.sizes, np.int64)[members]
        part = (np.cumsum(sizes) - sizes) // (BATCH // 2)
        yield from np.split(members, np.flatnonzero(np.diff(part)) + 1)

    def _open(self, clusters: Clusters, groups: Groups) -> Iterator[Groups]:
        """The groups that are not one cluster yet, a few at a time, by the size of their texts."""
        sizes = np.frombuffer(self._spool.sizes, np.int64)
        roots = clusters.roots[groups.members]
        low, high = (least.reduceat(roots, groups.starts[:-1]) for least in (np.minimum, np.maximum))
        left = groups.chosen(low != high)
        if not len(left.members):
            return
        until, begun = np.cumsum(sizes[left.members])[left.starts[1:] - 1], 0
        while len(left.starts) > 1:
            count = max(1, int(np.searchsorted(until, begun + BATCH, "right")))
            begun = int(until[count - 1])
            here = np.arange(len(left.starts) - 1) < count
            yield left.chosen(here)
            left, until = left.chosen(~here), until[count:]

    def _sets(self, numbers: IntArray) -> dict[int, Hashes]:
        shingles = shingle([self._spool.read(number).text for number in numbers.tolist()], self._shingling)
        return {number: shingles.set(place) for place, number in enumerate(numbers.tolist())}

    def _compare(self, pairs: Iterable[tuple[int, int]], clusters: Clusters, sets: dict[int, Hashes]) -> None:
        for first, second in pairs:
            if (first, second) in self._failed or clusters.find(first) == clusters.find(second):
                continue
            self.compared += 1
            if jaccard(sets[first], sets[second]) >= self._threshold:
                clusters.join(first, second)
            elif len(self._failed) < self._most:
                self._failed.add((first, second))
