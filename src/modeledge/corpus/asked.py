"""What is asked of a build: its steps and their settings, and what it needs of a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from modeledge.corpus.clean import Cleaning
from modeledge.corpus.dedup import Dedup
from modeledge.corpus.duplicate import Duplicate
from modeledge.records import IntArray
from modeledge.tokens.coders import Backend


class Specials(Protocol):
    """The ids that a tokenizer reserves, as far as a corpus needs them."""

    @property
    def eos(self) -> int | None: ...


class Encoder(Protocol):
    """What a corpus asks of a tokenizer; `tokens.Tokenizer` is one."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def specials(self) -> Specials: ...
    def encode_batch(self, texts: Sequence[str]) -> Sequence[IntArray]: ...
    def encode_spans_batch(self, texts: Sequence[str]) -> Sequence[tuple[IntArray, IntArray]]: ...


@dataclass(frozen=True, kw_only=True)
class Build:
    """How a corpus is made. All fields but `batch`, `backend` and `shard_tokens` can change what it holds.

    `channels` are what is kept of each token beside its id, as an objective's `Prepare.channels` asks: "words",
    "sentences", "salient" (see `corpus.channels`).
    """

    filters: Mapping[str, Any] = field(default_factory=lambda: {"empty": True})
    own_filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of a source, in place of `filters`
    deduplicate: bool = True
    cleaning: Cleaning | None = None  # instead of `deduplicate`: what is done to the corpus as a whole
    stages: Sequence[str] | Mapping[str, Any] = ("nfc",)
    duplicate: Duplicate | None = None  # after all else, documents that stand several times
    channels: Iterable[str] = ()
    dropped: int = 20  # documents kept to be read for each reason to drop one, in `dropped.jsonl`
    count_dropped: bool = True  # tokenize what is filtered too, so that the ledger balances in tokens
    end: bool = True  # an end-of-text token after each document, where the tokenizer has one
    shard_tokens: int = 2**26
    batch: int = 1000
    backend: Backend = "auto"  # who makes the ids, see `tokens.coders`

    @property
    def whole(self) -> Cleaning:
        """What is done to the corpus as a whole, and by whom."""
        return self.cleaning or Cleaning(dedup=Dedup(exact=self.deduplicate))
