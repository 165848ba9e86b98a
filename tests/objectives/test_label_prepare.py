"""Texts with labels: the shapes of the papers, and truncation as the papers' loop does it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.objectives import LabelPrepare
from modeledge.records import Example
from modeledge.seed import Noise

CLS, SEP, BOS = 101, 102, 103
ENCODER = {"first": CLS, "between": SEP, "last": SEP, "types": True}
DECODER = {"between": SEP, "last": CLS}


def prepare(side="source", length=100, kind="class", **specials):
    return LabelPrepare(side, length, kind, **specials)


def example(a, b=None, label=1, index=7, where=""):
    pair = None if b is None else np.asarray(b, dtype=np.int64)
    return Example(index, np.asarray(a, dtype=np.int64), pair, label, where=where)


def cut_by_loop(a, b, room):
    """Devlin et al.'s `_truncate_seq_pair`: the longer text loses its last token, the second where they are equal."""
    a, b = list(a), list(b)
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()
    return a, b


SPECIALS = st.fixed_dictionaries({name: st.none() | st.just(9) for name in ("first", "between", "last")})


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 30), SPECIALS)
def test_cutting_is_the_papers_loop(count_a, count_b, room, specials):
    length = room + sum(value is not None for value in specials.values())
    shape = prepare(length=length, **specials)
    one = example(range(count_a), range(50, 50 + count_b))
    a, b = shape.cut(one)
    told_a, told_b = cut_by_loop(one.ids, one.pair, room)
    assert (a.tolist(), b.tolist()) == (told_a, told_b)
    assert len(a) + len(b) == min(room, count_a + count_b)
    assert shape.truncated(one) + len(a) + len(b) == count_a + count_b
    if count_a + count_b + length - room:
        assert len(shape.piece(one).ids) == len(a) + len(b) + length - room <= length


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(1, 30), SPECIALS)
def test_one_text_loses_its_end(count, room, specials):
    extra = sum(specials[name] is not None for name in ("first", "last"))  # nothing stands between one text
    shape = prepare(length=room + extra, **specials)
    one = example(range(count))
    a, b = shape.cut(one)
    assert b is None
    assert a.tolist() == list(range(min(count, room)))
    assert shape.truncated(one) == max(0, count - room)
    if count + extra:
        assert len(shape.piece(one).ids) == len(a) + extra


@pytest.mark.parametrize(
    ("specials", "pair", "ids", "types"),
    [
        (ENCODER, None, [CLS, 1, 2, 3, SEP], [0, 0, 0, 0, 0]),
        (ENCODER, [4, 5], [CLS, 1, 2, 3, SEP, 4, 5, SEP], [0, 0, 0, 0, 0, 1, 1, 1]),
        (DECODER, None, [1, 2, 3, CLS], None),
        (DECODER, [4, 5], [1, 2, 3, SEP, 4, 5, CLS], None),
        ({**DECODER, "first": BOS}, [4, 5], [BOS, 1, 2, 3, SEP, 4, 5, CLS], None),
        ({}, [4, 5], [1, 2, 3, 4, 5], None),
        ({}, None, [1, 2, 3], None),
    ],
)
def test_pieces_have_the_shapes_of_the_papers(specials, pair, ids, types):
    piece = prepare(**specials).piece(example([1, 2, 3], pair))
    assert piece.ids.tolist() == ids
    assert piece.ids.dtype == np.int64
    assert (None if piece.types is None else piece.types.tolist()) == types
    assert piece.prefix is None


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(("kind", "label", "dtype"), [("class", 1, np.int64), ("value", -0.75, np.float32)])
def test_the_label_stands_on_its_side(side, kind, label, dtype):
    found = prepare(side, kind=kind, class_weights=(0.5, 2.0) if kind == "class" else ())(
        example([1, 2], label=label), Noise(0)
    )
    assert (found.source is None) is (side == "target")
    assert (found.target is None) is (side == "source")
    assert found.reads == {}
    assert found.labels.keys() == found.weights.keys() == {kind}
    assert found.labels[kind].tolist() == [label]
    assert found.labels[kind].dtype == dtype
    assert found.weights[kind].tolist() == [2.0 if kind == "class" else 1.0]
    assert found.index == 7


def test_a_missing_label_names_its_row():
    with pytest.raises(ModeledgeError, match=r"E-LABEL-MISSING: reviews\.csv:12:"):
        prepare()(example([1], label=None, where="reviews.csv:12"), Noise(0))
    with pytest.raises(ModeledgeError, match="E-LABEL-MISSING: example 7:"):
        prepare()(example([1], label=None), Noise(0))


@pytest.mark.parametrize(("length", "pair"), [(2, None), (1, None), (4, [1]), (3, [1])])
def test_a_length_without_room_is_refused(length, pair):
    """Otherwise a negative room would cut from the wrong end, or leave a text without a token."""
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE: length:"):
        prepare(length=length, **ENCODER)(example([1, 2, 3], pair), Noise(0))


@pytest.mark.parametrize(("length", "pair"), [(3, None), (5, [1])])
def test_the_shortest_length_with_room(length, pair):
    assert len(prepare(length=length, **ENCODER).piece(example([1, 2, 3], pair)).ids) == length


def test_a_text_without_a_token_is_refused():
    """An empty span would pool its neighbour's token."""
    with pytest.raises(ModeledgeError, match=r"E-NO-TARGET: reviews\.csv:12:"):
        prepare()(example([], where="reviews.csv:12"), Noise(0))
    assert prepare(**ENCODER).piece(example([])).ids.tolist() == [CLS, SEP]
