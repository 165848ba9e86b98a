"""Rows set aside: by lot, class by class, equal rows together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledge.seed import Noise
from modeledge.tasks import set_aside

rows = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc")), max_size=60)


@given(rows, st.floats(0.05, 0.9), st.integers(0, 5))
def test_each_row_is_on_one_side_and_equal_rows_on_the_same(
    drawn: list[tuple[int, str]], share: float, seed: int
) -> None:
    keys, classes = [k for k, _ in drawn], [c for _, c in drawn]
    stay, go = set_aside(keys, classes, share, Noise(seed))
    assert sorted(stay + go) == list(range(len(drawn)))
    assert not {keys[i] for i in stay} & {keys[i] for i in go}
    assert stay == sorted(stay)
    assert go == sorted(go)
    if len(set(keys)) > 1 and len(set(classes)) == 1:
        assert go
    assert stay or not drawn


@pytest.mark.parametrize("seed", range(6))
def test_classes_keep_their_shares_and_single_rows_stay(seed: int) -> None:
    classes = ["a"] * 60 + ["b"] * 30 + ["c"]
    stay, go = set_aside(range(91), classes, 0.2, Noise(seed))
    assert Counter(classes[i] for i in go) == {"a": 12, "b": 6}
    assert {classes[i] for i in stay} == {"a", "b", "c"}


def test_classes_of_two_rows_give_the_share_together() -> None:
    """A fifth of two rows rounds to none, and 2,000 such classes once gave one test row of 4,000."""
    classes = [str(n % 300) for n in range(600)] + ["large"] * 100 + ["one"]
    stay, go = set_aside(range(701), classes, 0.2, Noise(0))
    gone = Counter(classes[i] for i in go)
    assert gone["large"] == 20
    assert gone["one"] == 0
    assert 119 <= sum(gone.values()) - 20 <= 120
    assert max(count for name, count in gone.items() if name != "large") == 1
    assert {classes[i] for i in stay} == set(classes)


def test_the_lot_is_the_seed() -> None:
    lots = {tuple(set_aside(range(50), ["a"] * 50, 0.2, Noise(seed))[1]) for seed in range(5)}
    assert len(lots) == 5
    assert set_aside(range(50), ["a"] * 50, 0.2, Noise(3)) == set_aside(range(50), ["a"] * 50, 0.2, Noise(3))
