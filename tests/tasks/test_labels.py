"""From a column of labels to class numbers: the order of the classes, and a code for every doubtful row."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.tasks import Labels, check_sizes, check_unseen, extended, infer

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=2, unique=True)
WHOLE = st.lists(st.integers(-1000, 1000), min_size=2, unique=True)


def inferred(labels: list[Any], kind: Any = "auto") -> Labels:
    return infer(labels, [f"x.csv:{n + 2}" for n in range(len(labels))], kind)


def refused(code: str, function: Any, *arguments: Any) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        function(*arguments)
    assert caught.value.code == code, str(caught.value)
    return caught.value


@given(NAMES, st.randoms())
def test_names_are_ordered_by_spelling_whatever_the_order_of_the_rows(names: list[str], lots: Any) -> None:
    rows = names * 2
    lots.shuffle(rows)
    labels = inferred(rows)
    assert labels == Labels("class", tuple(sorted(names)))
    assert [labels.number(name, "") for name in sorted(names)] == list(range(len(names)))


@given(WHOLE, st.booleans(), st.randoms())
def test_numbers_are_ordered_by_value_as_numbers_or_strings(numbers: list[int], strings: bool, lots: Any) -> None:
    """`10` comes behind `9`, and a table without types gives the classes that one with types gives."""
    rows: list[Any] = list(map(str, numbers)) if strings else list(numbers)
    lots.shuffle(rows)
    labels = inferred(rows)
    assert labels == Labels("class", tuple(map(str, sorted(numbers))))
    for place, number in enumerate(sorted(numbers)):
        assert labels.number(number, "") == labels.number(str(number), "") == place


def test_spellings_of_one_number_have_one_order() -> None:
    assert inferred(["07", "7", "3"]).names == inferred(["7", "3", "07"]).names == ("3", "07", "7")
    assert inferred(["²", "1"]).names == ("1", "²")


@pytest.mark.parametrize("labels", [["1", "0", "1.0", "1"], ["x", "2.00", "2", "x", "2"]])
def test_one_number_spelled_twice_is_no_second_class(labels: list[Any]) -> None:
    error = refused("E-LABEL-UNKNOWN", inferred, labels, "class")
    assert ".0" in str(error)
    assert "x.csv:3" in str(error) or "x.csv:4" in str(error)


def test_the_same_number_as_a_number_is_one_class() -> None:
    assert inferred([1, 1.0, 0.0, 0]).names == ("0", "1")
    assert inferred(["1.0", "0.0", "1.0"]).names == ("0.0", "1.0")


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda v: not v.is_integer()), min_size=1, unique=True))
def test_numbers_with_a_fraction_are_values(values: list[float]) -> None:
    for rows in (values, list(map(str, values))):
        labels = inferred(rows)
        assert labels.kind == "value"
        assert labels.center == pytest.approx(statistics.fmean(values))
        assert labels.scale == pytest.approx(statistics.pstdev(values) or 1.0)
        assert [labels.number(row, "") for row in rows] == values
    assert refused("E-LABEL-TYPE", inferred, values, "class").where == "x.csv:2"


@pytest.mark.parametrize("empty", [None, "", "  \t"])
def test_a_missing_label_is_told_with_its_rows(empty: Any) -> None:
    error = refused("E-LABEL-MISSING", inferred, ["a", empty, "b", empty])
    assert error.where == "x.csv:3, x.csv:5"
    assert refused("E-LABEL-MISSING", Labels("class", ("a", "b")).number, empty, "x.csv:9").where == "x.csv:9"


@pytest.mark.parametrize("word", [math.nan, math.inf, "nan", "-inf"])
def test_values_are_finite(word: Any) -> None:
    refused("E-NOT-FINITE", inferred, [0.5, word])
    refused("E-NOT-FINITE", Labels("value").number, word, "")


def test_one_class_and_none() -> None:
    assert "'up'" in str(refused("E-ONE-CLASS", inferred, ["up", "up"]))
    refused("E-EMPTY-SPLIT", inferred, [])


@pytest.mark.parametrize("label", [True, False])
def test_a_boolean_is_neither_a_class_number_nor_a_value(label: bool) -> None:
    refused("E-LABEL-UNKNOWN", Labels("class", ("0", "1")).number, label, "")
    assert Labels("class", ("False", "True")).number(label, "") == int(label)
    refused("E-LABEL-TYPE", Labels("value").number, label, "")


@pytest.mark.parametrize("label", [5, "5", -1, "-1"])
def test_a_number_beyond_the_classes(label: Any) -> None:
    labels = Labels("class", tuple("01234"))
    assert "5 classes" in str(refused("E-LABEL-RANGE", labels.number, label, "x.csv:7"))


def test_a_number_among_named_classes_is_unknown() -> None:
    refused("E-LABEL-UNKNOWN", Labels("class", ("up", "down")).number, "5", "")


@given(NAMES, st.sampled_from([" {}", "{} ", "{}\t"]), st.data())
def test_a_slip_is_told_with_the_right_name(names: list[str], form: str, data: st.DataObject) -> None:
    right = data.draw(st.sampled_from(names))
    slip = form.format(right)
    error = refused("E-LABEL-UNKNOWN", Labels("class", tuple(sorted(names))).number, slip, "x.csv:4")
    assert repr(right) in error.remedy
    assert refused("E-LABEL-UNKNOWN", inferred, [*names, *names, slip]).where == f"x.csv:{2 * len(names) + 2}"


@given(NAMES, NAMES)
def test_classes_that_training_never_shows(train: list[str], test: list[str]) -> None:
    """Each test label is a class, a slip of one, or unseen: `extended` counts what is left."""
    labels = inferred(train)
    every = extended(labels, test)
    assert every.names[: len(labels.names)] == labels.names
    assert set(every.names) <= {*train, *test}
    new = every.names[len(labels.names) :]
    learned = [every.number(name, "") for name in train]
    asked = [every.number(name, "") for name in test if name in every.names]
    if new:
        assert new[0] in str(refused("E-CLASS-UNSEEN", check_unseen, learned, asked, every))
    else:
        check_unseen(learned, asked, every)


def test_slips_and_numbers_add_no_class() -> None:
    assert extended(Labels("class", ("down", "up")), ["Up", "down ", "sideways", None, 3]).names[2:] == ("sideways",)
    assert extended(Labels("class", ("0", "1")), ["5", "x"]).names[2:] == ("x",)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 4))
def test_small_classes_are_counted(numbers: list[int], least: int) -> None:
    labels = Labels("class", tuple("abcde"))
    small = [name for n, name in enumerate("abcde") if 0 < numbers.count(n) < least]
    if small:
        assert f"rows: {', '.join(small)};" in str(refused("E-CLASS-TOO-SMALL", check_sizes, numbers, labels, least))
    else:
        check_sizes(numbers, labels, least)


def test_not_a_number_is_no_class_among_whole_numbers() -> None:
    """Tables write NaN where there is nothing; among names it may be one."""
    error = refused("E-LABEL-MISSING", inferred, ["0", "1", "NaN", "1", "nan"])
    assert "x.csv:4, x.csv:6" in str(error)
    assert inferred(["NaN", "DET", "DET", "NaN"]).names == ("DET", "NaN")


def test_a_list_is_a_label_of_another_task() -> None:
    error = refused("E-LABEL-TYPE", inferred, [["a"], ["b"], []])
    assert "--task multilabel" in str(error)


def test_values_that_are_all_equal_teach_nothing() -> None:
    error = refused("E-ONE-CLASS", inferred, ["3.5", "3.5"])
    assert "all 2 rows have the value 3.5" in str(error)
    assert inferred(["3.5", "4"]).scale == 0.25
