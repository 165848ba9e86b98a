"""WARC and WET, the formats of crawls (ISO 28500): records of a crawl, each under its own header.

A WARC file holds the bytes that servers sent, HTTP header and all: its `response` records are web pages. A WET file
holds the text that somebody (Common Crawl) has extracted: its `conversion` records are documents as they are.
`resource` records are pages without an HTTP header. Everything else (`request`, `metadata`, `warcinfo`, `revisit`)
tells of the crawl, not of the web: it is counted in a note. What is no page (an image, an error) counts as filtered.

warcio (extra `web`) parts the records; lengths and digests are checked here, since a crawl that was cut in the middle
of a record would otherwise give half a page.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modeledge.corpus.formats.page import NO_TEXT, decoded, extractor
from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import RAW_KEPT, Intake, Record
from modeledge.errors import ModeledgeError, printable

PAGES = ("text/html", "application/xhtml+xml")
_HEADERS = {
    "WARC-Target-URI": "url",
    "WARC-Date": "date",
    "WARC-Record-ID": "record",
    "WARC-Identified-Content-Language": "language",
}


class _Pieces(io.RawIOBase):
    """The unpacked content of a source as a file: what warcio reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = next(self._chunks, b"")
        count = min(len(buffer), len(self._held))
        buffer[:count], self._held = self._held[:count], self._held[count:]
        return count


def warc_records(source: Source, intake: Intake) -> Iterator[Record]:
    """One record a page (or an extracted text), with `url`, `date`, `record` and, where it is told, `language`.

    `where` counts the records of the file from 1. Raises `E-EXTRA`, and `E-WARC` where the file is no row of records; a
    record is bad by `E-WARC` (cut, or another digest than it says), `E-UTF8`, `E-ENCODING`, `E-HTML`, `E-NUL`.
    """
    try:
        iterator: Any = importlib.import_module("warcio.archiveiterator").ArchiveIterator
        failed: Any = importlib.import_module("warcio.exceptions").ArchiveLoadFailed
    except ImportError as error:
        what = "WARC files are read by warcio, which is not installed"
        raise ModeledgeError("E-EXTRA", what, where=source.name, remedy="pip install 'modeledge[web]'") from error
    source.verify(intake.config)
    stream = io.BufferedReader(_Pieces(source.chunks(intake.config)), 1 << 16)
    records, number = iter(iterator(stream, check_digests=True)), 0
    while (found := _next(records, failed, source.name, number)) is not None:
        number += 1
        entry = _Entry(found, f"{source.name}:{number}", intake, source.cut)
        if (record := entry.record()) is not None:
            yield record


def _next(records: Iterator[Any], failed: type[Exception], name: str, number: int) -> Any:
    """The next record, None at the end. Raises `E-WARC`, also where warcio trips over a header that lacks a line."""
    try:
        return next(records, None)
    except (failed, AttributeError, LookupError, ValueError) as error:
        if isinstance(error, ModeledgeError):
            raise
        what = f"after {number:,} records stands something that is none ({_words(error)})"
        why = "where the next record begins is not known, so the rest of the file is not read"
        raise ModeledgeError("E-WARC", what, where=f"{name}:{number + 1}", why=why) from error


@dataclass
class _Entry:
    """One record of the file, and what becomes of it."""

    found: Any
    where: str
    intake: Intake
    cut: bool = False  # the file ends too early, which the user allowed

    def record(self) -> Record | None:
        kind = str(self.found.rec_type)
        if kind not in ("response", "resource", "conversion"):
            self.intake.note(f"WARC record of type {printable(kind, 20)}, which holds no page", self._file)
            return None
        raw = b""
        try:
            raw = self._payload()
            if kind == "response" and self.found.http_headers is None:  # what a crawler asked of a name server, say
                self.intake.passed_over("web.no HTTP header", len(raw))
                return None
            if kind == "response" and (status := str(self.found.http_headers.get_statuscode())) != "200":
                self.intake.passed_over(f"web.status {printable(status, 3)}", len(raw))
                return None
            type, charset = self._type(kind)
            if kind == "conversion":
                text = decoded(raw, charset, self.where, start=0)
            elif type in PAGES:
                extract = extractor(self.intake.config.extractor)
                text = extract(decoded(raw, charset, self.where), self.where)
            elif type == "text/plain":
                text = decoded(raw, charset, self.where)
            else:
                self.intake.passed_over(f"web.{_family(type)}", len(raw))
                return None
        except ModeledgeError as error:
            if error.code == "E-EXTRA":
                raise
            self.intake.bad(error, raw[:RAW_KEPT], size=len(raw), forced=self.cut and error.code == "E-WARC")
            return None
        if not text.strip():
            self.intake.passed_over(NO_TEXT, len(raw))
            return None
        fields = {self.intake.config.text or "text": text, **self._told()}
        return Record(fields, self.where, len(raw), 0, raw)

    def _payload(self) -> bytes:
        """The content, an HTTP transfer's encodings undone. Raises `E-WARC` and `E-LINE-TOO-LONG`."""
        cap, found = self.intake.config.max_record_bytes, self.found
        try:
            stream = found.content_stream()
            raw: bytes = stream.read(cap + 1)
            rest = stream.read(1) if len(raw) <= cap else b"-"
        except Exception as error:  # zlib, brotli and the chunk reader have errors of their own
            what = f"the content cannot be unpacked ({_words(error)})"
            raise ModeledgeError("E-WARC", what, where=self.where) from error
        if rest:
            what = f"the content has more than {cap:,} bytes"
            raise ModeledgeError("E-LINE-TOO-LONG", what, where=self.where, remedy="raise max_record_bytes")
        if getattr(getattr(stream, "decompressor", None), "eof", True) is False:
            raise ModeledgeError("E-WARC", "the page's own compression ends too early", where=self.where)
        while found.raw_stream.read(1 << 16):  # what the encoding left over
            pass
        if missing := int(getattr(found.raw_stream, "limit", 0)):
            what = f"the record was cut: {missing:,} bytes fewer than its header says"
            raise ModeledgeError("E-WARC", what, where=self.where, why="half a page is no page")
        checker = found.digest_checker
        if checker is not None and checker.passed is False:
            what = "; ".join(map(str, checker.problems))[:200]
            raise ModeledgeError("E-WARC", f"the content is not what the digest says ({what})", where=self.where)
        return raw

    def _type(self, kind: str) -> tuple[str, str | None]:
        """Media type and declared encoding; WET says neither of text, which is UTF-8."""
        headers = self.found.http_headers if kind == "response" else self.found.rec_headers
        words = str(headers.get_header("Content-Type") or "").split(";")
        type = words[0].strip().lower()
        told = str(self.found.rec_headers.get_header("WARC-Identified-Payload-Type") or "").strip().lower()
        charset = next((w.partition("=")[2] for w in words[1:] if w.strip().lower().startswith("charset=")), None)
        return type or told, (charset or "").strip("\"' ") or None

    def _told(self) -> dict[str, str]:
        read = self.found.rec_headers.get_header
        return {name: printable(str(value), 2000) for key, name in _HEADERS.items() if (value := read(key))}

    @property
    def _file(self) -> str:
        return self.where.rpartition(":")[0]


def _family(type: str) -> str:
    """A media type as a reason: few, whatever servers write."""
    known = {"image", "video", "audio", "font", "application", "text"}
    return f"{type.partition('/')[0]} file" if type.partition("/")[0] in known else "unknown type"


def _words(error: BaseException) -> str:
    return printable(" ".join(str(error).split()) or type(error).__name__, 120)
