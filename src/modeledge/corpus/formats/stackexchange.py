"""StackExchange's dumps: `Posts.xml`, one post a row, as the archive publishes them.

Questions and answers are the corpus's *conversation*: a title, a body in HTML, a score that readers gave. The file has
one `<row …/>` a line, and lines are what is read: a bad byte or a slip of XML costs its row alone, memory holds one
row, and there is no document type, so no entity can be declared and none can explode (`E-XML` refuses a file that
declares one).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import Intake, Record, bad_bytes
from modeledge.corpus.lines import open_text
from modeledge.errors import ModeledgeError, printable

QUESTION, ANSWER = "1", "2"  # PostTypeId; the others are wiki pages and notices of the site
_FRAME = re.compile(rb"<\?xml[^<>]*\?>|</?posts>")
_BLOCKS = frozenset(["p", "pre", "blockquote", "ul", "ol", "h1", "h2", "h3", "h4", "hr", "table", "tr", "div"])
_UNENDED, MOST_UNENDED = re.compile(r"<[a-zA-Z/][^<>]*(?=<)"), 100
_NUMBERS = {"Id": "post", "ParentId": "parent", "Score": "score"}


def stackexchange_records(source: Source, intake: Intake) -> Iterator[Record]:
    """One record a question or answer, with `post`, `parent` (of an answer), `score`, `tags` and `date`.

    A question's text begins with its title. Raises `E-XML` for a file that declares a document type, or none of whose
    lines is a row; a row is bad by `E-XML`, `E-UTF8` or `E-NUL`.
    """
    text, rows = open_text(source, intake), 0
    for raw, number, offset, _ in text.lines():
        line, where = raw.strip(), f"{source.name}:{number}"
        if not line:
            intake.blank += 1
        elif line.startswith((b"<!DOCTYPE", b"<!ENTITY")) or (b"<!DOCTYPE" in line and not rows):
            what, why = "the file declares a document type", "an entity could expand without end; dumps have none"
            raise ModeledgeError("E-XML", what, where=where, why=why, remedy="do not use this file")
        elif not _FRAME.fullmatch(line):
            if not rows and not line.startswith(b"<row"):
                what = f"a row was expected, not {printable(line[:40].decode('utf-8', 'replace'), 40)!r}"
                raise ModeledgeError("E-FORMAT", what, where=where, remedy="Posts.xml has one <row …/> a line")
            rows += 1
            try:
                record = _record(line.decode(text.encoding), where, intake)
            except UnicodeDecodeError as error:
                intake.bad(bad_bytes(error, where, offset, text.encoding), raw, offset=offset)
            except ModeledgeError as error:
                intake.bad(error, raw, offset=offset)
            else:
                if record is not None:
                    record.offset, record.raw, record.bytes = offset, raw, len(raw)
                    yield record


def _record(line: str, where: str, intake: Intake) -> Record | None:
    if not (line.startswith("<row ") and line.endswith("/>")):
        why = "" if line.startswith("<row") else "a row may have been cut here"
        raise ModeledgeError("E-XML", "the line is not one whole <row …/>", where=where, why=why)
    try:
        row = ElementTree.fromstring(line).attrib
    except ElementTree.ParseError as error:
        raise ModeledgeError("E-XML", f"the row is not XML ({error})", where=where) from error
    kind = row.get("PostTypeId", "")
    if kind not in (QUESTION, ANSWER):
        intake.passed_over(f"stackexchange.post type {printable(kind, 4) or 'unknown'}", len(line.encode()))
        return None
    unended = sum(1 for _ in _UNENDED.finditer(row.get("Body", "")))
    if unended > MOST_UNENDED:  # the parser looks for the end of each in all that follows
        raise ModeledgeError("E-XML", f"the body has {unended:,} tags that do not end", where=where)
    parts = [row.get("Title", "").strip() if kind == QUESTION else "", plain_of(row.get("Body", ""))]
    fields: dict[str, object] = {intake.config.text or "text": "\n\n".join(part for part in parts if part)}
    fields["post_type"] = "question" if kind == QUESTION else "answer"
    fields |= {name: int(row[key]) for key, name in _NUMBERS.items() if re.fullmatch(r"-?\d{1,18}", row.get(key, ""))}
    if tags := re.findall(r"[^<>|]+", row.get("Tags", "")):
        fields["tags"] = tags
    if "CreationDate" in row:
        fields["date"] = row["CreationDate"]
    return Record(fields, where, 0)


class _Body(HTMLParser):
    """The text of a post: paragraphs parted by an empty line, code as it stands."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.code = 0

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.code += tag == "pre"
        if lead := "\n\n" if tag in _BLOCKS else {"br": "\n", "li": "\n- "}.get(tag):
            self.parts.append(lead)

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag == "pre"
        if tag in _BLOCKS:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self.code <= 0:
            data = re.sub(r"\s+", " ", data)
            data = data.lstrip() if not self.parts or self.parts[-1].endswith("\n") else data
        self.parts.append(data)


def plain_of(body: str) -> str:
    """The text of a post's HTML, which the site itself has cut down to a few tags."""
    parser = _Body()
    parser.feed(body)
    parser.close()
    text = re.sub(r"[ \t]+\n", "\n", "".join(parser.parts))
    return re.sub(r"\n{3,}", "\n\n", text).strip()
