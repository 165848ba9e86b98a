"""The checks of metrics over text: one predicted string an item, against one true string or several.

A missing answer that was read as NaN, a list where a string should be, or an item without any gold answer would be
marked wrong in silence by most scripts. Here each is an error that names the item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import not_empty, same_length


def text_pair(predictions: Any, labels: Any) -> tuple[list[str], list[tuple[str, ...]]]:
    """Predicted texts `[items]`, and for each the texts that are right: a string or a sequence of them.

    Raises `E-EMPTY-SPLIT`, `E-LENGTH-MISMATCH`, `E-FIELD-TYPE` for what is no text, `E-LABEL-MISSING` for an item
    without a gold answer (an unanswerable question has one: the empty string).
    """
    guesses, truths = items_of(predictions, "predictions"), items_of(labels, "labels")
    same_length(guesses, truths)
    for item, guess in enumerate(guesses):
        text(guess, f"predictions[{item}]")
    return guesses, [golds(truth, f"labels[{item}]") for item, truth in enumerate(truths)]


def lone_texts(predictions: Any, labels: Any) -> list[str]:
    """Texts that are marked by themselves; `labels` must only be as many."""
    guesses = items_of(predictions, "predictions")
    same_length(guesses, items_of(labels, "labels"))
    for item, guess in enumerate(guesses):
        text(guess, f"predictions[{item}]")
    return guesses


def items_of(values: Any, name: str) -> list[Any]:
    """The items of a list, tuple or array; one bare string, or nothing at all, is refused."""
    if isinstance(values, str | bytes) or not (isinstance(values, Iterable) and isinstance(values, Sized)):
        what = f"{name} must be a list with one entry an item, not {type(values).__name__}"
        raise ModeledgeError("E-FIELD-TYPE", what, remedy="pass a list, even of one item")
    items = list(values)
    not_empty(items, name)
    return items


def golds(truth: Any, where: str) -> tuple[str, ...]:
    """The answers that are right for one item."""
    if isinstance(truth, str):
        return (truth,)
    if not isinstance(truth, Iterable):
        text(truth, where)
    answers = tuple(truth)
    if not answers:
        raise ModeledgeError(
            "E-LABEL-MISSING", "the item has no gold answer", where=where, remedy='where none is right, pass ""'
        )
    for number, answer in enumerate(answers):
        text(answer, f"{where}[{number}]")
    return answers


def text(value: Any, where: str) -> None:
    """`E-FIELD-TYPE` for what is no string (a NaN that a reader put in for a missing field, say)."""
    if not isinstance(value, str):
        what = (
            f"{value!r} is {type(value).__name__}, not text"
            if value is None or isinstance(value, float)
            else (f"{type(value).__name__} is not text")
        )
        raise ModeledgeError("E-FIELD-TYPE", what, where=where, remedy="an answer that was not given is an empty text")
