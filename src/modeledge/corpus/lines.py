"""Bytes into lines of text, by bytes.

Lines end at `\\n` or `\\r\\n`; at a lone `\\r` only in a file that has no `\\n`. `str.splitlines` would also cut at
U+2028, U+0085 and vertical tabs, which are ordinary characters inside a record: one document would become four. A
line is decoded alone, so a bad byte spoils its own record and no other.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import RAW_KEPT, Intake, bad_bytes
from modeledge.errors import ModeledgeError

BOM = codecs.BOM_UTF8
_MOJIBAKE = re.compile(
    "Ã[\u0080-¿]|â€".encode()
)  # é, ’ and their like, read as Latin-1 or Windows-1252, written as UTF-8
_SAMPLE = 1 << 12
Line = tuple[bytes, int, int, bool]  # content without "\n" (a "\r" stays), number from 1, offset, was it ended?


@dataclass
class Text:
    """A file opened as text: bytes in `encoding`, which is ASCII-compatible, from offset `start` on."""

    source: Source
    encoding: str
    start: int
    chunks: Iterator[bytes]
    intake: Intake
    end: bytes = b"\n"
    _ends: dict[str, int] = field(default_factory=lambda: {"crlf": 0, "cr": 0, "lf": 0})
    overlong: tuple[bytes, int] = (b"", 0)  # the beginning and the size of what is too large
    _utf8: int | None = None  # where the first text stands that is UTF-8 beyond ASCII

    def decode(self, raw: bytes, offset: int) -> str:
        """A piece of the file as text; remembers the first place that shows the file to be UTF-8."""
        text = raw.decode(self.encoding)
        if self._utf8 is None and not text.isascii() and self.encoding == "utf-8":
            self._utf8 = offset + next(place for place, byte in enumerate(raw) if byte > 0x7F)
        return text

    def undecodable(self, error: UnicodeDecodeError, where: str, offset: int) -> ModeledgeError:
        """The error for a piece that starts at `offset` and is no text: `E-UTF8`, `E-ENCODING`, or `E-MIXED` where
        text before it is UTF-8 and its line looks like another encoding."""
        before = bytes(error.object[: error.start])
        if self._utf8 is None and not before.isascii():
            self._utf8 = offset + next(place for place, byte in enumerate(before) if byte > 0x7F)
        return bad_bytes(error, where, offset, self.encoding, self._utf8)

    def whole(self) -> bytes:
        """The whole content. Raises `E-DOC-TOO-LARGE` beyond `max_record_bytes`, of which no more is ever held."""
        cap, size = self.intake.config.max_record_bytes, 0
        pieces: list[bytes] = []
        for chunk in self.chunks:
            size += len(chunk)
            if size <= cap or not pieces:
                pieces.append(chunk)
        if size > cap:
            remedy = "raise max_record_bytes, or cut it up (split='paragraph' or 'line' for txt, jsonl for json)"
            what = f"the document has {size:,} bytes, more than {cap:,}"
            self.overlong = pieces[0][:RAW_KEPT], size
            raise ModeledgeError("E-DOC-TOO-LARGE", what, where=self.source.name, remedy=remedy)
        content = b"".join(pieces)
        self.survey(content)
        self.write_notes()
        return content

    def lines(self) -> Iterator[Line]:
        """The lines. One longer than `max_record_bytes` is bad (`E-LINE-TOO-LONG`) and never held whole."""
        number, offset, end = 1, self.start, self.end
        cap = self.intake.config.max_record_bytes
        parts: list[bytes] = []  # the beginning of a line that has not ended yet,
        held = 0  # and its size: of an overlong line more than is kept
        for chunk in self.chunks:
            cut = chunk.rfind(end) + 1
            if cut:
                lost = held - sum(map(len, parts))
                block = b"".join([*parts, chunk[:cut]])
                self.survey(block)
                for raw in block.split(end)[:-1]:
                    size, lost = len(raw) + lost, 0
                    if size > cap:
                        self._too_long(raw, size, number, offset)
                    else:
                        yield raw, number, offset, True
                    offset += size + 1
                    number += 1
                parts, held = [], 0
            parts.append(chunk[cut:])
            held += len(chunk) - cut
            if held > cap:
                parts = [_beginning(parts)]
        last = b"".join(parts)
        if held > cap:
            self._too_long(last, held, number, offset)
        elif last and self.source.cut:
            what = "the record was cut when the compressed file ended"
            error = ModeledgeError("E-GZIP-TRUNCATED", what, where=f"{self.source.name}:{number}")
            self.intake.bad(error, last, offset=offset, forced=True)
        elif last:
            self.survey(last)
            yield last, number, offset, False
        self.write_notes()

    def survey(self, block: bytes) -> None:
        """Count what a reader of the ledger should know: line ends, marks inside the text, twice-encoded text."""
        note, name = self.intake.note, self.source.name
        if b"\r" in block:
            crlf = block.count(b"\r\n")
            self._ends["crlf"] += crlf
            self._ends["cr"] += block.count(b"\r") - crlf
            self._ends["lf"] -= crlf
        self._ends["lf"] += block.count(b"\n")
        if block.isascii() or self.encoding != "utf-8":
            return
        if marks := block.count(BOM):
            note("byte order mark inside the text, kept", name, marks)
        if twice := sum(1 for _ in _MOJIBAKE.finditer(block)):
            note(
                "W-MOJIBAKE: a sequence such as 'Ã©' (text that was read in the wrong encoding once), kept", name, twice
            )

    def write_notes(self) -> None:
        """Note line ends that are not all of one kind, or carriage returns alone."""
        counts = {kind: count for kind, count in self._ends.items() if count}
        if len(counts) > 1 or "cr" in counts:
            words = {"crlf": r"\r\n", "cr": r"\r", "lf": r"\n"}
            kinds = " and ".join(words[kind] for kind in counts)
            self.intake.note(f"line end in a file that ends lines by {kinds}", self.source.name, sum(counts.values()))

    def _too_long(self, raw: bytes, size: int, number: int, offset: int) -> None:
        what = f"byte {offset:,}: the line has {size:,} bytes, more than {self.intake.config.max_record_bytes:,}"
        error = ModeledgeError("E-LINE-TOO-LONG", what, where=f"{self.source.name}:{number}")
        self.intake.bad(error, raw[:RAW_KEPT], offset=offset, size=size)


def _beginning(parts: list[bytes]) -> bytes:
    """The first bytes of a long line: not by joining it, which would take its size once more."""
    first = b""
    for part in parts:
        first += part[: RAW_KEPT - len(first)]
    return first


def open_text(source: Source, intake: Intake) -> Text:
    """Open a file as text: verify compression, know UTF-16 when it is there, drop a byte order mark at the start.

    Encodings in which a line does not end by ASCII's byte are turned into UTF-8 on the way (offsets then count UTF-8
    bytes).
    Raises `E-ENCODING` for UTF-16 or UTF-32 that nobody asked for, and what `Source.verify` raises.
    """
    config = intake.config
    source.verify(config)
    if source.cut:
        intake.note("file that ends too early, read as far as it goes (allow_partial)", source.name)
    chunks = source.chunks(config)
    encoding = codecs.lookup(config.encoding).name
    if encoding == "utf-8-sig":
        encoding = "utf-8"
    if "\n".encode(encoding) != b"\n":  # two or four bytes a character, or another alphabet of bytes (EBCDIC)
        chunks, encoding = _transcoded(chunks, encoding, source.name), "utf-8"
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _SAMPLE:
            break
    _refuse_wide(head, source.name)
    start = 0
    if encoding == "utf-8" and head.startswith(BOM):
        head, start = head[3:], 3
        intake.note("byte order mark at the start, removed", source.name)
    end = b"\n"
    if b"\r" in head and b"\n" not in head and not any(b"\n" in chunk for chunk in source.chunks(config)):
        end = b"\r"
    return Text(source, encoding, start, chain([head], chunks), intake, end)


def _refuse_wide(head: bytes, name: str) -> None:
    """Text of two or four bytes a character shows by its mark, or by a NUL in every second or more byte."""
    marks = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
    marks |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    wide = next((encoding for mark, encoding in marks.items() if head.startswith(mark)), None)
    found = "its byte order mark says"
    sample = head[: min(len(head), _SAMPLE) & ~3]
    if wide is None and len(sample) >= 8:
        even, odd = (sample[half::2].count(0) / (len(sample) // 2) for half in (0, 1))
        found = f"{100 * max(even, odd):.0f} % of every second byte are NUL, which suggests"
        if max(even, odd) > 0.6 and min(even, odd) > 0.4:
            wide = "utf-32-le" if odd > even else "utf-32-be"
        elif max(even, odd) > 0.3 and min(even, odd) < 0.05:
            wide = "utf-16-le" if odd > even else "utf-16-be"
    if wide:
        what = f"{found} {wide.upper()}"
        raise ModeledgeError("E-ENCODING", what, where=name, remedy=f"pass encoding={wide!r} (--encoding {wide})")


def _transcoded(chunks: Iterator[bytes], encoding: str, name: str) -> Iterator[bytes]:
    decoder, done = codecs.getincrementaldecoder(encoding)(), 0
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
            done += len(chunk)
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        what = f"near byte {done:,}: not {encoding.upper()} ({getattr(error, 'reason', error)})"
        raise ModeledgeError("E-ENCODING", what, where=name) from error
