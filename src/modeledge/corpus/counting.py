"""Tokens of what was dropped: a ledger that balances in tokens has to tokenize what it lets go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from modeledge.corpus.dropped import DroppedSample
from modeledge.records import Document, IntArray, Ledger

HELD = 1_000_000  # characters that wait to be tokenized at once


class Encodes(Protocol):
    """What is asked of a tokenizer here."""

    def encode_batch(self, texts: Sequence[str]) -> Sequence[IntArray]: ...


class DroppedTokens:
    """Shows `inner` each dropped document, and adds its tokens to the ledger's line of its reason.

    `end` is 1 where a kept document gets an end-of-text token: a dropped one would have had it too.
    """

    def __init__(self, inner: DroppedSample, tokenizer: Encodes, ledger: Ledger, end: int) -> None:
        self._inner, self._tokenizer, self._ledger, self._end = inner, tokenizer, ledger, end
        self._waiting: list[tuple[str, str, str]] = []
        self._held = 0

    def add(self, document: Document, reason: str, stays: str | None = None) -> None:
        """Show the document on, and count it soon."""
        self._inner.add(document, reason, stays)
        self._waiting.append((document.text, reason, document.source))
        self._held += len(document.text)
        if self._held > HELD:
            self._count()

    def state(self) -> Any:
        """Count what waits, so that a ledger that is kept now has it; the state of what is shown the documents."""
        self._count()
        return self._inner.state()

    def restore(self, state: Any) -> None:
        """Take back what `state` gave."""
        self._inner.restore(state)

    def finish(self) -> None:
        """Count the rest; then what was read is what was kept and what was filtered, in tokens too."""
        self._count()
        for ledger in (self._ledger, *self._ledger.sources.values()):
            ledger.read.tokens = ledger.kept.tokens + sum(count.tokens for count in ledger.filtered.values())

    def _count(self) -> None:
        coded = self._tokenizer.encode_batch([text for text, _, _ in self._waiting]) if self._waiting else []
        for ids, (_, reason, source) in zip(coded, self._waiting, strict=True):
            self._ledger.add("filtered", reason, source=source, records=0, tokens=len(ids) + self._end)
        self._waiting, self._held = [], 0
