"""Plans lose nothing, repeat nothing, and do not know of ranks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.pack import choose_capacity, cut_examples, deal, left_out, plan_rows, plan_rows_two
from modeledge.errors import ModeledgeError

OFFSETS = st.tuples(st.integers(0, 50), st.lists(st.integers(0, 30), min_size=1, max_size=8)).map(
    lambda drawn: drawn[0] + np.cumsum([0, *drawn[1]])
)
LENGTHS = st.lists(st.integers(0, 40), max_size=40)


def covered(ranges):
    return [token for start, stop in ranges for token in range(start, stop)]


@given(OFFSETS, st.integers(1, 12), st.sampled_from(["split", "document"]))
def test_cutting_loses_nothing(offsets, length, how):
    ranges = cut_examples(offsets, length, how=how)
    assert covered(ranges) == list(range(offsets[0], offsets[-1]))
    sizes = ranges[:, 1] - ranges[:, 0]
    assert ranges.shape == (len(sizes), 2)
    assert all(1 <= size <= length for size in sizes)
    assert left_out(offsets, ranges) == 0
    if how == "split":
        assert all(size == length for size in sizes[:-1])
    else:
        owner = np.searchsorted(offsets, ranges[:, 0], side="right")
        assert np.array_equal(owner, np.searchsorted(offsets, ranges[:, 1] - 1, side="right"))
        assert len(ranges) == sum(-(-int(n) // length) for n in np.diff(offsets))


@given(OFFSETS, st.integers(1, 12), st.integers(1, 12), st.sampled_from(["split", "document"]))
def test_short_ends_borrow_or_are_counted(offsets, length, shortest, how):
    shortest = min(shortest, length)
    ranges = cut_examples(offsets, length, how=how, shortest=shortest)
    sizes = ranges[:, 1] - ranges[:, 0]
    tokens = covered(ranges)
    assert all(shortest <= size <= length for size in sizes)
    assert len(set(tokens)) == len(tokens)
    assert left_out(offsets, ranges) == (offsets[-1] - offsets[0]) - len(tokens)
    bounds = offsets if how == "document" else offsets[[0, -1]]
    missing = 0  # by hand: only ends that cannot borrow are missing
    for start, stop in pairwise(bounds.tolist()):
        n = stop - start
        end = n % length or min(n, length)
        if end < shortest and (n < length or length + end < 2 * shortest):
            missing += end
    assert left_out(offsets, ranges) == missing


def test_a_lone_last_token_takes_its_neighbour():
    assert cut_examples(np.array([0, 9]), 4, how="document", shortest=2).tolist() == [[0, 4], [4, 7], [7, 9]]


@pytest.mark.parametrize("change", [{"shortest": 0}, {"shortest": 5}, {"how": "pieces"}])
def test_wrong_cuts_are_refused(change):
    with pytest.raises(ModeledgeError) as caught:
        cut_examples(np.array([0, 9]), 4, **change)
    assert caught.value.code == "E-CONFIG-VALUE"


def first_fit_oracle(sides, capacities):
    """First-fit decreasing by trying every row."""
    order = sorted(
        range(len(sides[0])), key=lambda i: (-max(s[i] / c for s, c in zip(sides, capacities, strict=True)), i)
    )
    rows = []
    for i in order:
        for row in rows:
            if all(sum(s[j] for j in row) + s[i] <= c for s, c in zip(sides, capacities, strict=True)):
                row.append(i)
                break
        else:
            rows.append([i])
    return sorted(sorted(row) for row in rows)


@given(LENGTHS, st.sampled_from([40, 47, 64]))
def test_rows_are_first_fit_decreasing(lengths, capacity):
    rows = plan_rows(lengths, capacity)
    assert rows == first_fit_oracle([lengths], [capacity])
    assert rows == plan_rows(np.array(lengths, np.int32), capacity)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= capacity for row in rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


@given(st.lists(st.tuples(st.integers(0, 32), st.integers(0, 16)), max_size=40))
def test_two_sides_are_first_fit_decreasing_too(pairs):
    source, target = [a for a, _ in pairs], [b for _, b in pairs]
    rows = plan_rows_two(source, target, 64, 16)  # powers of two: the oracle's shares are exact
    assert rows == first_fit_oracle([source, target], [64, 16])
    assert sorted(i for row in rows for i in row) == list(range(len(pairs)))
    for row in rows:
        assert sum(source[i] for i in row) <= 64
        assert sum(target[i] for i in row) <= 16


def test_thousands_of_examples_are_packed_tightly():
    lengths = np.random.default_rng(0).integers(4, 200, 4096)
    rows = plan_rows(lengths, 512)
    assert len(rows) <= 1.02 * lengths.sum() / 512 + 1


def test_an_example_longer_than_a_row_is_named():
    for plan in (
        lambda: plan_rows([3, 9, 10], 8),
        lambda: plan_rows_two([1, 1], [3, 9], 8, 8),
        lambda: choose_capacity([3, 9], 8),
    ):
        with pytest.raises(ModeledgeError, match="example 1 of the batch: 9 tokens") as caught:
            plan()
        assert caught.value.code == "E-TOO-LONG"
    with pytest.raises(ModeledgeError) as caught:
        plan_rows_two([1], [1, 2], 8, 8)
    assert caught.value.code == "E-LENGTH-MISMATCH"


@given(st.lists(st.integers(0, 60), max_size=30), st.integers(60, 400), st.sampled_from([1, 8, 64]))
def test_the_chosen_capacity_holds_every_example(lengths, longest, multiple):
    capacity = choose_capacity(lengths, longest, multiple=multiple)
    assert max(lengths, default=0) <= capacity <= longest
    assert capacity % multiple == 0 or capacity == longest
    plan_rows(lengths, capacity)


def test_capacity_weighs_padding_against_attention():
    ragged = [100, 60, 60, 60, 60, 60]  # rows of 104 hold one example each
    assert choose_capacity(ragged, 512) > 104
    assert choose_capacity([128] * 8, 1024) == 128  # no padding to save, so the narrowest row
    assert choose_capacity(ragged, 512, attention_width=10**9) == 400  # one row, no padding: free attention
    assert choose_capacity(ragged, 512, attention_width=1) == 104  # attention is everything: the narrowest row
    assert choose_capacity([], 512) == 8


@settings(max_examples=60)
@given(st.lists(st.integers(1, 64), max_size=60), st.sampled_from([1, 2, 3, 7]))
def test_ranks_share_one_plan(lengths, ranks):
    """The rank law: any number of ranks together computes the same rows, each example exactly once."""
    rows = plan_rows(lengths, 64)
    dealt = deal(rows, ranks)
    assert len(dealt) == ranks
    assert [row for part in dealt for row in part] == rows
    assert sorted(i for part in dealt for row in part for i in row) == list(range(len(lengths)))
    sizes = [len(part) for part in dealt]
    assert max(sizes) - min(sizes) <= 1
    micro = [deal(part, 2) for part in dealt]
    assert [row for part in micro for piece in part for row in piece] == rows


def test_documents_of_natural_lengths_fill_their_rows() -> None:
    """Cut at document boundaries and fitted, rows are at least 97 % full: log-normal lengths, as web pages have."""
    lengths = np.random.default_rng(1).lognormal(6, 1.2, 4000).astype(np.int64) + 1
    ranges = cut_examples(np.concatenate([[0], np.cumsum(lengths)]), 2048, how="document")
    pieces = ranges[:, 1] - ranges[:, 0]
    assert pieces.sum() == lengths.sum()
    assert pieces.sum() / (len(plan_rows(pieces, 2048)) * 2048) >= 0.97
