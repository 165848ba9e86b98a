"""Documents on disk in the order of their ids, whatever order they came in and however many they are.

What is done to a corpus as a whole (each text once, each line once) must not depend on the order in which files were
listed. So documents are sorted by id first. Runs of documents that fit into memory are sorted there and written; the
runs are merged into one file (external merge sort, Knuth 1973, section 5.4), from which documents are read in order,
or by number. Of a document that waits there, memory holds sixteen bytes. What fits into memory as a whole stays there
and touches no disk.
"""

from __future__ import annotations

import heapq
import json
import os
import re
import struct
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from sys import getsizeof
from types import TracebackType
from typing import IO, Any, TypeAlias

from modeledge.errors import ModeledgeError
from modeledge.files import Runs
from modeledge.records import Document

HEAD = struct.Struct("<IIIIQ")  # bytes of the id, of the place, of the source, of the fields as JSON, of the text
Held: TypeAlias = Document | bytes  # as it came, or packed
Keyed: TypeAlias = Iterator[tuple[tuple[str, str], bytes]]
A_DOCUMENT = 400  # bytes that a waiting record, its id and their places in a list take beside its own


def order_key(id: str) -> tuple[str, str]:
    """Sorts ids as people do, numbers by value: each run of digits is led by its length.

    >>> sorted(["b:1", "a:10", "a:9"], key=order_key)
    ['a:9', 'a:10', 'b:1']
    """
    head = id.rstrip("0123456789")  # most ids have one number, at their end
    digits = id[len(head) :]
    shown = _DIGITS.sub(_counted, head) if _DIGITS.search(head) else head
    return (shown + _by_length(digits) if digits else shown), id


_DIGITS = re.compile("[0-9]+")


def _counted(match: re.Match[str]) -> str:
    return _by_length(match[0])


def _by_length(digits: str) -> str:
    digits = digits.lstrip("0")
    return f"{len(digits):06d}{digits}"


class Spool:
    """Documents waiting, on disk once they take more than `memory` bytes, with at most so many of them in memory.

    `add` all, then iterate over `ordered()` once, which numbers them; from then on `read(number)` and iteration give
    them again. Fields that are not plain JSON stay in memory.
    """

    def __init__(self, folder: Path | None, memory: int) -> None:
        self._folder, self._memory = folder, memory
        self._waiting: list[tuple[tuple[str, str], Held]] = []
        self._held = 0
        self._kept: list[Held] = []  # all, by number, where they fit into memory
        self._runs = Runs(self._open, lambda runs: (record for _, record in _merged(runs)))
        self._file: IO[bytes] | None = None
        self._offsets = array("q", [0])
        self._odd: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.sizes = array("q")  # bytes of each document's text, by number

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._runs.close()
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, document: Document) -> None:
        """Take a document."""
        held = self._record(document) if document.fields else document  # fields are many times their JSON in memory
        self._waiting.append((order_key(document.id), held))
        self._held += (len(held) if isinstance(held, bytes) else getsizeof(document.text)) + len(document.id) * 2
        self._held += A_DOCUMENT
        if self._held > self._memory:
            self._runs.add(self._record(held) for _, held in self._sorted())
            self._waiting, self._held = [], 0

    def ordered(self) -> Iterator[Document]:
        """All documents in the order of their ids, each numbered as it passes.

        Raises `E-DUP-ID`, which names both places of an id that comes twice.
        """
        last: Document | None = None
        for document in self._written() if self._runs else self._stayed():
            if last is not None and last.id == document.id:
                places = sorted((last.where, document.where), key=order_key)
                what = f"the id {document.id!r} names two records"
                raise ModeledgeError("E-DUP-ID", what, where=" and ".join(places))
            yield document
            last = document

    def _stayed(self) -> Iterator[Document]:
        """The documents of a spool without runs."""
        self._kept = [held for _, held in self._sorted()]
        self._waiting = []
        for held in self._kept:
            self.sizes.append(HEAD.unpack_from(held)[4] if isinstance(held, bytes) else _bytes(held.text))
            yield self._document(held)

    def _written(self) -> Iterator[Document]:
        """The documents of all runs, as they are merged into one file."""
        self._file = self._open()
        rest = ((key, self._record(held)) for key, held in self._sorted())
        for _, record in _merged(self._runs.files, rest):
            self._file.write(record)
            self._offsets.append(self._offsets[-1] + len(record))
            self.sizes.append(HEAD.unpack_from(record)[4])
            yield self._document(record)
        self._file.flush()
        self._runs.close()
        self._waiting = []

    def read(self, number: int) -> Document:
        """A document by its number."""
        if self._file is None:
            return self._document(self._kept[number])
        start, stop = self._offsets[number], self._offsets[number + 1]
        return self._document(os.pread(self._file.fileno(), stop - start, start))

    def id(self, number: int) -> str:
        """A document's id by its number, without its text."""
        return self.read(number).id if self._file is None else self._part(self._file, number, 0)

    def source(self, number: int) -> str:
        """A document's source by its number, without its text."""
        return self.read(number).source if self._file is None else self._part(self._file, number, 2)

    def __iter__(self) -> Iterator[Document]:
        return map(self.read, range(len(self)))

    def _part(self, file: IO[bytes], number: int, part: int) -> str:
        start = self._offsets[number]
        lengths = HEAD.unpack(os.pread(file.fileno(), HEAD.size, start))
        raw = os.pread(file.fileno(), lengths[part], start + HEAD.size + sum(lengths[:part]))
        return raw.decode("utf-8", "surrogatepass")

    def _open(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._folder)

    def _sorted(self) -> list[tuple[tuple[str, str], Held]]:
        self._waiting.sort(key=itemgetter(0))
        return self._waiting

    def _record(self, held: Held) -> bytes:
        if isinstance(held, bytes):
            return held
        if held.fields and not _is_plain(held.fields):
            self._odd[held.id, held.where] = held.fields
            held = replace(held, fields={})
        return packed(held)

    def _document(self, held: Held) -> Document:
        if not isinstance(held, bytes):
            return held
        document = _unpacked(held)
        odd = self._odd.get((document.id, document.where)) if self._odd else None
        return document if odd is None else replace(document, fields=odd)


def _bytes(text: str) -> int:
    """The size of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def packed(document: Document) -> bytes:
    """A document as bytes that say their own length; of its fields those that JSON gives back as they are."""
    fields = b""
    if document.fields:
        kept = {name: value for name, value in document.fields.items() if _is_plain({name: value})}
        fields = json.dumps(kept).encode()
    words = (document.id, document.where, document.source, document.text)
    id, where, source, text = (s.encode("utf-8", "surrogatepass") for s in words)
    head = HEAD.pack(len(id), len(where), len(source), len(fields), len(text))
    return b"".join((head, id, where, source, fields, text))


def unpacked(file: IO[bytes]) -> Iterator[Document]:
    """The documents of a file of `packed` ones."""
    while head := file.read(HEAD.size):
        yield _unpacked(head + file.read(sum(HEAD.unpack(head))))


def _unpacked(record: bytes) -> Document:
    _, a, b, c, d, _ = accumulate(HEAD.unpack_from(record), initial=HEAD.size)
    parts = (record[HEAD.size : a], record[a:b], record[b:c], record[d:])
    id, where, source, text = (part.decode("utf-8", "surrogatepass") for part in parts)
    return Document(text, id, where, json.loads(record[c:d]) if d > c else {}, source)


def _merged(runs: Iterable[IO[bytes]], *more: Keyed) -> Keyed:
    """The records of several runs in order."""
    return heapq.merge(*map(_read_run, runs), *more, key=itemgetter(0))


def _read_run(file: IO[bytes]) -> Keyed:
    """The records of a run from its beginning, each with the key it was sorted by."""
    file.seek(0)
    while head := file.read(HEAD.size):
        lengths = HEAD.unpack(head)
        rest = file.read(sum(lengths))
        yield order_key(rest[: lengths[0]].decode("utf-8", "surrogatepass")), head + rest


def _is_plain(fields: Mapping[str, Any]) -> bool:
    """Does JSON give these fields back as they are?"""
    try:
        return bool(json.loads(json.dumps(dict(fields))) == fields)
    except (TypeError, ValueError, RecursionError):
        return False


def in_order(documents: Iterable[Document], *, folder: Path | None = None, memory: int = 1 << 28) -> Iterator[Document]:
    """All documents in the order of their ids, duplicates included. Raises `E-DUP-ID`.

    `folder` holds the temporary files (default: the system's).
    """
    with Spool(folder, memory) as spool:
        for document in documents:
            spool.add(document)
        yield from spool.ordered()
