"""What was dropped, kept to be read: the only way to know whether a rule is right is to read what it takes.

A build keeps a fixed number of documents for each reason, those with the smallest BLAKE2b of their id: a sample that
depends on the set of documents alone, not on the order in which they came, and whose memory is bounded. Where
de-duplication is all that is asked for, every dropped document is written.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from modeledge.errors import ModeledgeError
from modeledge.files import write_text
from modeledge.records import Document

DROPPED = "dropped.jsonl"
CHARACTERS = 20_000  # of a text that is kept to be read


class Dropped(Protocol):
    """What is shown every document that is dropped."""

    def add(self, document: Document, reason: str, stays: str | None = None) -> None:
        """A document that is dropped for this reason; `stays` names what stands for it, where something does."""
        ...


class DroppedSample:
    """At most `limit` documents for each reason; 0 keeps none. Raises `E-CONFIG-VALUE` for a negative limit."""

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise ModeledgeError("E-CONFIG-VALUE", f"dropped is {limit}; 0 keeps no dropped document")
        self._limit = limit
        self._heaps: dict[str, list[tuple[int, str, str]]] = {}

    def add(self, document: Document, reason: str, stays: str | None = None) -> None:
        """Keep the document if it is among the first of its reason."""
        if not self._limit:
            return
        heap = self._heaps.setdefault(reason, [])
        name = hashlib.blake2b(document.id.encode("utf-8", "surrogatepass"), digest_size=8)
        rank = -int.from_bytes(name.digest(), "big")
        if len(heap) == self._limit and rank <= heap[0][0]:
            return
        entry = (rank, document.id, json.dumps(row_of(document, reason, stays, CHARACTERS)))
        (heapq.heappush if len(heap) < self._limit else heapq.heapreplace)(heap, entry)

    def rows(self) -> Iterator[dict[str, Any]]:
        """What `row_of` makes of them, texts cut to 20,000 characters, by reason and rank."""
        for _, heap in sorted(self._heaps.items()):
            for _, _, row in sorted(heap, key=lambda entry: (-entry[0], entry[1])):
                yield json.loads(row)

    def state(self) -> dict[str, list[list[Any]]]:
        """What is held, as plain values."""
        return {reason: [list(entry) for entry in heap] for reason, heap in self._heaps.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Hold what a state says, and nothing else."""
        self._heaps = {reason: [(int(a), str(b), str(c)) for a, b, c in heap] for reason, heap in state.items()}

    def write(self, path: Path) -> None:
        """One JSON object a line; no file where nothing was dropped."""
        if lines := [json.dumps(row) for row in self.rows()]:
            write_text(path, "\n".join(lines) + "\n")


class DroppedFile:
    """Every document that is dropped, in a file that exists once there is one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, document: Document, reason: str, stays: str | None = None) -> None:
        """Write a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row_of(document, reason, stays)) + "\n")


def row_of(document: Document, reason: str, stays: str | None, most: int | None = None) -> dict[str, Any]:
    """What is written of a dropped document: where it was, the reason, what stands for it, its length and its text."""
    row = {"id": document.id, "where": document.where, "reason": reason, "stays": stays}
    row |= {"source": document.source} if document.source else {}
    return {**row, "characters": len(document.text), "text": document.text[:most]}
