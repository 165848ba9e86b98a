"""The values that travel between the rooms: plain, frozen, free of torch.

files → Document → stages → shards → Example → Prepared → (collate) → Batch
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
AnyArray: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its name, where it came from (`file:line`), and the source of a recipe that it belongs to."""

    text: str
    id: str
    where: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn from, already in token ids. `index` is its global number: noise, errors and replay name it.

    `row` is the number of the row of data that it was cut from, where a row gives several examples. `place` is how many
    examples the run has read before it: what a curriculum follows. It is `None` outside a run's order (held-out
    examples), where a curriculum is at its end.
    """

    index: int
    ids: IntArray
    pair: IntArray | None = None
    label: Any = None
    epoch: int = 0
    where: str = ""
    channels: Mapping[str, AnyArray] = field(default_factory=dict)
    row: int | None = None
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What one stack reads of one example: ids `[n]` or patches of a picture `[n, dim]`, and optionally token types
    `[n]` and a both-ways prefix `[n]`.

    `breaks` are rising places at which a part begins that sees nothing of the parts before it: the alternatives of a
    multiple choice stand in one example, because one softmax is taken over them. `begins` is the position of its first
    token, where that is not 0 (a fragment of a text keeps its place).
    """

    ids: IntArray | FloatArray
    types: IntArray | None = None
    prefix: npt.NDArray[np.bool_] | None = None
    breaks: tuple[int, ...] = ()
    begins: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """An example after its objective's noise: what goes into a row.

    `reads[name]` holds positions within the example that head `name` looks at (in the decoder's piece where there is
    one, else the encoder's); `labels[name]` and `weights[name]` stand beside them. A head that reads whole examples
    has no `reads`; it has one label and one weight.
    """

    index: int
    source: Piece | None = None
    target: Piece | None = None
    reads: Mapping[str, IntArray] = field(default_factory=dict)
    labels: Mapping[str, AnyArray] = field(default_factory=dict)
    weights: Mapping[str, FloatArray] = field(default_factory=dict)

    def lengths(self) -> tuple[int, int]:
        """Tokens in the encoder's and in the decoder's piece."""
        return (len(self.source.ids) if self.source else 0, len(self.target.ids) if self.target else 0)


@dataclass
class Count:
    """Records, bytes and tokens of one line of a ledger."""

    records: int = 0
    bytes: int = 0
    tokens: int = 0

    def add(self, records: int = 1, bytes: int = 0, tokens: int = 0) -> None:
        self.records += records
        self.bytes += bytes
        self.tokens += tokens


Line: TypeAlias = Literal["read", "kept", "filtered", "quarantined", "rewritten", "cut"]


@dataclass
class Ledger:
    """Where every record went: `read = kept + filtered(by reason) + quarantined(by reason)`, in records and bytes.

    What is cut out of documents (repeated lines, contaminated spans) is a summand of the bytes alone: `cut` counts the
    pieces and their bytes by reason, and a document counts by what is left of it when it is kept or filtered.
    `rewritten` says what stages took out of texts that were counted as kept (lines, personal data), by reason.
    `tokens` balance too where what was filtered has been tokenized; a record set aside has none. `sources` are the
    ledgers of a recipe's sources by name, each with its `kind`, and they add up to this one.
    """

    read: Count = field(default_factory=Count)
    kept: Count = field(default_factory=Count)
    filtered: dict[str, Count] = field(default_factory=dict)
    quarantined: dict[str, Count] = field(default_factory=dict)
    rewritten: dict[str, Count] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cut: dict[str, Count] = field(default_factory=dict)
    sources: dict[str, Ledger] = field(default_factory=dict)
    kind: str = ""

    def add(
        self, line: Line, reason: str = "", *, source: str = "", records: int = 1, bytes: int = 0, tokens: int = 0
    ) -> None:
        """Count on one line (with its reason, where it has reasons), here and in the ledger of the source."""
        column = getattr(self, line)
        count = column if isinstance(column, Count) else column.setdefault(reason, Count())
        count.add(records, bytes, tokens)
        if source:
            self.of(source).add(line, reason, records=records, bytes=bytes, tokens=tokens)

    def of(self, source: str) -> Ledger:
        """The ledger of a source."""
        return self.sources.setdefault(source, Ledger())

    def balanced(self) -> bool:
        """Does the law of conservation hold, in records and in bytes, here and for each source?"""
        out = [self.kept, *self.filtered.values(), *self.quarantined.values()]
        bytes = sum(c.bytes for c in (*out, *self.cut.values()))
        here = self.read.records == sum(c.records for c in out) and self.read.bytes == bytes
        return here and all(ledger.balanced() for ledger in self.sources.values())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the ledger that `as_dict` gave."""
        self.read, self.kept = Count(**state["read"]), Count(**state["kept"])
        self.notes = list(state["notes"])
        for name in ("filtered", "quarantined", "rewritten", "cut"):
            setattr(self, name, {reason: Count(**count) for reason, count in state.get(name, {}).items()})
        self.kind, self.sources = str(state.get("kind", "")), {}
        for name, of_source in state.get("sources", {}).items():
            self.of(name).restore(of_source)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `ledger.json`."""

        def plain(count: Count) -> dict[str, int]:
            return {"records": count.records, "bytes": count.bytes, "tokens": count.tokens}

        return {
            **({"kind": self.kind} if self.kind else {}),
            "read": plain(self.read),
            "kept": plain(self.kept),
            "filtered": {k: plain(v) for k, v in sorted(self.filtered.items())},
            "quarantined": {k: plain(v) for k, v in sorted(self.quarantined.items())},
            **({"rewritten": {k: plain(v) for k, v in sorted(self.rewritten.items())}} if self.rewritten else {}),
            "notes": list(self.notes),
            **({"cut": {k: plain(v) for k, v in sorted(self.cut.items())}} if self.cut else {}),
            **({"sources": {k: v.as_dict() for k, v in sorted(self.sources.items())}} if self.sources else {}),
        }
