"""One copy of each text, in an order that the inputs' order cannot change.

Repeated documents waste training and leak from training into evaluation (Lee et al. 2022, arXiv 2107.06499). Two
documents are duplicates here when their texts agree after Unicode normalisation (NFC) and after every run of white
space became one space; 128 bits of BLAKE2b stand for the text, so a chance collision among 10⁹ documents has a
probability near 10⁻²¹.

Which copy stays? "The first one read" would depend on the order in which files were listed. Here the copy with the
smallest id stays, and documents leave in the order of their ids, numbers inside ids counting as numbers
(`a.txt:9` before `a.txt:10`). So the corpus is a function of the *set* of documents. The price is that the whole
input is seen before the first document leaves: texts wait in an anonymous temporary file, only ids stay in memory.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from modeledge.corpus.filter import size
from modeledge.errors import ModeledgeError
from modeledge.records import Count, Document, Ledger

DUPLICATE = "duplicate"


def digest(text: str) -> bytes:
    """16 bytes that name a text up to normal form and white space."""
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def order_key(id: str) -> tuple[str, str]:
    """Sorts ids as people do, numbers by value: each run of digits is led by its length.

    >>> sorted(["b:1", "a:10", "a:9"], key=order_key)
    ['a:9', 'a:10', 'b:1']
    """

    def counted(match: re.Match[str]) -> str:
        digits = match[0].lstrip("0")
        return f"{len(digits):06d}{digits}"

    return re.sub("[0-9]+", counted, id), id


def exact_duplicates(
    documents: Iterable[Document], *, ledger: Ledger, folder: Path | None = None
) -> Iterator[Document]:
    """Each text once, the copy with the smallest id, in the order of ids; the others are `filtered["duplicate"]`.

    `folder` holds the temporary file (default: the system's). Raises `E-DUP-ID` when two records share an id.
    """
    with _Spool(folder) as spool:
        winners: dict[bytes, int] = {}
        for number, document in enumerate(documents):
            spool.add(document)
            name = digest(document.text)
            best = winners.setdefault(name, number)
            if best != number:
                if order_key(document.id) < order_key(spool.ids[best]):
                    winners[name], number = number, best
                loss = spool.sizes[number]
                ledger.filtered.setdefault(DUPLICATE, Count()).add(bytes=loss)
        kept = set(winners.values())
        winners.clear()
        for number in spool.order():
            if number in kept:
                yield spool.read(number)


def in_order(documents: Iterable[Document], *, folder: Path | None = None) -> Iterator[Document]:
    """All documents in the order of their ids, duplicates included. Raises `E-DUP-ID` like `exact_duplicates`."""
    with _Spool(folder) as spool:
        for document in documents:
            spool.add(document)
        for number in spool.order():
            yield spool.read(number)


class _Spool:
    """Documents waiting on disk: texts in an anonymous file, ids (and the rare fields) in memory."""

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._offsets = array("q", [0])
        self._fields: dict[int, Mapping[str, Any]] = {}
        self.ids: list[str] = []
        self.sizes = array("q")

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, document: Document) -> None:
        line = json.dumps([document.text, document.where]).encode()
        self._file.write(line)
        self._offsets.append(self._offsets[-1] + len(line))
        if document.fields:
            self._fields[len(self.ids)] = document.fields
        self.ids.append(document.id)
        self.sizes.append(size(document))

    def read(self, number: int) -> Document:
        start, stop = self._offsets[number], self._offsets[number + 1]
        self._file.seek(start)
        text, where = json.loads(self._file.read(stop - start))
        return Document(text, self.ids[number], where, self._fields.get(number, {}))

    def order(self) -> list[int]:
        """The documents' numbers by id; `E-DUP-ID` names both places of an id that comes twice."""
        order = sorted(range(len(self.ids)), key=lambda number: order_key(self.ids[number]))
        for first, second in pairwise(order):
            if self.ids[first] == self.ids[second]:
                places = sorted((self.read(first).where, self.read(second).where), key=order_key)
                what = f"the id {self.ids[first]!r} names two records"
                raise ModeledgeError("E-DUP-ID", what, where=" and ".join(places))
        return order
