"""Equal keys in files and union-find, against dictionaries and against the closure of all pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.clusters import Clusters, Groups, KeyFile


def closure(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    """The smallest number that each can reach, by walking until nothing moves."""
    least = list(range(count))
    moved = True
    while moved:
        moved = False
        for a, b in pairs:
            low = min(least[a], least[b])
            moved = moved or least[a] != low or least[b] != low
            least[a] = least[b] = low
    return least


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 25).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_clusters_are_the_closure_of_the_pairs_in_any_order(case: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = case
    one, other, grouped = Clusters(count), Clusters(count), Clusters(count)
    for a, b in pairs:
        assert one.join(a, b) == (one.find(a) != one.find(b)) or one.find(a) == one.find(b)
    for a, b in reversed(pairs):
        other.join(b, a)
    members = np.array([sorted(pair) for pair in pairs], np.int64).reshape(-1)
    grouped.join_all([Groups(members, np.arange(0, len(members) + 1, 2))])
    wanted = closure(count, pairs)
    assert one.roots.tolist() == other.roots.tolist() == grouped.roots.tolist() == wanted
    assert [one.find(i) for i in range(count)] == wanted


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=40), st.sampled_from([1, 2]), st.sampled_from([1, 300, 10**6]))
def test_groups_are_those_of_a_dictionary(tmp_path_factory, keys, width, memory) -> None:  # type: ignore[no-untyped-def]
    spread = np.array([[(key * 0x9E3779B97F4A7C15) % 2**64, key % 2][-width:] for key in keys], np.uint64)
    file = KeyFile(Path(tmp_path_factory.mktemp("keys")) / "k", width)
    for part in np.array_split(spread.reshape(-1, width), 3):
        file.add(part)
    wanted: dict[tuple[int, ...], list[int]] = {}
    for number, key in enumerate(spread.reshape(-1, width).tolist()):
        wanted.setdefault(tuple(key), []).append(number)
    found = [group.tolist() for groups in file.groups(memory) for group in groups]
    assert sorted(found) == sorted(some for some in wanted.values() if len(some) > 1)
