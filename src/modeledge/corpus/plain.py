"""Plain text: a document is a file, a paragraph (blank lines part them) or a line."""

from __future__ import annotations

from collections.abc import Iterator

from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import RAW_KEPT, Intake, Record
from modeledge.corpus.lines import Text, open_text
from modeledge.errors import ModeledgeError


def txt_records(source: Source, intake: Intake) -> Iterator[Record]:
    """Records with one field, named as `config.text` says; line ends become `\\n`."""
    text = open_text(source, intake)
    yield from _decoded(text, {"file": _file, "paragraph": _paragraphs, "line": _lines}[intake.config.split](text))


def whole_records(source: Source, intake: Intake) -> Iterator[Record]:
    """As `txt_records`, one record a file, whatever `config.split` says."""
    text = open_text(source, intake)
    yield from _decoded(text, _file(text))


def every_line(source: Source, intake: Intake) -> Iterator[Record]:
    """As `txt_records` by the line, but blank lines are records too: of files that go together line by line."""
    text = open_text(source, intake)
    yield from _decoded(text, ((raw.removesuffix(b"\r"), number, at) for raw, number, at, _ in text.lines()))


def _decoded(text: Text, pieces: Iterator[tuple[bytes, int, int]]) -> Iterator[Record]:
    source, intake = text.source, text.intake
    field = intake.config.text or "text"
    for raw, number, offset in pieces:
        where = f"{source.name}:{number}"
        try:
            content = text.decode(raw, offset)
        except UnicodeDecodeError as error:
            where = f"{source.name}:{number + raw.count(text.end, 0, error.start)}"
            intake.bad(text.undecodable(error, where, offset), raw, offset=offset)
            continue
        if "\0" in content:
            what = f"byte {offset + raw.index(0):,}: a NUL character"
            where = f"{source.name}:{number + raw.count(text.end, 0, raw.index(0))}"
            intake.bad(ModeledgeError("E-NUL", what, where=where), raw, offset=offset)
            continue
        if "\r" in content:
            content = content.replace("\r\n", "\n").removesuffix("\r")
            if text.end == b"\r":
                content = content.replace("\r", "\n")
        yield Record({field: content}, where, len(raw), offset, raw)


def _file(text: Text) -> Iterator[tuple[bytes, int, int]]:
    try:
        content = text.whole()
    except ModeledgeError as error:
        if error.code != "E-DOC-TOO-LARGE":
            raise
        raw, size = text.overlong
        text.intake.bad(error, raw, offset=text.start, size=size)
        return
    if not content or content.isspace():
        text.intake.blank += len(content.replace(b"\r\n", b"\n").splitlines())
    else:
        yield content, 1, text.start


def _lines(text: Text) -> Iterator[tuple[bytes, int, int]]:
    for raw, number, offset, _ in text.lines():
        if not raw or raw.isspace():
            text.intake.blank += 1
        else:
            yield raw.removesuffix(b"\r"), number, offset


def _paragraphs(text: Text) -> Iterator[tuple[bytes, int, int]]:
    cap = text.intake.config.max_record_bytes
    held: list[bytes] = []
    size, first, start = 0, 1, text.start

    def whole() -> Iterator[tuple[bytes, int, int]]:
        if size > cap:
            what = f"byte {start:,}: the paragraph has {size:,} bytes, more than {cap:,}"
            error = ModeledgeError("E-LINE-TOO-LONG", what, where=f"{text.source.name}:{first}")
            text.intake.bad(error, held[0][:RAW_KEPT], offset=start, size=size)
        elif held:
            yield b"\n".join(held).removesuffix(b"\r"), first, start

    for raw, number, offset, _ in text.lines():
        if not raw or raw.isspace():
            text.intake.blank += 1
            yield from whole()
            held, size = [], 0
            continue
        if not held:
            first, start = number, offset
        size += len(raw) + 1
        if size <= cap or not held:
            held.append(raw)
    yield from whole()
