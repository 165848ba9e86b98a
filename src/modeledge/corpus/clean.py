"""The steps that look at a corpus as a whole, one after the other: each text once, each line once, no test set.

    documents → duplicates → repeats → evaluation sets → documents

They come in any order and leave in the order of their ids. Every document that leaves is told of with the reason and
what stands for it: another document, or the evaluation sets that it met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeledge.corpus.decontaminate import CUT, Contaminated, Decontamination, EvaluationGrams, decontaminated
from modeledge.corpus.dedup import Dedup, Drop, deduplicated
from modeledge.corpus.dropped import Dropped
from modeledge.corpus.repeats import Repeats, without_repeats
from modeledge.corpus.workers import Engine, Ordered, engine
from modeledge.records import Document, Ledger


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Which of the steps are taken, and with how many processes, of which kind. The default keeps each text once."""

    dedup: Dedup = field(default_factory=Dedup)
    repeats: Repeats | None = None
    decontamination: Decontamination | None = None
    evaluation: tuple[tuple[str, tuple[str, ...]], ...] = ()  # name and examples of each set
    processes: int = 1
    engine: Engine | None = None

    @property
    def ordered(self) -> Ordered:
        """Who does the work."""
        return engine(self.engine, self.processes)


def cleaned(
    documents: Iterable[Document],
    cleaning: Cleaning,
    *,
    ledger: Ledger,
    folder: Path | None = None,
    dropped: Dropped | None = None,
) -> Iterator[Document]:
    """The documents that are left, in the order of their ids; `dropped` is shown each that is not.

    The same bytes for any order of the documents and any number of processes. Raises `E-DUP-ID`, and `E-MISSING-FIELD`
    for a document without the score that decides.
    """

    def told(drop: Drop) -> None:
        if dropped is not None:
            dropped.add(drop.document, drop.reason, drop.stays)

    memory, ordered = cleaning.dedup.memory, cleaning.ordered
    left = deduplicated(documents, cleaning.dedup, ledger=ledger, folder=folder, dropped=told, ordered=ordered)
    if cleaning.repeats is not None:
        emptied = None if dropped is None else dropped.add
        how: dict[str, Any] = {"ledger": ledger, "folder": folder, "memory": memory, "ordered": ordered}
        left = without_repeats(left, cleaning.repeats, emptied=emptied, **how)
    if cleaning.decontamination is not None:
        grams = EvaluationGrams(dict(cleaning.evaluation), cleaning.decontamination.n)

        def met(found: Contaminated) -> None:
            if dropped is not None and found.reason != CUT:
                dropped.add(found.document, found.reason, ", ".join(found.sets))

        where: dict[str, Any] = {"ledger": ledger, "folder": folder, "memory": memory}
        left = decontaminated(left, grams, cleaning.decontamination, found=met, **where)
    return left
