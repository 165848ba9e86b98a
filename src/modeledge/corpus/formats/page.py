"""Web pages: bytes → characters → the text that a person would have read.

*Characters.* A page says its encoding in its HTTP header or in a `<meta>`; a page that says none is UTF-8 (what 98 % of
the web is). A label means what browsers take it to mean (WHATWG Encoding Standard, section 4.2: `latin-1` is
Windows-1252), and only labels of that table are followed. A byte that does not fit quarantines the page: a guess would
write mojibake into the corpus.

*Text.* Menus, banners and footers are half of a page, and which lines are "the page" is a judgement that others make
well: resiliparse (Bevendorff et al. 2018, "Elastic ChatNoir"; DataComp-LM, Li et al. 2024, arXiv 2406.11794, section
4.2, found it as good for training as trafilatura and eight times as fast) or trafilatura (Barbaresi 2021; the choice of
FineWeb and RefinedWeb). There is no home-made substitute: without the extra `web` a page is refused, not stripped of
its tags and called text.
"""

from __future__ import annotations

import codecs
import importlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import OF_THE_FILE, RAW_KEPT, Intake, Record, bad_bytes
from modeledge.errors import ModeledgeError, printable

_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.I)
_BEYOND = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
_BEYOND |= {"euc_kr": "cp949", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874"}
_LABELS = re.compile(
    r"utf-8|utf-16(-[lb]e)?|cp125[0-8]|cp8(66|74)|cp9(32|49)|iso8859-\d+|koi8-[ru]|mac-(roman|cyrillic)|euc_jp"
    r"|iso2022_jp|gb18030|big5(hkscs)?"
)
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
NO_TEXT = "web.no text"


def html_records(source: Source, intake: Intake) -> Iterator[Record]:
    """One record a file: its main text. A page without any is passed over under `web.no text`."""
    extract = extractor(intake.config.extractor)
    source.verify(intake.config)
    raw, where = b"", f"{source.name}:1"
    try:
        raw = _whole(source, intake)
        text = extract(decoded(raw, None, where, fallback=intake.config.encoding), where)
    except ModeledgeError as error:
        if error.code in OF_THE_FILE:
            raise
        intake.bad(error, raw[:RAW_KEPT], size=source.stamp[0])
        return
    if text.strip():
        yield Record({intake.config.text or "text": text}, where, len(raw), 0, raw)
    else:
        intake.passed_over(NO_TEXT, len(raw))


def _whole(source: Source, intake: Intake) -> bytes:
    cap, pieces, size = intake.config.max_record_bytes, list[bytes](), 0
    for chunk in source.chunks(intake.config):
        size += len(chunk)
        if size > cap:
            what = f"the page is longer than {cap:,} bytes"
            raise ModeledgeError("E-LINE-TOO-LONG", what, where=f"{source.name}:1", remedy="raise max_record_bytes")
        pieces.append(chunk)
    return b"".join(pieces)


def decoded(raw: bytes, declared: str | None, where: str, *, start: int = 0, fallback: str = "utf-8") -> str:
    """The characters of a page: by its byte order mark, else by `declared` (HTTP), else by its `<meta>`, else
    `fallback`. Raises `E-UTF8` or `E-ENCODING` with the offset, `start` being that of the first byte."""
    for mark, name in _BOMS.items():
        if raw.startswith(mark):
            return _strictly(raw[len(mark) :], name, where, start + len(mark))
    if declared is None and (found := _META.search(raw[:4096])):
        declared = found[1].decode("ascii")
        if declared.lower().startswith("utf-16"):
            declared = "utf-8"  # whoever could read the label did not read UTF-16
    return _strictly(raw, encoding_of(declared, where) if declared else fallback, where, start)


def encoding_of(label: str, where: str) -> str:
    """What a browser would decode under this label; `E-ENCODING` for one that the web does not have."""
    try:
        name = codecs.lookup(label.strip("\"' ")).name
    except (LookupError, ValueError):
        name = ""
    name = _BEYOND.get(name, name)
    if not _LABELS.fullmatch(name):
        what = f"the page declares the encoding {printable(label, 40)!r}, which the web does not know"
        raise ModeledgeError("E-ENCODING", what, where=where, remedy="repair the page, or leave it in quarantine")
    return name


def _strictly(raw: bytes, encoding: str, where: str, start: int) -> str:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise bad_bytes(error, where, start, encoding) from error
    if "\0" in text:
        raise ModeledgeError("E-NUL", f"byte {start + raw.index(0):,}: a NUL character", where=where)
    return text


def _resiliparse() -> Callable[[str], str | None]:
    package = importlib.import_module("resiliparse.extract.html2text")
    return lambda html: str(
        package.extract_plain_text(html, main_content=True, alt_texts=False, preserve_formatting=True)
    )


def _trafilatura() -> Callable[[str], str | None]:
    package: Any = importlib.import_module("trafilatura")
    return lambda html: package.extract(html, include_comments=False, deduplicate=False)


EXTRACTORS: dict[str, Callable[[], Callable[[str], str | None]]] = {
    "resiliparse": _resiliparse,
    "trafilatura": _trafilatura,
}


@cache
def extractor(name: str) -> Callable[[str, str], str]:
    """(page, place) → text. Raises `E-EXTRA` where the package is missing; the function raises `E-HTML`."""
    try:
        extract = EXTRACTORS[name]()
    except ImportError as error:
        what = f"text of web pages is found by {name}, which is not installed"
        why = "a page stripped of its tags is half menus: that is not its text"
        raise ModeledgeError("E-EXTRA", what, why=why, remedy="pip install 'modeledge[web]'") from error

    def text_of(html: str, where: str) -> str:
        try:
            return extract(html) or ""
        except Exception as error:  # a parser's own complaint about one page of millions
            what = f"{name} cannot read the page ({type(error).__name__})"
            raise ModeledgeError("E-HTML", what, where=where) from error

    return text_of
