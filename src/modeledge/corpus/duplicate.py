"""A corpus that repeats itself on purpose: what duplicates do to a model is measured by putting them there.

Hernandez et al. (2022, arXiv 2205.10487) repeat a small share of the text many times and find that a tenth of the data
read a hundred times can cost half of a model's size. Here a share of the documents, drawn by lot, stands `times` times
in the corpus; the copies follow all documents, round by round, so that no window shows two of a text side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from modeledge.records import Document, Ledger
from modeledge.seed import Noise


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Each document of a `share` stands `times` times. Which ones is a function of the seed and their ids alone."""

    share: float
    times: int
    seed: int = 0

    def drawn(self, document: Document) -> bool:
        """Is this document repeated?"""
        return float(Noise(self.seed).at("duplicate", document.id).generator().random()) < self.share


def duplicated(documents: Iterable[Document], how: Duplicate, ledger: Ledger) -> Iterator[Document]:
    """The documents, then the copies, which are held in memory; a note of the ledger says how many there are. Copies
    are counted in the ledger's tokens and not in its records: nothing was read that it could balance."""
    chosen: list[Document] = []
    count = 0
    for document in documents:
        count += 1
        if how.drawn(document):
            chosen.append(document)
        yield document
    for copy in range(2, how.times + 1):
        yield from (replace(document, id=f"{document.id}#{copy}") for document in chosen)
    ledger.notes.append(f"{len(chosen):,} of {count:,} documents stand {how.times} times, as duplicate asks")
