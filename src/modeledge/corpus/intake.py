"""What a reader is told, what it hands over, and what becomes of a record that cannot be read.

A bad record ends the run (`on_bad_record="error"`: labelled data, where every row was chosen by someone) or is set
aside (`"quarantine"`: a corpus, where one broken line in a million must not cost a night). Set aside never means
forgotten: the ledger counts it under its error code, the caller may keep its bytes, and more than a few of them end
the run after all, because a file of which much is bad is being read in the wrong way. `"skip"` is for whoever knows
that and goes on: every bad record is counted under its code, but none is kept, and no number of them ends the run.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from modeledge.errors import ModeledgeError, nearest
from modeledge.records import Ledger

Format = Literal[
    "auto", "txt", "jsonl", "json", "csv", "tsv", "parquet",
    "warc", "html", "markdown", "code", "latex", "stackexchange", "pile",
]  # fmt: skip
OnBadRecord = Literal["error", "quarantine", "skip"]
_Bytes: TypeAlias = bytes  # a field of `Record` has the name of the type
ALWAYS_ALLOWED = 10  # bad records that quarantine mode accepts whatever their share: one in a file of five is no trend
OF_THE_FILE = ("E-PERMISSION", "E-READ", "E-INPUT-CHANGED")  # never a record's own fault: not set aside with it
RAW_KEPT = 1 << 16  # bytes of an overlong line that a quarantined record keeps


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How files are read.

    `columns` names the columns of a csv or tsv file that has no header. `max_record_bytes` caps one record (a line,
    a row, a whole .json file or a whole text document); `max_expansion` caps how far a compressed file may expand,
    and counts only beyond 100 MB. `source` names what the documents belong to, and leads their ids; `extractor` makes
    text of web pages. Raises `E-CONFIG-VALUE`.
    """

    format: Format = "auto"
    encoding: str = "utf-8"
    delimiter: str | None = None
    text: str | None = "text"
    id: str | None = None
    on_bad_record: OnBadRecord = "error"
    bad_limit: float = 0.001
    max_record_bytes: int = 100_000_000
    max_expansion: float = 200.0
    allow_partial: bool = False
    split: Literal["file", "paragraph", "line"] = "file"
    columns: tuple[str, ...] | None = None
    source: str = ""
    extractor: Literal["resiliparse", "trafilatura"] = "resiliparse"

    def __post_init__(self) -> None:
        choices = {
            "format": get_args(Format),
            "on_bad_record": get_args(OnBadRecord),
            "split": ("file", "paragraph", "line"),
            "extractor": ("resiliparse", "trafilatura"),
        }
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise ModeledgeError("E-CONFIG-VALUE", f"{name} = {value!r}", remedy=nearest(str(value), allowed))
        try:
            "a".encode(self.encoding)
            if codecs.lookup(self.encoding).name in ("idna", "punycode"):
                raise ValueError("an encoding of the names of hosts")
        except (LookupError, ValueError):
            raise ModeledgeError(
                "E-CONFIG-VALUE", f"encoding = {self.encoding!r} is no text encoding", remedy="e.g. utf-8, latin-1"
            ) from None
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ModeledgeError("E-CONFIG-VALUE", f"delimiter = {self.delimiter!r} must be one character")
        if not 0 <= self.bad_limit <= 1 or self.max_record_bytes < 1 or not self.max_expansion > 0:
            raise ModeledgeError("E-CONFIG-VALUE", "bad_limit is a share; the caps are above 0")


@dataclass(slots=True)
class Record:
    """One record as read: its fields, `file:line`, its size, and the bytes it was made of (`offset` in the file)."""

    fields: dict[str, Any]
    where: str
    bytes: int
    offset: int = 0
    raw: _Bytes = b""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record set aside: where it was, the error code, its bytes (of an overlong line the beginning), the message."""

    where: str
    offset: int
    reason: str
    raw: bytes
    message: str = ""


@dataclass
class Intake:
    """The one place where records are counted as read, and bad ones are refused or set aside."""

    config: ReadConfig
    ledger: Ledger
    quarantine: Callable[[Quarantined], None] | None = None
    seen: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    blank: int = 0  # empty lines of the current file
    _first: ModeledgeError | None = None
    _notes: dict[str, tuple[str, str, int, int]] = field(default_factory=dict)

    def good(self, size: int, source: str = "") -> None:
        """Count a record that goes on; `source` is its own, where it has one."""
        self.seen += 1
        self.ledger.add("read", source=source or self.config.source, bytes=size)

    def passed_over(self, reason: str, size: int, source: str = "") -> None:
        """Count a record that was read well, but is no document: filtered, under a reason."""
        self.good(size, source)
        self.ledger.add("filtered", reason, source=source or self.config.source, bytes=size)

    def bad(
        self, error: ModeledgeError, raw: bytes, *, offset: int = 0, size: int | None = None, forced: bool = False
    ) -> None:
        """Refuse or set aside one record; `forced` sets it aside in error mode too (the user allowed it).

        Raises `error` itself, or `E-TOO-MANY-BAD`.
        """
        if self.config.on_bad_record == "error" and not forced:
            raise error
        size = len(raw) if size is None else size
        self.seen += 1
        self.ledger.add("read", source=self.config.source, bytes=size)
        self.ledger.add("quarantined", error.code, source=self.config.source, bytes=size)
        skips = self.config.on_bad_record == "skip"
        if self.quarantine is not None and not skips:
            self.quarantine(Quarantined(error.where, offset, error.code, raw, str(error)))
        if forced or skips:
            return
        self._first = self._first or error
        self.refused[error.code] = self.refused.get(error.code, 0) + 1
        total = sum(self.refused.values())
        if total > ALWAYS_ALLOWED and total > self.config.bad_limit * self.seen:
            reasons = ", ".join(f"{code} {count:,}" for code, count in sorted(self.refused.items()))
            raise ModeledgeError(
                "E-TOO-MANY-BAD",
                f"{total:,} of {self.seen:,} records read so far are bad ({reasons})",
                where=error.where,
                why=f"bad_limit = {self.config.bad_limit:g} allows fewer. The first: {self._first}",
            )

    def note(self, kind: str, name: str, count: int = 1) -> None:
        """Remember something that a reader of the ledger should know; told once, however many files show it."""
        first, last, files, total = self._notes.get(kind, (name, "", 0, 0))
        self._notes[kind] = (first, name, files + (name != last), total + count)

    def write_notes(self) -> None:
        """Move what was noted to the ledger."""
        for kind, (name, _, files, total) in self._notes.items():
            others = f" and {files - 1:,} more files" if files > 1 else ""
            rate = 1000 * total / max(1, self.ledger.read.bytes)
            often = f", {rate:.3g} in 1,000 bytes read" if kind.startswith("W-") else ""
            self.ledger.notes.append(f"{name}{others}: {total:,} × {kind}{often}")
        self._notes.clear()


_HIGH = re.compile(rb"[\x80-\xff]")
_SCRIPTS = (
    ("euc_kr", re.compile("[가-힣]"), 0.8),
    ("shift_jis", re.compile("[぀-ヿ]"), 0.3),
    ("euc_jp", re.compile("[぀-ヿ]"), 0.3),
    ("gb18030", re.compile("[一-鿿，。]"), 0.9),
    ("big5", re.compile("[一-鿿，。]"), 0.9),
    ("cp1251", re.compile("[а-яё]"), 0.7),
    ("koi8_r", re.compile("[а-яё]"), 0.7),
)


def guess_encoding(raw: bytes) -> str | None:
    """The encoding that bytes which are not UTF-8 look like; None where they look like damaged UTF-8.

    A few rules of thumb for a hint in an error message, never used to read data: a script's own letters prevail
    after decoding; single high bytes between ASCII letters are western European.
    """
    sample = raw[:RAW_KEPT]
    dense = len(_HIGH.findall(sample)) > 0.4 * max(1, len(sample) - sample.count(b" "))
    for encoding, letters, share in _SCRIPTS if dense else ():
        try:
            high = [c for c in sample.decode(encoding) if c > "\x7f"]
        except UnicodeDecodeError:
            continue
        if high and sum(map(bool, map(letters.match, high))) >= share * len(high):
            return encoding
    if not sample.decode("utf-8", "ignore").isascii() or re.search(rb"[\xc0\xc1].|\xed[\xa0-\xbf]", sample, re.S):
        return None
    return "latin-1" if not re.search(rb"[\x80-\x9f]", sample) else "cp1252"


def bad_bytes(
    error: UnicodeDecodeError, where: str, start: int, encoding: str, utf8: int | None = None
) -> ModeledgeError:
    """The error for bytes that are not text: `start` is the offset in the file of the bytes that were decoded, `utf8`
    that of earlier text in the same file that is UTF-8 for certain."""
    byte, raw = error.object[error.start], bytes(error.object)
    what = f"byte {start + error.start:,}: 0x{byte:02X} is not {encoding.upper()}"
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        return ModeledgeError("E-ENCODING", f"{what} ({error.reason})", where=where)
    begin, end = raw.rfind(b"\n", 0, error.start) + 1, raw.find(b"\n", error.start)
    guess = guess_encoding(raw[begin : end if end >= 0 else None][-RAW_KEPT:] if end >= 0 or begin else raw)
    if guess and utf8 is not None:
        what = f"{what} but looks like {guess}, while the text at byte {utf8:,} is UTF-8"
        why = f"no one encoding reads the file: --encoding {guess} would spoil the rest"
        return ModeledgeError("E-MIXED", what, where=where, why=why)
    if guess:
        remedy = f"pass encoding={guess!r} (--encoding {guess}) if the whole file is, or repair the record"
        return ModeledgeError("E-UTF8", what, where=where, why=f"looks like {guess}", remedy=remedy)
    if byte in (0xC0, 0xC1):
        why = "an overlong sequence, which UTF-8 forbids"
    elif byte == 0xED:
        why = "half of a surrogate pair (CESU-8), which UTF-8 forbids"
    else:
        why = f"the rest looks like UTF-8, so the bytes seem damaged ({error.reason})"
    return ModeledgeError("E-UTF8", what, where=where, why=why, remedy="repair the record, or quarantine it")
