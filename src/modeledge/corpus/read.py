"""Reading files into records and documents: the one door through which data comes in.

    files → Record (fields, file:line, bytes) → Document (text, id)

Everything that is read is counted, and every record is yielded, set aside under an error code, or the reason to stop.
Nothing is repaired in silence: what was accepted though it looks odd (a byte order mark, mixed line ends, text that
was read in the wrong encoding once) is noted in the ledger.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from modeledge.corpus.filter import size
from modeledge.corpus.formats import FORMATS, Reader
from modeledge.corpus.inputs import Source, expand, sources
from modeledge.corpus.intake import Intake, Quarantined, ReadConfig, Record
from modeledge.corpus.jsonl import json_records, jsonl_records
from modeledge.corpus.parquet import parquet_records, refuse_other_columns
from modeledge.corpus.plain import txt_records
from modeledge.corpus.tables import csv_records
from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.records import Document, Ledger

__all__ = ["READERS", "Quarantined", "ReadConfig", "Record", "expand", "read_documents", "read_records"]

T = TypeVar("T")

#: How each format is read.
READERS: dict[str, Reader] = {
    "txt": txt_records,
    "jsonl": jsonl_records,
    "json": json_records,
    "csv": csv_records,
    "tsv": csv_records,
    "parquet": parquet_records,
    **FORMATS,
}


def read_records(
    paths: Sequence[str | os.PathLike[str]],
    config: ReadConfig,
    ledger: Ledger,
    quarantine: Callable[[Quarantined], None] | None = None,
) -> Iterator[Record]:
    """The records of files, folders and globs, in order, counted as read in `ledger` by their bytes in the file.

    What can be refused without reading (see `sources`) is refused by this call, the rest while iterating:
    `E-NO-RECORDS`, `E-TOO-MANY-BAD`, and the errors of each format. In quarantine mode `quarantine` gets each record
    that is set aside.
    """
    files, intake = _accept(paths, config, ledger, quarantine)

    def counted(source: Source, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            intake.good(record.bytes)
            yield record

    return _each(files, intake, counted)


def read_documents(
    paths: Sequence[str | os.PathLike[str]],
    config: ReadConfig,
    ledger: Ledger,
    quarantine: Callable[[Quarantined], None] | None = None,
) -> Iterator[Document]:
    """The documents of files: field `config.text` is the text, `config.id` the id.

    Without an id field it is `file:line`, the file as seen from the folder that holds them all: it stays the same when
    that folder is moved. Where `config.source` has a name, ids begin with it.
    Counted as read by the bytes of their text, as the pipeline counts them further on; what is set aside by its bytes
    in the file. Raises, beside the errors of `read_records`, `E-MISSING-FIELD` (told once for a whole file; in
    quarantine mode only where no record has the field) and `E-FIELD-TYPE`.
    """
    if config.text is None:
        raise ModeledgeError("E-CONFIG-VALUE", "text = None: documents need the name of the field that holds the text")
    files, intake = _accept(paths, config, ledger, quarantine)
    needed = [config.text, *([config.id] if config.id else [])]
    root = os.path.commonpath([os.path.abspath(source.path.parent) for source in files])

    def documents(source: Source, records: Iterable[Record]) -> Iterator[Document]:
        short = printable(Path(os.path.relpath(source.path, root)).as_posix())
        for record in complete(records, needed, intake):
            try:
                document = _document(record, config, source.name, short)
            except ModeledgeError as error:
                set_aside(error, record, intake)
                continue
            intake.good(size(document), document.source)
            yield document

    return _each(files, intake, documents)


def complete(records: Iterable[Record], needed: Sequence[str], intake: Intake) -> Iterator[Record]:
    """The records that have all the fields `needed`; the others are bad, and told together at the end of the file."""
    missing = {name: Missing(name) for name in needed}
    total, quarantines = 0, intake.config.on_bad_record != "error"
    try:
        for record in records:
            total += 1
            name = next((name for name in needed if name not in record.fields), None)
            if name is None:
                if quarantines or not any(gap.count for gap in missing.values()):
                    yield record
                continue
            missing[name].add(record)
            if quarantines:
                set_aside(missing[name].error(total), record, intake)
    except ModeledgeError as error:
        if quarantines and not (error.code == "E-TOO-MANY-BAD" and total in {gap.count for gap in missing.values()}):
            raise
        if not any(gap.count for gap in missing.values()):
            raise
    for gap in missing.values():
        if gap.count and (gap.count == total or not quarantines):
            raise gap.error(total)


def set_aside(error: ModeledgeError, record: Record, intake: Intake) -> None:
    """Refuse or quarantine a record that was read well, but does not hold what it should."""
    raw = record.raw or json.dumps(record.fields, default=str).encode()
    intake.bad(error, raw, offset=record.offset, size=record.bytes)


@dataclass
class Missing:
    """Records of one file that lack a field: how many, where the first are, what they have instead."""

    name: str
    count: int = 0
    first: list[str] = field(default_factory=list)
    keys: dict[str, None] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        self.count += 1
        if len(self.first) < 5:
            self.first.append(record.where)
            self.keys.update(dict.fromkeys(map(str, record.fields)))

    def error(self, total: int) -> ModeledgeError:
        """What the user is told of all of them."""
        lines = ", ".join(where.rpartition(":")[2] for where in self.first) + (", …" if self.count > 5 else "")
        keys = ", ".join(repr(key) for key in list(self.keys)[:20]) or "no field at all"
        what = f"{self.count:,} of {total:,} records have no field {self.name!r} (lines {lines}); they have {keys}"
        return ModeledgeError("E-MISSING-FIELD", what, where=self.first[0], remedy=nearest(self.name, self.keys))


def _accept(
    paths: Sequence[str | os.PathLike[str]],
    config: ReadConfig,
    ledger: Ledger,
    quarantine: Callable[[Quarantined], None] | None,
) -> tuple[list[Source], Intake]:
    files = sources(paths, config, ledger)
    refuse_other_columns(files)
    return files, Intake(config, ledger, quarantine)


def _each(
    files: list[Source], intake: Intake, convert: Callable[[Source, Iterable[Record]], Iterator[T]]
) -> Iterator[T]:
    try:
        for source in files:
            before, intake.blank = intake.seen, 0
            yield from convert(source, READERS[source.format](source, intake))
            if intake.seen == before:
                what = f"no record was found ({intake.blank:,} blank lines)"
                raise ModeledgeError("E-NO-RECORDS", what, where=source.name)
            if intake.blank and not (source.format == "txt" and intake.config.split == "paragraph"):
                intake.note("blank line, passed over", source.name, intake.blank)
    finally:
        intake.write_notes()


def _document(record: Record, config: ReadConfig, name: str, short: str) -> Document:
    fields: dict[str, Any] = dict(record.fields)
    text = fields.pop(config.text or "text")
    if not isinstance(text, str):
        raise _wrong_type(config.text, "text", text, record.where)
    id = fields.pop(config.id) if config.id else short + record.where.removeprefix(name)
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise _wrong_type(config.id, "a string or an integer", id, record.where)
    lead = f"{config.source}/" if config.source else ""
    return Document(text, f"{lead}{id}", record.where, fields, record.source or config.source)


def _wrong_type(name: str | None, wanted: str, value: Any, where: str) -> ModeledgeError:
    kind = "null" if value is None else f"a value of type {type(value).__name__}"
    return ModeledgeError("E-FIELD-TYPE", f"field {name!r} should hold {wanted}, but holds {kind}", where=where)
