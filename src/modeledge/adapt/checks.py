"""Checks of what a recipe gives a strategy: a value of the wrong kind is refused where it is named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modeledge.errors import ModeledgeError


def check_count(where: str, value: Any, least: int) -> None:
    """A whole number of at least `least`, or `E-CONFIG-VALUE`."""
    if type(value) is not int or value < least:
        raise _wrong(where, value, f"a whole number of at least {least}")


def check_rate(where: str, value: Any, most: float = math.inf) -> None:
    """A finite number above 0 and at most `most`, or `E-CONFIG-VALUE`."""
    fits = type(value) in (int, float) and math.isfinite(value) and 0 < value <= most
    if not fits:
        raise _wrong(where, value, "a finite number above 0" + (f", at most {most:g}" if most < math.inf else ""))


def check_least(where: str, value: Any, least: float) -> None:
    """A finite number of at least `least`, or `E-CONFIG-VALUE`."""
    if not (type(value) in (int, float) and math.isfinite(value) and value >= least):
        raise _wrong(where, value, f"a finite number of at least {least:g}")


def check_text(where: str, value: Any) -> None:
    """A text, or `E-CONFIG-VALUE`."""
    if type(value) is not str:
        raise _wrong(where, value, "a text")


def check_mapping(where: str, value: Any) -> None:
    """A table of patterns and values, or `E-CONFIG-VALUE`."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _wrong(where, value, "a table of patterns and values")


def check_name(name: Any, where: str = "") -> None:
    """A name that an adapter can have on a model: letters, digits, _ and -, no digit first; else `E-CONFIG-VALUE`."""
    if not (isinstance(name, str) and name.replace("-", "_").isidentifier()):
        what, remedy = f"{name!r} is no name of an adapter", "use letters, digits, _ and -, no digit first"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy=remedy)


def check_choice(where: str, value: Any, choices: tuple[Any, ...]) -> None:
    """One of a few values, of the very same type, or `E-CONFIG-VALUE`."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise _wrong(where, value, "one of " + ", ".join(repr(choice) for choice in choices))


def _wrong(where: str, value: Any, rule: str) -> ModeledgeError:
    return ModeledgeError("E-CONFIG-VALUE", f"{value!r} is not {rule}", where=f"strategies.{where}")
