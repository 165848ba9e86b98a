"""What one rendering of a template has used, and how much it may.

Memory and time are bounded by one idea: nothing is made that would be long if it were written out. A list that holds
itself twice, forty times over, is short to build and 2^40 long to print, compare or hash; `Meter.weigh` walks it as
those would, and stops at the limit.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from types import GeneratorType

from jinja2 import Undefined
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Macro

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
            elif depth and isinstance(item, Undefined):
                str(item)  # raises the error that names it
            elif depth and not isinstance(item, int | float | GeneratorType | Macro | None):
                raise SecurityError(f"a {type(item).__name__} cannot be kept in a list")
            total += 1
            if total > self.limits.size:
                raise OverLimit(f"a value of more than {self.limits.size:,} characters")
        return total


METER: ContextVar[Meter] = ContextVar("METER")
