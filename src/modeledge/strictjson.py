"""JSON without the holes of the standard library.

Python's `json` reads NaN, turns 1e400 into infinity, keeps the last of two equal keys, accepts half of a surrogate
pair, and dies of deep nesting or of a very long integer with errors that are no JSON errors. Each of these is a
named flaw here. RFC 8259 calls such input unpredictable; a corpus must not depend on luck.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 200  # levels; far above real data, far below what recursion can bear anywhere downstream
_SUSPECT = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_WORDS = {  # the decoder's own words, where they do not say what is wrong
    "Unterminated string starting at": "a string starts here and never ends",
    "Extra data": "more than one JSON value",
    "Expecting value": "a value was expected",
    "Expecting ',' delimiter": "a comma or the end was expected",
    "Expecting ':' delimiter": "a colon was expected",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Flaw(Exception):
    """What is wrong with one JSON value: a code of the catalogue, words, and whether its end can still be found."""

    def __init__(self, code: str, what: str, *, why: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.code, self.what, self.why, self.remedy = code, what, why, remedy


def parse(text: str) -> Any:
    """The value of a JSON text. Raises `Flaw`: `E-JSON`, `E-JSON-DEPTH`, `E-DUP-KEY`, `E-NOT-FINITE`, `E-NUMBER`,
    `E-SURROGATE`, `E-NUL`."""
    try:
        value = _STRICT.decode(text)
    except (ValueError, RecursionError, _NotFinite) as error:
        raise explain(error, text) from error
    check(value, text)
    return value


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends; as `parse`, but an `E-JSON` means that no end is known."""
    try:
        value, end = _STRICT.raw_decode(text, start)
    except (ValueError, RecursionError, _NotFinite) as error:
        raise explain(error, text, start) from error
    check(value, text[start:end])
    return value, end


def find_end(text: str, start: int) -> int:
    """Where a flawed, but well-formed value ends. Raises `Flaw` where it is not well-formed."""
    try:
        return _LENIENT.raw_decode(text, start)[1]
    except (ValueError, RecursionError) as error:
        raise explain(error, text, start) from error


def check(value: Any, text: str) -> None:
    """Look for the flaws that survive decoding; `text` tells cheaply whether a closer look is needed."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Flaw("E-JSON-DEPTH", f"nested deeper than {MAX_DEPTH} levels")
    if _SUSPECT.search(text):
        for path, item in _walk(value):
            if isinstance(item, str) and _SURROGATE.search(item):
                raise Flaw("E-SURROGATE", f"field {path!r} holds half of a surrogate pair")
            if isinstance(item, str) and "\0" in item:
                raise Flaw("E-NUL", f"field {path!r} holds a NUL character")


def explain(error: BaseException, text: str, start: int = 0) -> Flaw:
    """The flaw behind an error of the decoder."""
    if isinstance(error, Flaw):
        return error
    if isinstance(error, RecursionError):
        return Flaw("E-JSON-DEPTH", f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(error, _NotFinite):
        return Flaw("E-NOT-FINITE", f"{_place(text, start)} is {error}")
    if not isinstance(error, json.JSONDecodeError):
        return Flaw("E-NUMBER", "an integer has more digits than can be read")
    if "\0" in text[start:]:
        return Flaw("E-NUL", f"column {text.index(chr(0), start) - start + 1} is a NUL character")
    why = ""
    if error.msg == "Extra data":
        following = text[error.pos : error.pos + 1]
        why = "two objects stand on one line" if following == "{" else "something follows the object"
    what = _WORDS.get(error.msg, error.msg)
    return Flaw("E-JSON", f"column {error.pos - start + 1:,}: {what}", why=why)


class _NotFinite(Exception):
    """Raised inside the decoder, which does not say which field it is in."""


class _Mark(str):
    """A number that is not finite, kept as text so that it can be found."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Flaw("E-DUP-KEY", f"the key {key!r} occurs twice", why="readers disagree about which one counts")
    return value


def _constant(word: str) -> Any:
    raise _NotFinite(word)


def _float(digits: str) -> float:
    value = float(digits)
    if value - value != 0.0:
        raise _NotFinite(digits)
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
_LENIENT = json.JSONDecoder(parse_int=str)


def _place(text: str, start: int) -> str:
    """The path of the first number that is not finite, found by decoding once more."""

    def mark(digits: str) -> Any:
        value = float(digits)
        return value if value - value == 0.0 else _Mark(digits)

    decoder = json.JSONDecoder(parse_constant=_Mark, parse_float=mark, parse_int=str)
    try:
        value, _ = decoder.raw_decode(text.lstrip(" \t\r\n") if not start else text, start)
        return next(f"field {path!r}" for path, item in _walk(value) if isinstance(item, _Mark))
    except (ValueError, RecursionError, StopIteration):
        return "a number"


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Each key and each scalar with its path, in order; without recursion."""
    stack = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            for key in item:
                yield f"{path}.{key}".lstrip("."), key
            stack += [(f"{path}.{key}".lstrip("."), part) for key, part in reversed(item.items())]
        elif isinstance(item, list):
            stack += [(f"{path}[{i}]", part) for i, part in reversed(list(enumerate(item)))]
        else:
            yield path, item


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while holders := [item for item in level if isinstance(item, dict | list)]:
        level = [part for item in holders for part in (item.values() if isinstance(item, dict) else item)]
        depth += 1
    return depth
