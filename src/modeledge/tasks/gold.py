"""The answers that annotators gave: texts that stand in the context, each with the number of its first character.

Every offset is checked as SQuAD's own files are (`corpus/layouts/answers.py`): a wrong one teaches a wrong span in
silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeledge.corpus.layouts.answers import check_answer
from modeledge.errors import ModeledgeError, printable

SHOWN = 60  # characters of a text in a message
TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": False}


@dataclass(frozen=True)
class Gold:
    """The texts that count as right, () where there is no answer; where the first one starts; and in how many places
    it stands, where it came without an offset and was searched (1 where it came with one)."""

    texts: tuple[str, ...]
    start: int = 0
    places: int = 1


def gold_of(context: str, given: Any, impossible: bool, where: str) -> Gold:
    """The checked answers of one question.

    `given` is a list of `{"text", "answer_start"}`, SQuAD's `{"text": […], "answer_start": […]}`, a list of texts, or
    one text. The one that is learned is the first. Raises `E-ANSWER-MISSING`, `E-ANSWER-MISMATCH`, `E-FIELD-TYPE`,
    `E-LENGTH-MISMATCH`.
    """
    answers = pairs_of(given, where)
    if impossible:
        if answers:
            what = f"the question is marked is_impossible, and has {len(answers)} answers"
            raise ModeledgeError("E-ANSWER-MISMATCH", what, where=where, remedy="keep one of the two")
        return Gold(())
    if not answers:
        what = "the question has no answer, and is not marked is_impossible"
        remedy = "answer it, mark it, or set options.empty_is_impossible"
        raise ModeledgeError("E-ANSWER-MISSING", what, where=where, remedy=remedy)
    found = [place_of(context, text, start, where) for text, start in answers]
    return Gold(tuple(text for text, _ in answers), *found[0])


def place_of(context: str, text: str, start: int | None, where: str) -> tuple[int, int]:
    """Where an answer starts, and in how many places it stands where that had to be searched."""
    if not text.strip():
        raise ModeledgeError("E-ANSWER-MISSING", "the answer's text is empty", where=where)
    if start is not None:
        check_answer(context, text, start, where)
        return start, 1
    first = context.find(text)
    if first < 0:
        what = f"the answer {printable(text, SHOWN)!r} does not occur in the context {printable(context, SHOWN)!r}"
        raise ModeledgeError("E-ANSWER-MISMATCH", what, where=where)
    places, at = 0, first
    while at >= 0:
        places, at = places + 1, context.find(text, at + 1)
    return first, places


def pairs_of(given: Any, where: str) -> list[tuple[str, int | None]]:
    """Text and offset of each answer; no offset is `None`."""
    if given is None or isinstance(given, str):
        return [(given, None)] if given else []
    if isinstance(given, Mapping):
        return _columns(given, where)
    return [_pair(answer, where) for answer in _listed(given, where)]


def _columns(given: Mapping[str, Any], where: str) -> list[tuple[str, int | None]]:
    """SQuAD's layout as the datasets library has it: one list of texts, one of offsets."""
    if isinstance(given.get("text"), str):
        return [_pair(given, where)]
    texts = _listed(given.get("text", ()), where)
    starts = given.get("answer_start")
    starts = [None] * len(texts) if starts is None else _listed(starts, where)
    if len(texts) != len(starts):
        what = f"{len(texts)} answers have {len(starts)} offsets"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, where=where)
    return [_pair({"text": t, "answer_start": s}, where) for t, s in zip(texts, starts, strict=True)]


def _pair(answer: Any, where: str) -> tuple[str, int | None]:
    told: Any = {"text": answer} if isinstance(answer, str) else answer
    told = told if isinstance(told, Mapping) else {}
    text, start = told.get("text"), told.get("answer_start")
    start = start.item() if hasattr(start, "item") else start
    if not isinstance(text, str) or isinstance(start, bool) or not isinstance(start, int | None):
        what = f"an answer is {printable(repr(answer), SHOWN)}"
        remedy = 'write {"text": "…", "answer_start": 17}, or the text alone'
        raise ModeledgeError("E-FIELD-TYPE", what, where=where, remedy=remedy)
    return text, start


def _listed(given: Any, where: str) -> list[Any]:
    given = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(given, Sequence) or isinstance(given, str):
        what = f"the answers are {printable(repr(given), SHOWN)}, not a list"
        raise ModeledgeError("E-FIELD-TYPE", what, where=where)
    return list(given)


def truth_of(value: Any, column: str, where: str) -> bool:
    """True or false, as JSON or a table writes it; what is missing is false (`E-FIELD-TYPE`)."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, bool):
        return bool(value)
    told = TRUTHS.get(str(value).strip().lower())
    if told is None:
        what = f"column {column!r} is {printable(repr(value), SHOWN)}, not true or false"
        raise ModeledgeError("E-FIELD-TYPE", what, where=where)
    return told
