"""What a chat template may use: methods of plain values, filters, globals; each keeps the speakers of its text.

jinja2's own filters serve where they cannot make much out of little. Those that can, and those that would lose who
said what, are written here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.utils import Namespace

from modeledge.tokens.meter import METER, OverLimit, Refused
from modeledge.tokens.said import Said, joined, whole

STR = frozenset(
    {
        "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "lower",
        "upper", "title", "capitalize", "replace", "find", "rfind", "index", "count", "join", "removeprefix",
        "removesuffix", "isdigit", "isalpha", "isalnum", "isspace", "islower", "isupper", "isnumeric",
    }
)  # fmt: skip
METHODS: Mapping[type, frozenset[str]] = {
    str: STR,
    Said: STR,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"index", "count"}),
    tuple: frozenset({"index", "count"}),
}
SAFE_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby", "int", "items",
    "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select",
    "selectattr", "sort", "string", "title", "trim", "unique", "upper",
)  # fmt: skip


class Unset(StrictUndefined):
    """A variable that is not defined: it can be asked for, and is no value."""

    __slots__ = ()
    __bool__ = Undefined.__bool__  # type: ignore[assignment]
    __eq__ = Undefined.__eq__  # type: ignore[assignment]
    __ne__ = Undefined.__ne__  # type: ignore[assignment]
    __hash__ = Undefined.__hash__  # type: ignore[assignment]


class Notes(Namespace):
    """`namespace()`: variables that outlive a loop. It holds no other one, and no name of Python's insides."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        Namespace.__init__(self)
        for name, value in dict(*rest, **kwargs).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_") or isinstance(value, Namespace):
            raise SecurityError(f"a namespace cannot hold {name!r}")
        METER.get().weigh([value])
        Namespace.__setitem__(self, name, value)


def sources_in(values: Iterable[object]) -> list[Said]:
    """The strings with speakers in nested values."""
    found, stack = list[Said](), list(values)
    while stack:
        item = stack.pop()
        if isinstance(item, Said):
            found.append(item)
        elif isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            stack += item
    return found


def measured(made: Any, sources: Iterable[object]) -> Any:
    """A new value, weighed; a string that lost its speakers is given the strangers among its sources."""
    METER.get().made(made)
    if isinstance(made, str) and not isinstance(made, Said):
        return whole(made, sources_in(sources))
    return made


def _watched(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of jinja2's whose result is weighed."""

    def watched(*args: Any, **kwargs: Any) -> Any:
        METER.get().step()
        return measured(filter_(*args, **kwargs), [*args, *kwargs.values()])

    if hasattr(filter_, "jinja_pass_arg"):  # whether it wants the context or the environment first
        watched.jinja_pass_arg = filter_.jinja_pass_arg  # type: ignore[attr-defined]
    return watched


def _join(values: Iterable[Any], between: str = "", attribute: str | None = None) -> Said:
    parts = [part.get(attribute, "") if attribute is not None else part for part in values]
    texts = [as_text(part) for part in parts]
    METER.get().room(sum(map(len, texts)) + len(between) * len(texts))
    return joined(texts, between)


def _replace(text: str, old: str, new: str, count: int = -1) -> Said:
    METER.get().room(len(text) + len(new) * (text.count(old) if count is None or count < 0 else min(count, len(text))))
    return joined([text]).replace(old, new, -1 if count is None else count)


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> Said:
    margin = width if isinstance(width, str) else " " * min(int(width), METER.get().limits.size)
    lines = joined([text, "\n"]).splitlines()
    METER.get().room(len(text) + len(margin) * len(lines))
    rest = [joined([margin, line]) if line or blank else line for line in lines[1:]]
    done = joined([lines[0], *rest], "\n")
    return joined([margin, done]) if first else done


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> Said:
    """As transformers has it: no HTML escapes. Everything in it is its speaker's."""
    meter = METER.get()
    meter.room(meter.weigh(value) * (1 if indent is None else 1 + int(indent)))
    meter.room(sum(map(len, separators)) if separators else 0)
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return whole(text, sources_in([value]))


def _round(value: float, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > 15:
        raise OverLimit(f"round to {precision} digits")
    return FILTERS["round"](value, precision, method)


def _sum(values: Iterable[Any], attribute: str | None = None, start: float = 0) -> Any:
    numbers = [value[attribute] if attribute is not None else value for value in values]
    if not all(isinstance(number, int | float) for number in [*numbers, start]):
        raise SecurityError("sum adds numbers only")
    return sum(numbers, start)


def raise_exception(message: object) -> None:
    raise Refused(str(message))


def clock(now: datetime) -> Callable[[str], str]:
    def strftime_now(form: str) -> str:
        if not re.fullmatch(r"([^%]|%-?[A-Za-z%])*", form):
            raise SecurityError(f"a date in the form {form[:20]!r}")
        return now.strftime(form)

    return strftime_now


def as_text(value: Any) -> Said:
    if isinstance(value, str):
        return joined([value])
    if isinstance(value, bool | int | float | dict | list | tuple | None | Undefined):
        METER.get().weigh(value)
        return whole(str(value), sources_in([value]))
    raise SecurityError(f"a {type(value).__name__} cannot be written")


def filters() -> dict[str, Callable[..., Any]]:
    """All filters by name."""
    own = {"join": _join, "replace": _replace, "indent": _indent, "tojson": _tojson, "round": _round, "sum": _sum}
    safe = {name: FILTERS[name] for name in SAFE_FILTERS} | own | {"safe": as_text}
    return {name: _watched(filter_) for name, filter_ in safe.items()}


def method(owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A method of a plain value, on strings that keep their speakers, with the room for its result."""
    if not isinstance(owner, str):
        found = getattr(owner, name)(*args, **kwargs)
        return list(found) if name in ("items", "keys", "values") else found
    if name == "join":
        (values,) = args
        return _join(values, owner)
    if name == "replace":
        return _replace(owner, *args, **kwargs)
    return getattr(joined([owner]), name)(*args, **kwargs)
