"""Equal keys among very many, and what they join: the two halves of grouping duplicates.

Keys lie in files, eight bytes each, one a document (or a line) in the order of their numbers. To find the equal ones
they are sorted, as many at a time as fit into memory: a key's highest bits say in which pass it is looked at, and
keys are hashes, so passes are alike in size. What is equal is joined by union-find (Tarjan 1975) whose root is always
the smallest number of a cluster. So clusters are a function of the set of pairs, not of their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modeledge.corpus.shingles import Hashes
from modeledge.records import AnyArray, IntArray

A_KEY = 48  # bytes of memory that sorting takes for each key of 8 bytes
READ = 1 << 20  # keys read at a time


@dataclass(frozen=True)
class Groups:
    """Numbers that share a key, group after group: group g is `members[starts[g] : starts[g + 1]]`, rising."""

    members: IntArray
    starts: IntArray

    def __iter__(self) -> Iterator[IntArray]:
        for start, stop in zip(self.starts[:-1], self.starts[1:], strict=True):
            yield self.members[start:stop]

    def pairs(self) -> tuple[IntArray, IntArray]:
        """Each group's first number beside each of its others."""
        sizes = np.diff(self.starts)
        first = np.repeat(self.members[self.starts[:-1]], sizes)
        other = first != self.members
        return first[other], self.members[other]

    def chosen(self, groups: AnyArray) -> Groups:
        """The groups where a mask `[groups]` is true."""
        sizes = np.diff(self.starts)
        members = self.members[np.repeat(groups, sizes)]
        return Groups(members, np.concatenate([[0], np.cumsum(sizes[groups])]))


class KeyFile:
    """Keys of `width` 64-bit words each, written in the order of their numbers, read by memory map."""

    def __init__(self, path: Path, width: int = 1) -> None:
        self.path, self.width, self.count = path, width, 0
        self._file = path.open("wb")

    def add(self, keys: Hashes) -> None:
        """The keys of the next numbers: `[n]`, or `[n, width]`."""
        self.count += len(keys)
        self._file.write(np.ascontiguousarray(keys, np.uint64).data)

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()

    def groups(self, memory: int) -> Iterator[Groups]:
        """All groups of two or more, in as many passes as `memory` bytes ask for."""
        self.close()
        if not self.count:
            return
        keys = np.memmap(self.path, np.uint64, "r", shape=(self.count, self.width))
        bits = max(0, (A_KEY * self.width * self.count // max(memory, 1)).bit_length())
        bits = min(bits, max(0, (self.count // READ).bit_length() + 8))
        for part in range(1 << bits):
            numbers = np.concatenate(list(_of_part(keys, part, bits)))
            if len(numbers) > 1:
                yield equal(np.asarray(keys[numbers] if bits else keys), numbers)

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)


def _of_part(keys: AnyArray, part: int, bits: int) -> Iterator[IntArray]:
    """The numbers of the keys whose highest `bits` bits are `part`, a stretch of the file at a time."""
    for low in range(0, len(keys), READ):
        highest = np.asarray(keys[low : low + READ, 0])
        if bits:
            yield low + np.flatnonzero(highest >> np.uint64(64 - bits) == np.uint64(part))
        else:
            yield np.arange(low, low + len(highest))


def equal(keys: Hashes, numbers: IntArray) -> Groups:
    """The groups among keys `[n, width]` of numbers `[n]`. Only what has a twin in its first word is sorted fully."""
    order = np.argsort(keys[:, 0])
    first = keys[order, 0]
    same = first[1:] == first[:-1]
    twin = np.zeros(len(first), bool)
    twin[1:] = same
    twin[:-1] |= same
    order = order[twin]
    words, numbers = keys[order], numbers[order]
    order = np.lexsort((numbers, *words.T))
    words, numbers = words[order], numbers[order]
    begins = np.ones(len(numbers), bool)
    np.any(words[1:] != words[:-1], axis=1, out=begins[1:])
    starts = np.append(np.flatnonzero(begins), len(numbers))
    groups = Groups(numbers, starts)
    return groups.chosen(np.diff(starts) > 1)


class Clusters:
    """Union-find over the numbers below `count`; `roots[i]` is the smallest number of i's cluster."""

    def __init__(self, count: int) -> None:
        self._parents: IntArray = np.arange(count, dtype=np.int64)
        self._flat = True

    def copy(self) -> Clusters:
        """The same clusters, to be joined further."""
        other = Clusters(0)
        other._parents = self.roots.copy()
        return other

    @property
    def roots(self) -> IntArray:
        """The smallest number of each number's cluster, `[count]`."""
        while not self._flat:
            above = self._parents[self._parents]
            self._flat = bool(np.array_equal(above, self._parents))
            self._parents = above
        return self._parents

    def find(self, number: int) -> int:
        """The smallest number of a cluster."""
        parents = self._parents
        while (above := int(parents[number])) != number:
            parents[number] = parents[above]
            number = above
        return number

    def join(self, first: int, second: int) -> bool:
        """Make two clusters one; False where they are already."""
        low, high = sorted((self.find(first), self.find(second)))
        if low == high:
            return False
        self._parents[high] = low
        self._flat = False
        return True

    def join_all(self, groups: Iterable[Groups]) -> None:
        """Make one cluster of each group: each root hangs on the smallest that it meets, until none meets another."""
        for some in groups:
            first, second = some.pairs()
            while len(first):
                roots = self.roots
                low, high = (least(roots[first], roots[second]) for least in (np.minimum, np.maximum))
                apart = low != high
                first, second = first[apart], second[apart]
                np.minimum.at(self._parents, high[apart], low[apart])
                self._flat = not len(first)
