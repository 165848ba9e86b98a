"""Reading one column of one row: what is missing, empty or of another type is an error that names the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modeledge.errors import ModeledgeError, nearest


def where_of(row: Mapping[str, Any], number: int) -> str:
    """`file:line` of a row, or its number from 1."""
    return str(row.get("__where__", f"row {number + 1}"))


def field_of(row: Mapping[str, Any], column: str, number: int) -> Any:
    """What stands in a column; `E-MISSING-FIELD` with the nearest name where there is none."""
    if column not in row:
        columns = [str(k) for k in row if k != "__where__"]
        what = f"there is no column {column!r}"
        raise ModeledgeError("E-MISSING-FIELD", what, where=where_of(row, number), remedy=nearest(column, columns))
    return row[column]


def text_of(row: Mapping[str, Any], column: str, number: int) -> str:
    """A text that is not empty."""
    value, where = field_of(row, column, number), where_of(row, number)
    if not isinstance(value, str):
        raise ModeledgeError("E-FIELD-TYPE", f"column {column!r} is {type(value).__name__}, not text", where=where)
    if not value.strip():
        remedy = "fill or drop the row"
        raise ModeledgeError("E-MISSING-FIELD", f"column {column!r} is empty", where=where, remedy=remedy)
    return value


def texts_of(row: Mapping[str, Any], column: str, number: int) -> list[str]:
    """A list of texts (words, choices, references), none of them missing."""
    value, where = field_of(row, column, number), where_of(row, number)
    if isinstance(value, str) or not isinstance(value, Sequence):
        what = f"column {column!r} is {type(value).__name__}, not a list of texts"
        raise ModeledgeError("E-FIELD-TYPE", what, where=where, remedy='write ["…", "…"] in a jsonl or parquet file')
    wrong = [i for i, item in enumerate(value) if not isinstance(item, str)]
    if wrong:
        what = f"item {wrong[0] + 1} of column {column!r} is {type(value[wrong[0]]).__name__}, not text"
        raise ModeledgeError("E-FIELD-TYPE", what, where=where)
    return list(value)
