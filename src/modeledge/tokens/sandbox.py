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

from collections.abc import Callable
from datetime import datetime
from typing import Any

from jinja2 import Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from modeledge.tokens.allowed import (
    METHODS,
    Notes,
    Unset,
    as_text,
    clock,
    filters,
    measured,
    method,
    raise_exception,
)
from modeledge.tokens.meter import LONGEST_INT, METER, OverLimit
from modeledge.tokens.said import Said, generated, joined

STATEMENTS = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Block)


@pass_context
def shown(context: Any, value: Any) -> str:
    """What is written of a value."""
    meter = METER.get()
    text = as_text(value)
    meter.step(0)
    meter.write(len(text))
    return text


class _Guard(NodeTransformer):
    """Puts the counting into a template's tree, and refuses the statements that reach outside it."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, STATEMENTS):
            raise SecurityError(f"line {node.lineno}: {type(node).__name__.lower()} reaches outside the template")
        node = super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
            node.body.insert(0, nodes.ExprStmt(self._call("tick", [], node), lineno=node.lineno))
        elif isinstance(node, nodes.TemplateData):
            return nodes.Const(node.data, lineno=node.lineno, environment=node.environment)  # written through `shown`
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
    concat = staticmethod(joined)

    def __init__(self, now: datetime) -> None:
        extensions = [_Generation, "jinja2.ext.loopcontrols"]
        super().__init__(trim_blocks=True, lstrip_blocks=True, undefined=Unset, finalize=shown, extensions=extensions)
        self.filters = filters()
        given = {"raise_exception": raise_exception, "strftime_now": clock(now), "dict": dict, "namespace": Notes}
        self.globals = {"range": self.globals["range"]} | given
        self.shared_globals = tuple(self.globals.values())

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = _Guard().visit(super()._parse(source, name, filename))
        assert isinstance(tree, nodes.Template)
        return tree

    # what the tree calls

    def tick(self) -> None:
        METER.get().step()

    def connect(self, *parts: Any) -> Said:
        texts = [as_text(part) for part in parts]
        METER.get().room(sum(map(len, texts)))
        return joined(texts)

    def made(self, value: Any) -> Any:
        METER.get().made(value)
        return value

    # what jinja2 calls

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        known = METHODS.get(type(obj))
        return attr in known if known is not None else super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        meter, owner = METER.get(), getattr(__obj, "__self__", None)
        meter.step(0)
        if owner is __self or isinstance(owner, Extension):
            return __obj(*args, **{k: v for k, v in kwargs.items() if k not in ("_loop_vars", "_block_vars")})
        for value in (*args, *kwargs.values()):
            meter.weigh(value)
        name = getattr(__obj, "__name__", "")
        if type(owner) in METHODS and name in METHODS[type(owner)]:
            kwargs = {k: v for k, v in kwargs.items() if k not in ("_loop_vars", "_block_vars")}
            return measured(method(owner, name, args, kwargs), [owner, *args])
        allowed = isinstance(__obj, Macro | LoopContext | Undefined) or isinstance(owner, LoopContext)
        if not allowed and not any(__obj is known for known in __self.shared_globals):
            raise SecurityError(f"{name or type(__obj).__name__} cannot be called")
        made = super().call(__context, __obj, *args, **kwargs)
        return made if isinstance(made, Namespace) else measured(made, args)

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
