"""Answers in their context: every layout, every wrong offset, and what an offset seems to count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.tasks.gold import Gold, gold_of, truth_of

CONTEXT = "In Köln 🙂 stands a cathedral.\r\nIn Köln it rains."


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([{"text": "Köln", "answer_start": 3}], Gold(("Köln",), 3)),
        ([{"text": "Köln", "answer_start": 34}], Gold(("Köln",), 34)),
        ({"text": ["it", "Köln"], "answer_start": [39, 3]}, Gold(("it", "Köln"), 39)),
        ({"text": np.array(["it"]), "answer_start": np.array([39])}, Gold(("it",), 39)),
        ({"text": "it", "answer_start": 39}, Gold(("it",), 39)),
        ([{"text": "Köln"}, {"text": "it"}], Gold(("Köln", "it"), 3, 2)),
        ([{"text": "Köln", "answer_start": None}], Gold(("Köln",), 3, 2)),
        (["a cathedral"], Gold(("a cathedral",), 17)),
        ("a cathedral", Gold(("a cathedral",), 17)),
    ],
)
def test_answers_are_read_in_every_layout(given: Any, told: Gold) -> None:
    assert CONTEXT[told.start :].startswith(told.texts[0])
    assert gold_of(CONTEXT, given, False, "here") == told


@pytest.mark.parametrize("given", [None, "", [], {}, {"text": [], "answer_start": []}, np.array([])])
def test_no_answer_must_be_said(given: Any) -> None:
    assert gold_of(CONTEXT, given, True, "here") == Gold(())
    with pytest.raises(ModeledgeError, match=r"E-ANSWER-MISSING: x\.json:3.*is_impossible"):
        gold_of(CONTEXT, given, False, "x.json:3")


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ([{"text": "rains", "answer_start": 3}], "E-ANSWER-MISMATCH", ("'rains'", "'Köln '", "stands at character 42")),
        ([{"text": "stands", "answer_start": 11}], "E-ANSWER-MISMATCH", ("UTF-16 units", "(code points): 10")),
        ([{"text": "stands", "answer_start": 14}], "E-ANSWER-MISMATCH", ("bytes of UTF-8", "(code points): 10")),
        ([{"text": "rains", "answer_start": 41}], "E-ANSWER-MISMATCH", ("line end",)),
        ([{"text": "Bonn", "answer_start": 3}], "E-ANSWER-MISMATCH", ("does not occur",)),
        ([{"text": "rains", "answer_start": -1}], "E-ANSWER-MISMATCH", ("counts from 0",)),
        ([{"text": "rains", "answer_start": 999}], "E-ANSWER-MISMATCH", ("''",)),
        ([{"text": "Köln", "answer_start": 3}, {"text": "it", "answer_start": 0}], "E-ANSWER-MISMATCH", ("'it'",)),
        (["Bonn"], "E-ANSWER-MISMATCH", ("'Bonn'", "In Köln")),
        ([{"text": " ", "answer_start": 2}], "E-ANSWER-MISSING", ("empty",)),
        ({"text": ["it", "Köln"], "answer_start": [39]}, "E-LENGTH-MISMATCH", ("2 answers have 1",)),
        ([{"text": 7}], "E-FIELD-TYPE", ("7",)),
        ([{"text": "it", "answer_start": "39"}], "E-FIELD-TYPE", ("'39'",)),
        ([7], "E-FIELD-TYPE", ("7",)),
        (7, "E-FIELD-TYPE", ("7",)),
    ],
)
def test_what_does_not_stand_there_is_shown(given: Any, code: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ModeledgeError) as caught:
        gold_of(CONTEXT, given, False, "x.json:3")
    assert (caught.value.code, caught.value.where) == (code, "x.json:3")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_impossible_question_has_no_answer() -> None:
    with pytest.raises(ModeledgeError, match=r"E-ANSWER-MISMATCH.*is_impossible.*1 answers"):
        gold_of(CONTEXT, ["Köln"], True, "here")


def test_truth_as_tables_write_it() -> None:
    assert [truth_of(v, "c", "") for v in (True, "True", "1", 1, np.bool_(True))] == [True] * 5
    assert [truth_of(v, "c", "") for v in (False, "false", "0", 0, None, "")] == [False] * 6
    with pytest.raises(ModeledgeError, match=r"E-FIELD-TYPE.*'maybe'"):
        truth_of("maybe", "c", "here")
