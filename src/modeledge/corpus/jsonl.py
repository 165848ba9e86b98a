"""JSON files: one object a line (jsonl), or one array of objects (json)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import Intake, Record
from modeledge.corpus.lines import open_text
from modeledge.errors import ModeledgeError
from modeledge.strictjson import Flaw, find_end, parse, parse_at

_SPACE = " \t\r\n"


def jsonl_records(source: Source, intake: Intake) -> Iterator[Record]:
    """One record a line; empty lines are counted and passed over.

    Raises `E-FORMAT` for a JSON text that runs over several lines; anything else is about one line.
    """
    text, name, first = open_text(source, intake), source.name, True
    for raw, number, offset, ended in text.lines():
        if not raw or raw.isspace():
            intake.blank += 1
            continue
        where = f"{name}:{number}"
        try:
            line = text.decode(raw, offset)
            if first:
                _refuse_array(line, where)
                first = False
            fields = parse(line)
            if type(fields) is not dict:
                raise not_an_object(fields)
        except UnicodeDecodeError as error:
            intake.bad(text.undecodable(error, where, offset), raw, offset=offset)
        except Flaw as flaw:
            intake.bad(flawed(flaw, where, cut=not ended), raw, offset=offset)
        else:
            yield Record(fields, where, len(raw), offset, raw)


def json_records(source: Source, intake: Intake) -> Iterator[Record]:
    """The objects of one array, each a record. A flaw is about one object, a slip of syntax about all."""
    text = open_text(source, intake)
    content = text.whole().decode(text.encoding, "surrogateescape")
    here, line, offset = 0, 1, text.start

    def move(to: int) -> None:
        nonlocal here, line, offset
        line += content.count("\n", here, to)
        offset += len(content[here:to].encode(text.encoding, "surrogateescape"))
        here = to

    for start, end, value, flaw in _elements(content, source.name):
        move(start)
        where = f"{source.name}:{line}"
        raw = content[start:end].encode(text.encoding, "surrogateescape")
        try:
            text.decode(raw, offset)
            if flaw is not None or type(value) is not dict:
                raise flaw or not_an_object(value)
        except UnicodeDecodeError as error:
            intake.bad(text.undecodable(error, where, offset), raw, offset=offset)
        except Flaw as found:
            intake.bad(flawed(found, where), raw, offset=offset)
        else:
            yield Record(value, where, len(raw), offset, raw)


def _elements(content: str, name: str) -> Iterator[tuple[int, int, Any, Flaw | None]]:
    """Start, end and value of each element of the array; a flaw in place of the value where the end is still known."""

    def skip(position: int) -> int:
        while content[position : position + 1] in _SPACE and position < len(content):
            position += 1
        return position

    wrong = partial(_broken, content, name)
    position = skip(0)
    if position == len(content):
        return
    if content[position] == "{":
        raise wrong("one array of objects was expected, not an object", position, "E-FORMAT", "pass format='jsonl'?")
    if content[position] != "[":
        raise wrong("one array of objects was expected", position, "E-FORMAT", "pass its right format")
    position = skip(position + 1)
    while content[position : position + 1] != "]" or position == len(content):
        start, value, flaw = position, None, None
        try:
            try:
                value, position = parse_at(content, start)
            except Flaw as error:
                flaw, position = error, find_end(content, start)
        except Flaw as error:
            raise wrong(f"in the element that starts here, {error.what}", start, error.code) from error
        yield start, position, value, flaw
        position = skip(position)
        if content[position : position + 1] == ",":
            position = skip(position + 1)
            if content[position : position + 1] == "]":
                raise wrong("the last comma has nothing behind it", position)
        elif content[position : position + 1] != "]":
            raise wrong("a comma or the end of the array was expected", position)
    if skip(position + 1) < len(content):
        raise wrong("something follows the array", skip(position + 1))


def _broken(
    content: str, name: str, what: str, position: int, code: str = "E-JSON", remedy: str = ""
) -> ModeledgeError:
    why = "the file seems cut" if code == "E-JSON" and not content.rstrip(_SPACE).endswith("]") else ""
    where = f"{name}:{content.count(chr(10), 0, position) + 1}"
    return ModeledgeError(code, what, where=where, why=why, remedy=remedy)


def not_an_object(value: Any) -> Flaw:
    """The flaw of a record that is a list or a scalar."""
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null", int: "a number"}
    return Flaw("E-JSON-TYPE", f"an object was expected, not {kinds.get(type(value), 'a number')}")


def _refuse_array(line: str, where: str) -> None:
    head = line.strip(_SPACE)
    if head in ("[", "{") or (head[:1] == "[" and head[1:].lstrip()[:1] in ("", "{")):
        kind = "an array of objects" if head[0] == "[" else "one object over several lines"
        remedy = "pass format='json' (--format json)" if head[0] == "[" else "write one object a line"
        raise ModeledgeError("E-FORMAT", f"this looks like {kind}, not one object a line", where=where, remedy=remedy)


def flawed(flaw: Flaw, where: str, cut: bool = False) -> ModeledgeError:
    """The error for a flaw, with its place; `cut`: the line was the last one, and did not end."""
    why = flaw.why
    if cut and flaw.code == "E-JSON" and not why:
        why = "it is the last line and has no line end: the file seems cut"
    return ModeledgeError(flaw.code, flaw.what, where=where, why=why, remedy=flaw.remedy)
