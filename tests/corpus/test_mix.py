"""Corpora by share: exact at every length, the same after a resume, every example of each in its own order."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.mix import MixedStream, PhasedStream
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.records import Example


def listed(count: int, first: int, seed: int = 0) -> ListStream:
    return ListStream([Example(i, np.array([first + i])) for i in range(count)], seed)


def ids(mixed: MixedStream, count: int) -> list[int]:
    return [int(example.ids[0]) for example in islice(iter(mixed), count)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 400))
def test_every_prefix_has_its_shares_and_every_stream_its_order(weights: list[int], count: int) -> None:
    streams = [listed(5 + n, 100 * n) for n in range(len(weights))]
    mixed = MixedStream(streams, [w / 31 for w in weights])
    places = [mixed.place(k) for k in range(count)]
    for number in range(len(weights)):
        own = [place for which, place in places if which == number]
        assert own == list(range(len(own)))  # none is passed over, none shown twice
        share = Fraction(weights[number], sum(weights))
        assert abs(len(own) - count * share) < len(weights)
    told = [int(streams[which].at(place).ids[0]) for which, place in places]
    assert ids(mixed, count) == told


def test_a_tenth_is_one_of_every_ten() -> None:
    found = ids(MixedStream([listed(50, 0), listed(50, 100)], [0.9, 0.1]), 200)
    assert all(sum(i >= 100 for i in found[at : at + 10]) == 1 for at in range(0, 200, 10))


@pytest.mark.parametrize("stop", [0, 1, 7, 60])
def test_a_resume_goes_on(stop: int) -> None:
    def fresh() -> MixedStream:
        return MixedStream([listed(9, 0), listed(4, 100)], [0.7, 0.3])

    whole, first, second = fresh(), fresh(), fresh()
    told = ids(whole, 100)
    assert ids(first, stop) == told[:stop]
    second.load_state_dict(first.state_dict())
    assert ids(second, 100 - stop) == told[stop:]


def test_an_example_knows_its_place_in_the_whole() -> None:
    mixed = MixedStream([listed(9, 0), listed(4, 100)], [0.7, 0.3])
    assert [example.place for example in islice(iter(mixed), 30)] == list(range(30))  # what a curriculum goes by


def test_indices_are_one_count() -> None:
    mixed = MixedStream([listed(9, 0), listed(4, 100)], [0.5, 0.5])
    seen = {example.index: int(example.ids[0]) for example in islice(iter(mixed), 60)}
    assert seen == {i: i if i < 9 else 91 + i for i in range(13)}
    assert all(int(mixed.example(i).ids[0]) == value and mixed.example(i).index == i for i, value in seen.items())
    assert len(mixed) == 18


def test_another_mixture_is_refused() -> None:
    state = MixedStream([listed(9, 0), listed(4, 100)], [0.5, 0.5]).state_dict()
    for shares, seed in (([0.6, 0.4], 0), ([0.5, 0.5], 1)):
        with pytest.raises(ModeledgeError, match="E-RESUME"):
            MixedStream([listed(9, 0), listed(4, 100, seed)], shares).load_state_dict(state)
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        MixedStream([listed(9, 0)], [0.0])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.lists(st.integers(0, 4), min_size=3, max_size=3)), min_size=1, max_size=3)
)
def test_phases_have_their_shares_and_sources_go_on(rows: list[tuple[int, list[int]]]) -> None:
    phases = [(count, [float(w) for w in weights] if any(weights) else [1.0, 0.0, 0.0]) for count, weights in rows]
    mixed = PhasedStream([listed(5 + n, 100 * n) for n in range(3)], phases)
    places = [mixed.place(k) for k in range(len(mixed) + 20)]
    for number in range(3):
        own = [place for which, place in places if which == number]
        assert own == list(range(len(own)))  # none is passed over between phases, none shown twice
    start = 0
    for count, weights in phases:
        here = [which for which, _ in places[start : start + count]]
        for number in range(3):
            assert abs(here.count(number) - count * weights[number] / sum(weights)) < 3
            assert weights[number] or number not in here
        start += count
    assert len(mixed) == start


def test_an_anneal_resumes_and_is_not_another() -> None:
    def fresh(last: float = 1.0) -> PhasedStream:
        return PhasedStream([listed(9, 0), listed(4, 100)], [(20, [0.9, 0.1]), (10, [1 - last, last])])

    whole, later = fresh(), fresh()
    told = ids(whole, 40)
    assert all(i >= 100 for i in told[20:])
    first = fresh()
    ids(first, 17)
    later.load_state_dict(first.state_dict())
    assert ids(later, 23) == told[17:]
    with pytest.raises(ModeledgeError, match="E-RESUME"):
        fresh(0.5).load_state_dict(whole.state_dict())
    for phases in ([], [(0, [1.0, 1.0])], [(3, [1.0])], [(3, [0.0, 0.0])]):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            PhasedStream([listed(9, 0), listed(4, 100)], phases)
