"""Parquet: columns on disk, records to the reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from modeledge.corpus.inputs import FREE_EXPANSION, Source, open_file
from modeledge.corpus.intake import Intake, Record
from modeledge.errors import ModeledgeError

ROWS = 1024  # rows that are turned into records at a time
Row: TypeAlias = dict[str, Any] | UnicodeDecodeError | OverflowError  # as it is, or why it cannot be held
_UNHELD = (UnicodeDecodeError, OverflowError)
_REFUSALS = (OSError, ValueError, pa.ArrowException)


def parquet_records(source: Source, intake: Intake) -> Iterator[Record]:
    """One record a row; `where` counts rows from 1, `bytes` is the size of its values written as text.

    Raises `E-PARQUET` (with the row group, where one is damaged), `E-BOMB`, `E-INPUT-CHANGED`; a row is bad by
    `E-UTF8`, `E-NUL`, or `E-FIELD-TYPE` (a date beyond the year 9999).
    """
    with open_file(source.path, source.name) as file:
        source.unchanged(file)
        table = _open(file, source)
        _refuse_bomb(table, source, intake)
        number = 0
        for group in range(table.num_row_groups):
            for rows in _rows(table, group, source):
                for fields in rows:
                    number += 1
                    where = f"{source.name}:{number}"
                    if isinstance(fields, UnicodeDecodeError):
                        what = f"a value is not UTF-8 ({fields.reason})"
                        intake.bad(ModeledgeError("E-UTF8", what, where=where), bytes(fields.object))
                    elif isinstance(fields, OverflowError):
                        what = f"a date or duration is beyond what can be held ({fields})"
                        intake.bad(ModeledgeError("E-FIELD-TYPE", what, where=where), b"")
                    elif name := next((k for k, v in fields.items() if isinstance(v, str) and "\0" in v), None):
                        what = f"field {name!r} holds a NUL character"
                        intake.bad(ModeledgeError("E-NUL", what, where=where), fields[name].encode())
                    else:
                        yield Record(fields, where, sum(map(_size, fields.values())))
        source.unchanged(file)


def columns(source: Source) -> dict[str, str]:
    """Names and types of a file's columns. Raises `E-PARQUET`."""
    with open_file(source.path, source.name) as file:
        return {field.name: str(field.type) for field in _open(file, source).schema_arrow}


def refuse_other_columns(files: list[Source]) -> None:
    """Raise `E-SCHEMA` where Parquet files of one input differ in the names or types of their columns."""
    tables = [(source, columns(source)) for source in files if source.format == "parquet"]
    for source, found in tables[1:]:
        first, expected = tables[0]
        names = [n for n in {**expected, **found} if expected.get(n) != found.get(n)]
        if names:
            diff = ", ".join(
                f"{n!r}: {expected.get(n, 'absent')} there, {found.get(n, 'absent')} here" for n in names[:8]
            )
            raise ModeledgeError("E-SCHEMA", f"its columns differ from {first.name} ({diff})", where=source.name)


def _open(file: BinaryIO, source: Source) -> Any:
    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
    except _REFUSALS as error:
        raise ModeledgeError("E-PARQUET", _words(error), where=source.name) from error
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ModeledgeError("E-DUP-KEY", f"two columns are named {twice[0]!r}", where=source.name, remedy="rename one")
    return table


def _refuse_bomb(table: Any, source: Source, intake: Intake) -> None:
    size = sum(table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups))
    if size > max(FREE_EXPANSION, intake.config.max_expansion * source.stamp[0]):
        what = f"{source.stamp[0]:,} bytes expand to {size:,}"
        raise ModeledgeError("E-BOMB", what, where=source.name, why="it could fill memory")


def _rows(table: Any, group: int, source: Source) -> Iterator[list[Row]]:
    """Rows of one group, some at a time; in place of a row that cannot be held stands the error."""
    try:
        for batch in table.iter_batches(batch_size=ROWS, row_groups=[group]):
            try:
                yield batch.to_pylist()
            except _UNHELD:
                yield [_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
    except _REFUSALS as error:
        if isinstance(error, ModeledgeError):
            raise
        what = f"row group {group + 1} of {table.num_row_groups}: {_words(error)}"
        raise ModeledgeError("E-PARQUET", what, where=source.name) from error


def _row(batch: Any) -> Row:
    try:
        row: dict[str, Any] = batch.to_pylist()[0]
        return row
    except _UNHELD as error:
        return error


def _size(value: Any) -> int:
    text = value if isinstance(value, str) else str(value)
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _words(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
