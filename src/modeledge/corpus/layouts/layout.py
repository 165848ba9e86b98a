"""What a layout is: how the files of one benchmark are written down, and what its rows mean.

A benchmark is known by its numbers, and they depend on small things: that CoLA has no header, that a double quote in
GLUE is a plain character, that SNLI's "-" means that the annotators did not agree. A `Layout` keeps them as values.

    files → Record (as it stands in the file) → convert → Row (a dict with `__where__`)

A converter accounts for each record by its `Tally`: kept, or filtered with the reason. What cannot be read as the
layout says is an error: rows that someone labelled were chosen one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.records import Count, Ledger

Row: TypeAlias = dict[str, Any]
Kind = Literal["classification", "regression", "ordinal", "multilabel", "choice", "tag", "extract", "write", "rank"]


@dataclass(frozen=True)
class Asked:
    """What is read: the files, the split they hold, whether its rows have labels, and the ledger that counts them.

    `whole` says that the user named a file, which then is the split, whatever it holds.
    """

    paths: tuple[Path, ...]
    split: str
    labelled: bool
    ledger: Ledger
    whole: bool = False


@dataclass(frozen=True)
class Drop:
    """A record that is left out, and why."""

    reason: str


@dataclass
class Tally:
    """Where the records of a reading go, and what a reader of the ledger should know."""

    asked: Asked
    _notes: dict[str, tuple[str, int]] = field(default_factory=dict)

    def keep(self, record: Record) -> None:
        """A record whose rows go on."""
        self.asked.ledger.kept.add(1, record.bytes)

    def drop(self, record: Record, reason: str) -> None:
        """A record that is left out."""
        self.asked.ledger.filtered.setdefault(reason, Count()).add(1, record.bytes)

    def note(self, what: str, where: str, count: int = 1) -> None:
        """Something odd that was accepted: told once, with its number and its first place."""
        first, total = self._notes.get(what, (where, 0))
        self._notes[what] = (first, total + count)

    def write_notes(self) -> None:
        """Move what was noted to the ledger."""
        self.asked.ledger.notes += [f"{where}: {count:,} × {what}" for what, (where, count) in self._notes.items()]
        self._notes.clear()


Open: TypeAlias = Callable[[Asked], Iterator[Record]]
Convert: TypeAlias = Callable[[Iterable[Record], Tally], Iterator[Row]]
Shape: TypeAlias = Callable[[Row, Tally], "Row | list[Row] | Drop"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One benchmark's files.

    `roles` says which column plays which part (text, pair, label; question, context, answers, id; tokens, tags; text,
    choices, label; source, target, targets; history). `labels` are the values of the label column in the field's order;
    empty where the data name them. `metrics` are what the benchmark reports. `files` gives for each split the names
    (or globs) tried inside the benchmark's folder: all the names of the first tuple that is there. `unlabelled` are the
    splits without labels. `form` and `marks` (columns or keys that the first record has) and `words` (parts of its
    path) let a stranger's file be recognised; `suits` looks at its beginning where these are not enough.
    """

    name: str
    task: Kind
    roles: Mapping[str, str]
    metrics: tuple[str, ...]
    template: Template
    open: Open
    convert: Convert
    files: Mapping[str, tuple[tuple[str, ...], ...]]
    form: Literal["tsv", "csv", "jsonl", "json", "columns", "lines"]
    labels: tuple[str, ...] = ()
    unlabelled: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    suits: Callable[[str], bool] | None = None


def each(shape: Shape) -> Convert:
    """The converter that looks at one record at a time: `shape` makes of its fields a row, several rows, or a `Drop`.

    `__where__` stands in the fields that `shape` gets, and it is handed on to rows that do not have their own.
    """

    def convert(records: Iterable[Record], tally: Tally) -> Iterator[Row]:
        for record in records:
            made = shape({**record.fields, "__where__": record.where}, tally)
            if isinstance(made, Drop):
                tally.drop(record, made.reason)
                continue
            tally.keep(record)
            for row in made if isinstance(made, list) else [made]:
                row.setdefault("__where__", record.where)
                yield row

    return convert


def files(names: Mapping[str, str | Sequence[str]], *, suffix: str = "") -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """The names of each split's file, as `Layout.files` has them: each a file of its own, tried in turn."""
    return MappingProxyType(
        {
            split: tuple((name + suffix,) for name in ([given] if isinstance(given, str) else given))
            for split, given in names.items()
        }
    )


# ---- what shapes ask of a record


def need(row: Mapping[str, Any], key: str, kind: type | tuple[type, ...] = str) -> Any:
    """The value of a field of the right type. Raises `E-MISSING-FIELD`, `E-FIELD-TYPE`."""
    where = str(row.get("__where__", ""))
    if key not in row:
        known = [str(name) for name in row if name != "__where__"]
        raise ModeledgeError("E-MISSING-FIELD", f"there is no field {key!r}", where=where, remedy=nearest(key, known))
    value = row[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        found = "null" if value is None else f"{type(value).__name__} {printable(repr(value), 40)}"
        raise ModeledgeError("E-FIELD-TYPE", f"field {key!r} should be {wanted}, but is {found}", where=where)
    return value


def strings(row: Mapping[str, Any], key: str) -> list[str]:
    """A list of strings. Raises as `need`."""
    values: list[Any] = need(row, key, list)
    for i, value in enumerate(values):
        if not isinstance(value, str):
            what = f"field '{key}[{i}]' should be a string, but is {printable(repr(value), 40)}"
            raise ModeledgeError("E-FIELD-TYPE", what, where=str(row.get("__where__", "")))
    return values


def below(row: Mapping[str, Any], part: Any, at: str) -> Row:
    """An object inside a record, with the record's place and the path to it. Raises `E-FIELD-TYPE`."""
    where = f"{row.get('__where__', '')}: {at}"
    if not isinstance(part, dict):
        raise ModeledgeError("E-FIELD-TYPE", f"an object was expected, not {printable(repr(part), 40)}", where=where)
    return {**part, "__where__": where}


def named_label(row: Mapping[str, Any], key: str, labels: Sequence[str]) -> str:
    """The label of a row as one of the field's names: `True` is "true", 1 is "1".

    Raises `E-MISSING-FIELD`, `E-LABEL-MISSING`, `E-LABEL-UNKNOWN`.
    """
    value, where = need(row, key, (str, int, type(None))), str(row.get("__where__", ""))
    name = str(value).lower() if isinstance(value, bool) else str(value)
    if value is None or not name.strip():
        raise ModeledgeError("E-LABEL-MISSING", f"field {key!r} is empty", where=where)
    if labels and name not in labels:
        what = f"{printable(name, 60)!r} in field {key!r} is no label of this layout"
        raise ModeledgeError("E-LABEL-UNKNOWN", what, where=where, remedy=f"the labels are {', '.join(labels)}")
    return name
