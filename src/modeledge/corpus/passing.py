"""Documents through the works of `corpus.work`, in order, by whatever engine: what goes is counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from modeledge.corpus.dropped import Dropped
from modeledge.corpus.filter import size
from modeledge.corpus.work import Judging, Tidying, add_rewritten
from modeledge.corpus.workers import Ordered, batches_of, in_this_process
from modeledge.records import Document, Ledger


def tidied(documents: Iterable[Document], tidy: Tidying, ordered: Ordered, ledger: Ledger) -> Iterator[Document]:
    """The documents after the stages of a recipe."""
    for held, gone in ordered(tidy, batches_of(documents)):
        add_rewritten(ledger, gone)
        yield from held


def passing_documents(
    documents: Iterable[Document],
    judging: Judging,
    ledger: Ledger,
    dropped: Dropped | None,
    ordered: Ordered = in_this_process,
) -> Iterator[Document]:
    """The documents that no filter drops."""
    if not (judging.filters or judging.own):
        yield from documents
        return
    waiting: deque[list[Document]] = deque()

    def sent() -> Iterator[list[Document]]:
        for held in batches_of(documents):
            waiting.append(held)
            yield held

    for reasons in ordered(judging, sent()):
        for document, reason in zip(waiting.popleft(), reasons, strict=True):
            if reason is None:
                yield document
                continue
            ledger.add("filtered", reason, source=document.source, bytes=size(document))
            if dropped is not None:
                dropped.add(document, reason)
