"""Rows are filled so that every read, label and span finds the tokens it was made for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.pack import deal
from modeledge.errors import ModeledgeError
from modeledge.objectives import Shape, collate, fill, plan
from modeledge.records import Piece, Prepared

LONGEST = 12


def piece(random, *, types, prefix):
    length = int(random.integers(1, LONGEST + 1))
    return Piece(
        random.integers(1, 1000, length),
        random.integers(0, 2, length) if types else None,
        random.random(length) < 0.5 if prefix else None,
    )


@st.composite
def items(draw):
    """Random prepared examples: one side or both, two kinds of reads, one label an example."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sides = draw(st.sampled_from(["source", "target", "both"]))
    types, prefix = draw(st.booleans()), draw(st.booleans())
    out = []
    for number in range(draw(st.integers(1, 9))):
        source = piece(random, types=types, prefix=False) if sides != "target" else None
        target = piece(random, types=False, prefix=prefix) if sides != "source" else None
        read = target or source
        reads = {
            "lm": np.flatnonzero(random.random(len(read.ids)) < 0.5),
            "span": random.integers(0, len(read.ids), 2),
        }
        labels = {name: read.ids[places] for name, places in reads.items()}
        weights = {name: random.random(len(places)).astype(np.float32) for name, places in reads.items()}
        out.append(
            Prepared(
                1000 + number,
                source,
                target,
                reads,
                {**labels, "class": np.array([number])},
                {**weights, "class": np.array([number / 2], dtype=np.float32)},
            )
        )
    return out


SHAPES = st.builds(
    Shape, st.integers(LONGEST + 2, 40), tight=st.booleans(), packed=st.booleans(), reserve=st.integers(0, 2)
)


def check_side(side, pieces, places, width, reserve):
    """Each piece lies where its span says, with its own positions and types; everything else is padding."""
    free = torch.ones_like(side.ids, dtype=torch.bool)
    for one, (row, start) in zip(pieces, places, strict=True):
        here = (row, slice(start, start + len(one.ids)))
        assert start + len(one.ids) <= width
        assert bool(free[here].all())
        free[here] = False
        assert side.ids[here].tolist() == one.ids.tolist()
        assert side.positions[here].tolist() == list(range(len(one.ids)))
        assert len(set(side.segments[here].tolist())) == 1
        assert int(side.segments[row, start]) > 0
        assert start >= reserve
        assert not side.segments[row, start - reserve : start].any()
        for name in ("types", "prefix"):
            if getattr(one, name) is not None:
                assert getattr(side, name)[here].tolist() == getattr(one, name).tolist()
    for plain in (side.ids, side.positions, side.segments):
        assert not plain[free].any()
    for name in ("types", "prefix"):
        assert (getattr(side, name) is None) is (getattr(pieces[0], name) is None)
        assert getattr(side, name) is None or not getattr(side, name)[free].any()


@settings(max_examples=200, deadline=None)
@given(items(), SHAPES)
def test_everything_maps_back_to_its_tokens(prepared, shape):
    batch = collate(prepared, shape, place={"position": 3})
    by_index = {p.index: p for p in prepared}
    chosen = [by_index[i] for i in batch.indices.tolist()]
    assert sorted(batch.indices.tolist()) == sorted(by_index)
    assert batch.place == {"position": 3}
    rows, width = batch.side.ids.shape
    assert width <= shape.seq
    assert shape.tight or {s.ids.shape[1] for s in (batch.source, batch.target) if s is not None} == {shape.seq}
    assert shape.packed or rows == len(prepared)

    reading = "target" if prepared[0].target is not None else "source"
    for row, start, end in batch.spans.tolist():
        assert 0 <= row < rows
        assert 0 <= start < end <= width
    places = [(row, start) for row, start, _ in batch.spans.tolist()]
    assert [e - s for _, s, e in batch.spans.tolist()] == [len(getattr(p, reading).ids) for p in chosen]
    check_side(batch.side, [getattr(p, reading) for p in chosen], places, width, shape.reserve)
    if batch.source is not None and batch.target is not None:
        numbers = [int(batch.target.segments[place]) for place in places]
        starts = [
            (row, int((batch.source.segments[row] == n).nonzero()[0]))
            for (row, _), n in zip(places, numbers, strict=True)
        ]
        check_side(batch.source, [p.source for p in chosen], starts, batch.source.ids.shape[1], shape.reserve)
        for (row, start), n in zip(starts, numbers, strict=True):  # an example has one number on both sides
            assert int(batch.source.segments[row, start]) == n
    assert batch.tokens == sum(sum(p.lengths()) for p in prepared)

    for name in ("lm", "span"):
        told = np.concatenate([getattr(p, reading).ids[p.reads[name]] for p in chosen])
        assert batch.side.ids.flatten()[batch.reads[name]].tolist() == told.tolist()
        assert batch.labels[name].tolist() == told.tolist()
        assert batch.reads[name].dtype is torch.long
    assert batch.reads.keys() == {"lm", "span"}
    assert batch.labels["class"].tolist() == [p.index - 1000 for p in chosen]
    for name, weights in batch.weights.items():
        assert weights.dtype is torch.float32
        assert weights.tolist() == np.concatenate([p.weights[name] for p in chosen]).tolist()


@settings(max_examples=100, deadline=None)
@given(items(), SHAPES)
def test_whole_is_said_where_it_is_true_and_only_there(prepared, shape):
    batch = collate(prepared, shape)
    for side in (batch.source, batch.target):
        if side is not None:
            assert side.whole is bool((side.segments == 1).all())


@pytest.mark.parametrize("lengths", [[6, 6], [6], [6, 5], [3, 3]])
def test_whole_on_the_edge(lengths):
    batch = collate([Prepared(i, target=Piece(np.full(n, 9))) for i, n in enumerate(lengths)], Shape(6, tight=False))
    assert batch.side.whole is (set(lengths) == {6})
    assert not collate([Prepared(0, target=Piece(np.full(5, 9)))], Shape(6, tight=False, reserve=1)).side.whole


@settings(max_examples=60, deadline=None)
@given(items(), SHAPES, st.integers(1, 4))
def test_a_plan_in_shares_is_the_plan(prepared, shape, parts):
    """Rows dealt to ranks and micro-batches are the rows of the whole batch, token for token."""
    rows, width = plan(prepared, shape)
    whole = fill(prepared, rows, width, reserve=shape.reserve)
    shares = [fill(prepared, share, width, reserve=shape.reserve) for share in deal(rows, parts) if share]
    for name in ("ids", "positions", "segments"):
        assert torch.equal(torch.cat([getattr(s.side, name) for s in shares]), getattr(whole.side, name))
    assert torch.equal(torch.cat([s.indices for s in shares]), whole.indices)
    for name in whole.labels:
        assert torch.equal(torch.cat([s.labels[name] for s in shares]), whole.labels[name])
        assert torch.equal(torch.cat([s.weights[name] for s in shares]), whole.weights[name])


def test_two_sides_share_rows_each_by_its_own_length():
    """Of long and short sides two fit beside each other; and the shorter side of a batch is narrow."""
    both = [
        Prepared(n, Piece(np.full(long, 9)), Piece(np.full(40 - long, 9))) for n, long in enumerate((30, 10, 10, 30))
    ]
    batch = collate(both, Shape(40, tight=False))
    assert batch.source.ids.shape == batch.target.ids.shape == (2, 40)
    spans = [Prepared(n, Piece(np.full(61, 9)), Piece(np.full(14 - n, 9))) for n in range(3)]
    batch = collate(spans, Shape(64))
    assert (batch.source.ids.shape, batch.target.ids.shape) == ((3, 64), (3, 16))
    assert batch.spans.tolist() == [[0, 0, 14], [1, 0, 13], [2, 0, 12]]
    assert collate(spans, Shape(64, tight=False)).target.ids.shape == (3, 64)
    reserved = collate(spans, Shape(70, reserve=3))
    assert (reserved.source.ids.shape, reserved.target.ids.shape) == ((3, 64), (3, 24))


@settings(max_examples=60, deadline=None)
@given(items(), SHAPES)
def test_a_plan_is_a_function_of_lengths(prepared, shape):
    rows, width = plan(prepared, shape)
    assert sorted(i for row in rows for i in row) == list(range(len(prepared)))
    bare = [
        Prepared(
            0,
            None if p.source is None else Piece(np.zeros(len(p.source.ids), dtype=np.int64)),
            None if p.target is None else Piece(np.zeros(len(p.target.ids), dtype=np.int64)),
        )
        for p in prepared
    ]
    assert plan(bare, shape) == (rows, width)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("tight", [True, False])
@pytest.mark.parametrize("reserve", [0, 2])
def test_an_example_longer_than_a_row_is_named(packed, tight, reserve):
    shape = Shape(8, tight=tight, packed=packed, reserve=reserve)
    fits = [Prepared(i, target=Piece(np.ones(8 - reserve, dtype=np.int64))) for i in range(3)]
    collate(fits, shape)
    long = Prepared(77, target=Piece(np.ones(9 - reserve, dtype=np.int64)))
    with pytest.raises(ModeledgeError, match=r"E-TOO-LONG: example 77: 9 tokens do not fit a row of 8"):
        collate([*fits, long], shape)
    with pytest.raises(ModeledgeError, match="example 77"):  # on either side
        collate([replace(long, source=long.target, target=Piece(np.ones(1, dtype=np.int64)))], shape)


ONE = Prepared(0, target=Piece(np.array([5, 6])), labels={"class": np.array([1])}, weights={"class": np.ones(1)})


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, source=ONE.target),
        replace(ONE, source=ONE.target, target=None),
        replace(ONE, labels={}),
        replace(ONE, labels={**ONE.labels, "value": np.ones(1)}),
        replace(ONE, reads={"lm": np.array([0])}),
        replace(ONE, weights={}),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_examples_that_do_not_belong_together_are_refused(other, turned):
    """What only some examples have would otherwise be dropped in silence, or shift against its neighbours."""
    with pytest.raises(AssertionError, match="all examples"):
        collate([other, ONE] if turned else [ONE, other], Shape(8))


@pytest.mark.parametrize("turned", [False, True])
def test_types_and_prefixes_of_some_examples_are_kept(turned):
    """Whichever comes first: those without have type 0 and no prefix."""
    marked = Prepared(1, target=Piece(np.array([7, 8]), np.array([1, 1]), np.array([True, False])))
    plain = Prepared(2, target=Piece(np.array([5, 6])))
    batch = collate([plain, marked] if turned else [marked, plain], Shape(4))
    start = int(batch.spans[batch.indices.tolist().index(1), 1])
    assert batch.side.types[0, start : start + 2].tolist() == [1, 1]
    assert batch.side.prefix[0, start : start + 2].tolist() == [True, False]
    assert int(batch.side.types.sum()) == 2
    assert int(batch.side.prefix.sum()) == 1


def test_an_empty_batch_is_our_own_mistake():
    with pytest.raises(AssertionError, match="at least one"):
        collate([], Shape(8))


def test_a_batch_moves_whole():
    batch = collate([ONE], Shape(4), place={"position": 3, "note": "x"})
    moved = batch.to("meta")
    for tensor in (moved.side.ids, moved.side.segments, moved.spans, moved.indices, moved.labels["class"]):
        assert tensor.device.type == "meta"
    assert moved.place == {"position": 3, "note": "x"}
    assert moved.side.whole is batch.side.whole


def test_parts_of_one_example_do_not_see_each_other() -> None:
    """A piece with breaks: each part has a segment of its own and counts its positions from 0; one span holds all."""
    parts = Prepared(0, source=Piece(np.array([5, 6, 7, 8, 9]), breaks=(2, 3)))
    other = Prepared(1, source=Piece(np.array([4, 4])))
    batch = collate([parts, other], Shape(8, tight=False))
    assert batch.source is not None
    row = batch.source.segments[0].tolist()
    assert row[:7] == [1, 1, 2, 3, 3, 4, 4]
    assert batch.source.positions[0].tolist()[:7] == [0, 1, 0, 0, 1, 0, 1]
    assert batch.spans.tolist() == [[0, 0, 5], [0, 5, 7]]
