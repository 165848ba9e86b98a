"""How the files behind a layout are opened: the corpus's own readers, told how the benchmark writes its files.

Decoding, size limits, compressed files, and the places in errors are theirs. A GLUE table is read with quoting off:
its sentences hold single double quotes, and a reader that takes them for quotes swallows the rows between two of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from modeledge.corpus.inputs import Source, regular, sources
from modeledge.corpus.intake import Intake, ReadConfig, Record, bad_bytes
from modeledge.corpus.jsonl import flawed
from modeledge.corpus.layouts.layout import Asked, Open
from modeledge.corpus.lines import BOM, open_text
from modeledge.corpus.read import complete, read_records
from modeledge.corpus.rows import read_table
from modeledge.errors import ModeledgeError
from modeledge.records import Ledger
from modeledge.strictjson import Flaw, parse

Columns: TypeAlias = "tuple[str, ...] | Callable[[Asked], tuple[str, ...] | None] | None"


def table(
    format: Literal["tsv", "csv"],
    needed: Sequence[str] = (),
    *,
    label: str | None = None,
    columns: Columns = None,
    spare_short_rows: bool = False,
) -> Open:
    """A table. `columns` names the columns of a file without header; `needed` and, but for a split without labels,
    `label` must be among them. With `spare_short_rows` a bad row is quarantined, and too many of them are an error."""

    def open(asked: Asked) -> Iterator[Record]:
        names = columns(asked) if callable(columns) else columns
        wanted = [*needed, *([label] if label and asked.labelled else [])]
        for path in asked.paths:
            if not spare_short_rows:
                yield from read_table(path, wanted, config=_config(format, columns=names), ledger=asked.ledger)
                continue
            regular(path)
            config = _config(format, columns=names, on_bad_record="quarantine")
            strict = Intake(_config(format), asked.ledger)
            yield from complete(read_records([path], config, asked.ledger), wanted, strict)

    return open


def objects(needed: Sequence[str] = ()) -> Open:
    """One JSON object a line, or the objects of one array: whichever the first character says, not the name."""

    def open(asked: Asked) -> Iterator[Record]:
        for path in asked.paths:
            array = start_of(path).lstrip()[:1] == "["
            yield from read_table(path, needed, config=_config("json" if array else "jsonl"), ledger=asked.ledger)

    return open


def pieces(split: Literal["paragraph", "line"]) -> Open:
    """Plain text by the line or by the paragraph, each a record with the field "text"."""

    def open(asked: Asked) -> Iterator[Record]:
        for path in asked.paths:
            yield from read_table(path, config=_config("txt", split=split), ledger=asked.ledger)

    return open


def document(path: Path, ledger: Ledger) -> tuple[dict[str, Any], str]:
    """A file that is one JSON object, and its printable name; strict as `jsonl_records` is.

    Raises `E-JSON` and its kin, `E-JSON-TYPE`, `E-UTF8`, `E-NO-RECORDS`, `E-LINE-TOO-LONG`.
    """
    source, intake = opened(path, "json", ledger)
    text = open_text(source, intake)
    raw = text.whole()
    if not raw.strip():
        raise ModeledgeError("E-NO-RECORDS", "the file holds blank lines only", where=source.name)
    try:
        value = parse(raw.decode(text.encoding))
    except UnicodeDecodeError as error:
        where = f"{source.name}:{raw.count(text.end, 0, error.start) + 1}"
        raise bad_bytes(error, where, text.start, text.encoding) from error
    except Flaw as flaw:
        raise flawed(flaw, source.name) from flaw
    intake.write_notes()
    if not isinstance(value, dict):
        raise ModeledgeError("E-JSON-TYPE", "one object was expected", where=source.name)
    return value, source.name


def opened(path: str | os.PathLike[str], format: str, ledger: Ledger) -> tuple[Source, Intake]:
    """A file looked at, and the intake that its reader counts with; raises what `sources` raises."""
    regular(Path(path))
    config = _config(format)
    [source] = sources([path], config, ledger)
    return source, Intake(config, ledger)


def start_of(path: Path) -> str:
    """The first characters of a file (up to 1 MiB, unpacked), with bytes that are no UTF-8 replaced: to look at, not to
    use. Raises what `sources` raises."""
    source, intake = opened(path, "txt", Ledger())
    return next(source.chunks(intake.config), b"").removeprefix(BOM).decode("utf-8", "replace")


def _config(format: str, **more: Any) -> ReadConfig:
    return ReadConfig(format=format, **more)  # type: ignore[arg-type]
