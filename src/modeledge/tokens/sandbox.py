"""Templates of strangers, rendered within limits.

A chat template comes with a checkpoint, and is a program. jinja2's `ImmutableSandboxedEnvironment` keeps it from
Python's insides, but not from the clock or the memory: `'a' * 10**9`, three nested loops, or a list that holds itself
twice, forty times over, all pass. Here a template may only use what is listed (filters, methods, kinds of statement),
each value it makes is weighed as if written out, and each turn of a loop is counted. So no single operation works on
more than `Limits.size` characters, and between two operations the clock is looked at.

A variable that is not defined may be asked for (`if tools`, `is defined`); to write, count or walk through it is an
error. Every string keeps its speakers (`said.py`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from types import GeneratorType
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from modeledge.tokens.said import Said, generated, joined, whole

DEEPEST = 64  # containers within containers
LONGEST_INT = 1024  # bits
WASTE = 50  # all values that are made, together, in times of `Limits.size`


@dataclass(frozen=True)
class Limits:
    """How much a template may use: seconds, characters of one value or of all that it writes, turns of loops."""

    seconds: float = 2.0
    size: int = 1_000_000
    steps: int = 200_000


class OverLimit(TemplateError):
    """A limit was hit."""


class Refused(TemplateError):
    """The template itself refuses the conversation (`raise_exception`)."""


class Meter:
    """What one rendering has used."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.end = time.monotonic() + limits.seconds
        self.written = self.steps = self.used = 0

    def step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > self.limits.steps:
            raise OverLimit(f"more than {self.limits.steps:,} turns of loops")
        if time.monotonic() > self.end:
            raise OverLimit(f"more than {self.limits.seconds} seconds")

    def write(self, count: int) -> None:
        self.written += count
        if self.written > self.limits.size:
            raise OverLimit(f"more than {self.limits.size:,} characters written")

    def room(self, count: int) -> None:
        """Refuse a value of so many characters before it is made."""
        if count > self.limits.size:
            raise OverLimit(f"a value of {count:,} characters")
        self.used += count
        if self.used > WASTE * self.limits.size:
            raise OverLimit(f"values of {self.used:,} characters together")

    def made(self, value: object) -> None:
        """Account for a new value."""
        self.room(self.weigh(value))

    def weigh(self, value: object) -> int:
        """How long a value would be, written out; `OverLimit` above the limit."""
        total, stack = 0, [(value, 0)]
        while stack:
            item, depth = stack.pop()
            if isinstance(item, str):
                total += len(item)
            elif isinstance(item, dict | list | tuple):
                inside = [*item.keys(), *item.values()] if isinstance(item, dict) else item
                if depth == DEEPEST:
                    raise OverLimit(f"more than {DEEPEST} lists within lists")
                if len(inside) + len(stack) + total > self.limits.size:
                    raise OverLimit(f"a value of more than {self.limits.size:,} parts")
                stack += [(part, depth + 1) for part in inside]
            elif isinstance(item, int) and item.bit_length() > LONGEST_INT:
                raise OverLimit(f"a number of more than {LONGEST_INT} bits")
            elif depth and not isinstance(item, int | float | Undefined | GeneratorType | Macro | None):
                raise SecurityError(f"a {type(item).__name__} cannot be kept in a list")
            total += 1
            if total > self.limits.size:
                raise OverLimit(f"a value of more than {self.limits.size:,} characters")
        return total


METER: ContextVar[Meter] = ContextVar("METER")


# ---- what a template may use

STR = frozenset(
    "strip lstrip rstrip split rsplit splitlines startswith endswith lower upper title capitalize replace find rfind "
    "index count join removeprefix removesuffix isdigit isalpha isalnum isspace islower isupper isnumeric".split()
)
METHODS: Mapping[type, frozenset[str]] = {
    str: STR,
    Said: STR,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"index", "count"}),
    tuple: frozenset({"index", "count"}),
}
SAFE_FILTERS = (
    "abs capitalize count d default dictsort first float groupby int items last length list lower map max min reject "
    "rejectattr reverse select selectattr sort string title trim unique upper"
).split()
STATEMENTS = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Block)


class Unset(StrictUndefined):
    """A variable that is not defined: it can be asked for, and is no value."""

    __slots__ = ()
    __bool__ = Undefined.__bool__
    __eq__ = Undefined.__eq__
    __ne__ = Undefined.__ne__
    __hash__ = Undefined.__hash__


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


def _as_sources(values: Iterable[object]) -> list[Said]:
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


def _measured(made: Any, sources: Iterable[object]) -> Any:
    """A new value, weighed; a string that lost its speakers is given the strangers among its sources."""
    METER.get().made(made)
    if isinstance(made, str) and not isinstance(made, Said):
        return whole(made, _as_sources(sources))
    return made


def _watched(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of jinja2's whose result is weighed."""

    def watched(*args: Any, **kwargs: Any) -> Any:
        METER.get().step()
        return _measured(filter_(*args, **kwargs), [*args, *kwargs.values()])

    if hasattr(filter_, "jinja_pass_arg"):  # whether it wants the context or the environment first
        watched.jinja_pass_arg = filter_.jinja_pass_arg  # type: ignore[attr-defined]
    return watched


def _join(values: Iterable[Any], between: str = "", attribute: str | None = None) -> Said:
    parts = [part.get(attribute, "") if attribute is not None else part for part in values]
    texts = [_text(part) for part in parts]
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
    return whole(text, _as_sources([value]))


def _round(value: float, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > 15:
        raise OverLimit(f"round to {precision} digits")
    return FILTERS["round"](value, precision, method)


def _sum(values: Iterable[Any], attribute: str | None = None, start: float = 0) -> Any:
    numbers = [value[attribute] if attribute is not None else value for value in values]
    if not all(isinstance(number, int | float) for number in [*numbers, start]):
        raise SecurityError("sum adds numbers only")
    return sum(numbers, start)


def _raise(message: object) -> None:
    raise Refused(str(message))


def _clock(now: datetime) -> Callable[[str], str]:
    def strftime_now(form: str) -> str:
        if not re.fullmatch(r"([^%]|%-?[A-Za-z%])*", form):
            raise SecurityError(f"a date in the form {form[:20]!r}")
        return now.strftime(form)

    return strftime_now


@pass_context
def _shown(context: Any, value: Any) -> str:
    """What is written of a value."""
    meter = METER.get()
    text = _text(value)
    meter.step(0)
    meter.write(len(text))
    return text


def _text(value: Any) -> Said:
    if isinstance(value, str):
        return joined([value])
    if isinstance(value, bool | int | float | dict | list | tuple | None | Undefined):
        METER.get().weigh(value)
        return whole(str(value), _as_sources([value]))
    raise SecurityError(f"a {type(value).__name__} cannot be written")


# ---- the environment


class _Guard(NodeTransformer):
    """Puts the counting into a template's tree, and refuses the statements that reach outside it."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, STATEMENTS):
            raise SecurityError(f"line {node.lineno}: {type(node).__name__.lower()} reaches outside the template")
        node = super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
            own = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
            tick = self._call("tick", [nodes.Const(own, lineno=node.lineno)], node)
            node.body.insert(0, nodes.ExprStmt(tick, lineno=node.lineno))
        elif isinstance(node, nodes.Concat):
            return self._call("connect", node.nodes, node)
        elif isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
            return self._call("made", [node], node)
        return node

    def _call(self, name: str, args: list[Any], at: nodes.Node) -> nodes.Call:
        attribute = nodes.EnvironmentAttribute(name, lineno=at.lineno)
        return nodes.Call(attribute, args, [], None, None, lineno=at.lineno, environment=at.environment)


class _Generation(Extension):
    """`{% generation %}`: what the model is to say, marked as such."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

    def mark(self, caller: Callable[[], str]) -> str:
        return generated(caller())


class Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's environment with the options of transformers, an allow-list, and a meter at every growing step."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    concat = staticmethod(joined)  # type: ignore[assignment]

    def __init__(self, now: datetime) -> None:
        extensions = [_Generation, "jinja2.ext.loopcontrols"]
        super().__init__(trim_blocks=True, lstrip_blocks=True, undefined=Unset, finalize=_shown, extensions=extensions)
        own = {"join": _join, "replace": _replace, "indent": _indent, "tojson": _tojson, "round": _round, "sum": _sum}
        safe = {name: FILTERS[name] for name in SAFE_FILTERS} | own | {"safe": joined_one}
        self.filters = {name: _watched(filter_) for name, filter_ in safe.items()}
        given = {"raise_exception": _raise, "strftime_now": _clock(now), "dict": dict, "namespace": Notes}
        self.globals = {"range": self.globals["range"]} | given
        self.shared_globals = tuple(self.globals.values())

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = _Guard().visit(super()._parse(source, name, filename))
        assert isinstance(tree, nodes.Template)
        return tree

    # what the tree calls

    def tick(self, own: int) -> None:
        METER.get().step()
        METER.get().write(own)

    def connect(self, *parts: Any) -> Said:
        texts = [_text(part) for part in parts]
        METER.get().room(sum(map(len, texts)))
        return joined(texts)

    def made(self, value: Any) -> Any:
        METER.get().made(value)
        return value

    # what jinja2 calls

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        known = METHODS.get(type(obj))
        return attr in known if known is not None else super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        meter, owner = METER.get(), getattr(__obj, "__self__", None)
        meter.step(0)
        if owner is __self or isinstance(owner, Extension):
            return __obj(*args, **{k: v for k, v in kwargs.items() if k not in ("_loop_vars", "_block_vars")})
        meter.weigh([list(args), list(kwargs.values())] if not isinstance(__obj, Undefined) else 0)
        name = getattr(__obj, "__name__", "")
        if type(owner) in METHODS and name in METHODS[type(owner)]:
            kwargs = {k: v for k, v in kwargs.items() if k not in ("_loop_vars", "_block_vars")}
            return _measured(_method(owner, name, args, kwargs), [owner, *args])
        allowed = isinstance(__obj, Macro | LoopContext | Undefined) or isinstance(owner, LoopContext)
        if not allowed and not any(__obj is known for known in __self.shared_globals):
            raise SecurityError(f"{name or type(__obj).__name__} cannot be called")
        made = super().call(__context, __obj, *args, **kwargs)
        return made if isinstance(made, Namespace) else _measured(made, args)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        meter = METER.get()
        meter.step(0)
        text = isinstance(left, str) or isinstance(right, str)
        lists = isinstance(left, list | tuple) or isinstance(right, list | tuple)
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            meter.room(len(left) + len(right))
            return joined([left, right])
        if operator == "*" and (text or lists):
            many, count = (right, left) if isinstance(left, int) else (left, right)
            meter.room(max(int(count), 0) * meter.weigh(many))
            return joined([many] * int(count)) if text else many * int(count)
        if operator == "%" and text:
            raise SecurityError("% does not format strings here")
        if operator == "**" and (abs(right) > LONGEST_INT or abs(left) > 2**32):
            raise OverLimit(f"{left} to the power of {right}")
        return self.made(super().call_binop(context, operator, left, right))


def joined_one(text: Any) -> Said:
    """The filter `safe`: nothing is escaped anyway."""
    return _text(text)


def _method(owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A method of a plain value, on strings that keep their speakers, with the room for its result."""
    if not isinstance(owner, str):
        found = getattr(owner, name)(*args, **kwargs)
        return list(found) if name in ("items", "keys", "values") else found
    if name == "join":
        return _join(*args, between=owner)
    if name == "replace":
        return _replace(owner, *args, **kwargs)
    return getattr(joined([owner]), name)(*args, **kwargs)
