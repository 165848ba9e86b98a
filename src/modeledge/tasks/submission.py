"""Answers as the files that the SQuAD leaderboard and the official scripts take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.tasks.columns import where_of
from modeledge.tasks.extract import ExtractTask
from modeledge.tasks.task import Answer, Row


def submission(task: ExtractTask, answers: Sequence[Answer], rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """The files of an official submission by name: `predictions.json`, id → text; for questions that may have no answer
    also `na_probs.json`, id → the probability of that. Raises `E-MISSING-FIELD`, `E-DUP-ID`."""
    column, texts, chances = task.all_columns.get("id", "id"), dict[str, Any](), dict[str, Any]()
    for answer in answers:
        row = rows[answer.index]
        id, where = row.get(column), where_of(row, answer.index)
        if id is None or str(id) == "":
            raise ModeledgeError("E-MISSING-FIELD", f"the row has no {column!r}", where=where)
        if str(id) in texts:
            raise ModeledgeError("E-DUP-ID", f"the id {str(id)!r} stands twice", where=where)
        texts[str(id)] = answer.value
        chances[str(id)] = float(answer.value == "") if answer.details is None else answer.details.best.null
    return {"predictions.json": texts, **({"na_probs.json": chances} if task.impossible else {})}
