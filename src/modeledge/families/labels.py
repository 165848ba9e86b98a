"""Labels in a configuration: how many scores a head gives, what they are called, and what kind of answer they are.

The reference library has one class for all answers about a whole text. A single score is a regression's there, unless
`problem_type` says otherwise: it is our head "value", several scores are our head "class".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.model.heads import ClassHead, Head, TokenHead, ValueHead

WHOLE = ("class", "value")  # our heads over a whole text, which are one class of theirs
SEVERAL = "multi_label_classification"


def label_count(said: Mapping[str, Any]) -> int:
    """How many scores a class head has: the labels that are named, or their number, or two (the library's default)."""
    labels = said.get("id2label")
    number = said.get("num_labels", said.get("_num_labels"))
    if labels is not None:
        if not isinstance(labels, Mapping) or not labels:
            raise ModeledgeError("E-CONFIG-VALUE", "id2label must map numbers to names", where="id2label")
        return len(labels)
    if number is None:
        return 2
    if type(number) is not int or number < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"num_labels is {number!r}", where="num_labels")
    return number


def label_keys(count: int, problem: str | None) -> dict[str, Any]:
    """The keys that say how many scores a class head has, with names that mean nothing."""
    return {
        "id2label": {str(i): f"LABEL_{i}" for i in range(count)},
        "label2id": {f"LABEL_{i}": i for i in range(count)},
        "problem_type": problem,
    }


def answering(said: Mapping[str, Any], head: ClassHead) -> dict[str, Head]:
    """The head over a whole text by our name: a single score is a value, unless the file says otherwise."""
    if head.outputs == 1 and said.get("problem_type") in (None, "regression"):
        return {"value": regressor(head)}
    several = head.outputs > 1 and said.get("problem_type") == SEVERAL
    return {"class": replace(head, several=several)}


def regressor(head: ClassHead) -> ValueHead:
    """The class head with one output as a regression's."""
    return ValueHead(
        pool=head.pool,
        hidden=head.hidden,
        hidden_bias=head.hidden_bias,
        activation=head.activation,
        norm=head.norm,
        bias=head.bias,
        dropout=head.dropout,
        first_dropout=head.first_dropout,
    )


def score_keys(name: str, head: Head) -> dict[str, Any]:
    """The keys that say the scores of a head over texts or tokens; none for another head."""
    if name == "value":
        return label_keys(1, "regression")
    if name == "class" and isinstance(head, ClassHead):
        return label_keys(head.outputs, SEVERAL if head.several or head.outputs == 1 else None)
    return label_keys(head.outputs, None) if name == "tags" and isinstance(head, TokenHead) else {}


def classed(heads: Collection[str]) -> set[str]:
    """The heads by the names that tables of classes use: a value is a class with one score there."""
    return {"class" if name in WHOLE else name for name in heads}
