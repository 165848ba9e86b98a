"""How labels name alternatives: every way that is written in the field, and nothing guessed where two ways fit."""

from __future__ import annotations

from typing import Any

import pytest

from modeledge.errors import ModeledgeError
from modeledge.tasks.alternatives import Numbering, alternatives_of, numbering

THREE = [["p", "q", "r"], ["s", "t"], ["u", "v", "w"]]


@pytest.mark.parametrize(
    ("labels", "kind", "first", "told"),
    [
        ([0, 1, 2], "index", 0, [0, 1, 2]),
        (["0", "1", "2"], "index", 0, [0, 1, 2]),
        ([1.0, 0.0, 2.0], "index", 0, [1, 0, 2]),
        ([1, 2, 3], "index", 1, [0, 1, 2]),
        ([1, 1, 2], "index", 0, [1, 1, 2]),  # both fit: from 0, which is said
        (["A", "b", "C"], "letter", 0, [0, 1, 2]),
        (["q", "s", "w"], "text", 0, [1, 0, 2]),
    ],
)
def test_the_numbering_is_read_off_the_rows(labels: list[Any], kind: str, first: int, told: list[int]) -> None:
    found = numbering(labels, THREE, ["x"] * 3)
    assert (found.kind, found.first) == (kind, first)
    assert [found.number(label, texts, "x") for label, texts in zip(labels, THREE, strict=True)] == told
    for label, texts, number in zip(labels, THREE, told, strict=True):
        assert str(found.written(number, texts[number])).lower() == str(label).lower().removesuffix(".0")


def test_an_option_says_otherwise() -> None:
    assert numbering([1, 1, 2], THREE, ["x"] * 3, first=1) == Numbering("index", 1)
    odd = [["2", "0", "1"], ["1", "0", "2"]]
    assert numbering(["1", "2"], odd, ["x"] * 2, kind="text").number("1", odd[0], "x") == 2
    assert numbering(["1", "2"], odd, ["x"] * 2, kind="index").number("1", odd[0], "x") == 1
    with pytest.raises(ModeledgeError, match=r"E-LABEL-TYPE.*text or index"):
        numbering(["1", "2"], odd, ["x"] * 2)
    letters = [["B", "A"], ["B", "A"]]
    with pytest.raises(ModeledgeError, match=r"E-LABEL-TYPE.*text or letter"):
        numbering(["A", "B"], letters, ["x"] * 2)
    for more in ({"kind": "number"}, {"first": 2}, {"first": True}):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            numbering([0], THREE[:1], ["x"], **more)


def test_the_first_row_that_does_not_fit_is_named() -> None:
    with pytest.raises(ModeledgeError, match=r"E-LABEL-RANGE: two: label 2 is none of the 2 choices, which are 0 to 1"):
        numbering([0, 2, 1], THREE, ["one", "two", "three"])
    with pytest.raises(ModeledgeError, match=r"E-LABEL-UNKNOWN: three: 'x' is none of the choices; known: u, v, w"):
        numbering(["q", "s", "x"], THREE, ["one", "two", "three"])
    with pytest.raises(ModeledgeError, match="E-LABEL-MISSING: two"):
        numbering([0, None, 1], THREE, ["one", "two", "three"])


def test_alternatives_in_columns() -> None:
    row = {"A": "x", "B": "y", "C": "", "D": None}
    assert alternatives_of(row, "A,B, C,D", 0) == ["x", "y"]
    assert alternatives_of({"c": ["x", "y"]}, "c", 0) == ["x", "y"]
    for bad, code in (
        ({"A": "x", "B": "", "C": "z", "D": ""}, "E-MISSING-FIELD"),
        ({"A": "x", "B": "", "C": "", "D": ""}, "E-MISSING-FIELD"),
        ({"A": "x", "B": 2, "C": "", "D": ""}, "E-FIELD-TYPE"),
        ({"A": "x", "B": "y"}, "E-MISSING-FIELD"),
    ):
        with pytest.raises(ModeledgeError, match=f"{code}: row 5"):
            alternatives_of(bad, "A,B,C,D", 4)
