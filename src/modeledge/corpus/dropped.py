"""What the filters dropped, kept to be read: the only way to know whether a rule is right is to read what it takes.

For each reason a fixed number of documents is kept, those with the smallest BLAKE2b of their id: a sample that depends
on the set of documents alone, not on the order in which they came, and whose memory is bounded.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.files import write_text
from modeledge.records import Document

DROPPED = "dropped.jsonl"
CHARACTERS = 20_000  # of a text that is kept to be read


class Dropped:
    """At most `limit` documents for each reason; 0 keeps none. Raises `E-CONFIG-VALUE` for a negative limit."""

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise ModeledgeError("E-CONFIG-VALUE", f"dropped is {limit}; 0 keeps no dropped document")
        self._limit = limit
        self._heaps: dict[str, list[tuple[int, str, str]]] = {}

    def add(self, document: Document, reason: str) -> None:
        """Show a document that is dropped for this reason."""
        if not self._limit:
            return
        heap = self._heaps.setdefault(reason, [])
        name = hashlib.blake2b(document.id.encode("utf-8", "surrogatepass"), digest_size=8)
        rank = -int.from_bytes(name.digest(), "big")
        if len(heap) == self._limit and rank <= heap[0][0]:
            return
        row = {"id": document.id, "where": document.where, "reason": reason, "characters": len(document.text)}
        entry = (rank, document.id, json.dumps({**row, "text": document.text[:CHARACTERS]}))
        (heapq.heappush if len(heap) < self._limit else heapq.heapreplace)(heap, entry)

    def rows(self) -> Iterator[dict[str, Any]]:
        """id, where, reason, text (its first 20,000 characters) and the characters of the whole, by reason and rank."""
        for _, heap in sorted(self._heaps.items()):
            for _, _, row in sorted(heap, key=lambda entry: (-entry[0], entry[1])):
                yield json.loads(row)

    def write(self, path: Path) -> None:
        """One JSON object a line; no file where nothing was dropped."""
        if lines := [json.dumps(row) for row in self.rows()]:
            write_text(path, "\n".join(lines) + "\n")
