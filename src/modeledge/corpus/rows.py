"""Labelled data from wherever it is: a file, a list of dicts, a data frame, an iterator of dicts.

Rows that someone labelled were chosen one by one, so nothing is set aside: the first bad row ends the reading.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modeledge.corpus.inputs import regular
from modeledge.corpus.intake import Intake, ReadConfig, Record
from modeledge.corpus.read import complete, read_records
from modeledge.errors import ModeledgeError, printable
from modeledge.records import Ledger


def read_rows(
    source: Any, columns: Sequence[str] = (), *, config: ReadConfig | None = None, ledger: Ledger | None = None
) -> list[dict[str, Any]]:
    """All rows of labelled data as dicts, each with at least `columns`; see `read_table` for the errors."""
    return [record.fields for record in read_table(source, columns, config=config, ledger=ledger)]


def read_table(
    source: Any, columns: Sequence[str] = (), *, config: ReadConfig | None = None, ledger: Ledger | None = None
) -> list[Record]:
    """As `read_rows`, with the place of each row: `file:line`, or `row 3` (from 1) for data in memory.

    `source` is a path, an iterable of mappings, or a data frame (anything with `columns` and `to_dict`; its missing
    values become None in columns of text). Raises `E-MISSING-FIELD` with the number of rows, the first five and the
    nearest name, `E-FIELD-TYPE` for a row that is no mapping, `E-NO-RECORDS`, and what `read_records` raises.
    """
    ledger = Ledger() if ledger is None else ledger
    config = replace(config or ReadConfig(), on_bad_record="error")
    if isinstance(source, str | os.PathLike):
        regular(Path(source))  # one file: no folder, no glob
        records: Iterable[Record] = read_records([source], config, ledger)
    else:
        records = _in_memory(source, ledger)
    rows = list(complete(records, columns, Intake(config, ledger)))
    if not rows:
        raise ModeledgeError("E-NO-RECORDS", "the data hold no row")
    return rows


def _in_memory(source: Any, ledger: Ledger) -> Iterator[Record]:
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        source = _frame_rows(source)
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        remedy = "pass a path, a list of dicts or a data frame"
        raise ModeledgeError("E-FIELD-TYPE", f"rows were expected, not a {type(source).__name__}", remedy=remedy)
    for number, row in enumerate(source, start=1):
        where = f"row {number:,}"
        if not isinstance(row, Mapping):
            what = f"a dict was expected, not {printable(repr(row), 40)}"
            raise ModeledgeError("E-FIELD-TYPE", what, where=where, remedy="give each row as a dict of its fields")
        ledger.read.add(1, sum(len(str(value).encode("utf-8", "surrogatepass")) for value in row.values()))
        yield Record(dict(row), where, 0)


def _frame_rows(frame: Any) -> list[dict[str, Any]]:
    names = list(frame.columns)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ModeledgeError("E-DUP-KEY", f"the data frame has two columns {twice[0]!r}", remedy="rename one")
    rows: list[dict[str, Any]] = frame.to_dict("records")
    for name in names:
        textual = any(isinstance(row[name], str) for row in rows)
        for row in rows:
            value = row[name]
            absent = type(value).__name__ in ("NAType", "NaTType")
            if absent or (textual and isinstance(value, float) and value != value):
                row[name] = None
    return rows
