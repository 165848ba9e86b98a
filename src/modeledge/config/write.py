"""Settings as TOML: a small writer that preserves the order of keys, and reads back what it wrote."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modeledge.config.check import NONE, settings_table
from modeledge.config.read import load_config
from modeledge.config.settings import Settings
from modeledge.errors import ModeledgeError, printable


def to_toml(settings: Settings) -> str:
    """The settings as TOML. The same settings give the same bytes, and `load_config` reads the same settings back.

    What TOML cannot hold (NaN, a `None` where no field allows one, the string `"none"` where one does) is refused:
    `E-CONFIG-VALUE`.
    """
    lines: list[str] = []
    _write_table(settings, None, (), lines)
    text = "\n".join(lines).strip("\n") + "\n"
    again = load_config(type(settings), None, values=tomllib.loads(text))
    for path in _differences(settings.model_dump(mode="json"), again.model_dump(mode="json"), ""):
        raise ModeledgeError("E-CONFIG-VALUE", "the value cannot be written as TOML and read back", where=path)
    return text


def _write_table(table: Any, base: Any, path: tuple[str, ...], lines: list[str]) -> None:
    """One table and those below it. `base` is what a reader starts from: the default of the field that holds it.

    In settings the tables come last, as TOML wants it: the order of fields means nothing. In plain mappings the order
    may mean something (filters), so a table among other values is written in its line.
    """
    rows = _rows(table, base)
    below = {k for k, v in rows.items() if settings_table(v) is not None}
    if isinstance(table, Mapping) and len(below) < len(rows):
        below = set()
    plain = [f"{_key(k)} = {_value(v, _default(table, base, k))}" for k, v in rows.items() if k not in below]
    if path and (plain or not rows):
        lines.append(f"[{'.'.join(_key(p) for p in path)}]")
    lines.extend([*plain, ""] if plain or not rows else [])
    for key in (k for k in rows if k in below):
        _write_table(rows[key], _default(table, base, key), (*path, key), lines)


def _rows(table: Any, base: Any) -> dict[str, Any]:
    """The keys to write: a field that is `None` and would be read so is left out."""
    rows = settings_table(table) or {}
    if isinstance(table, Mapping):
        return {str(k): v for k, v in rows.items()}
    return {k: v for k, v in rows.items() if v is not None or _default(table, base, k) is not None}


def _default(table: Any, base: Any, key: str) -> Any:
    """The value that a reader gives to a field that is left out."""
    if isinstance(table, Mapping):
        return None
    if type(base) is type(table):
        return getattr(base, key)
    return type(table).model_fields[key].get_default(call_default_factory=True)


def _differences(one: Any, other: Any, path: str) -> Iterator[str]:
    """The paths at which two plain values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(k for k in other if k not in one)]:
            missing = key not in one or key not in other
            place = f"{path}.{key}".lstrip(".")
            yield from [place] if missing else _differences(one[key], other[key], place)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{path}[{number}]")
    elif one != other or type(one) is not type(other):
        yield path


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else _string(key)


def _value(value: Any, base: Any = None) -> str:
    if settings_table(value) is not None:
        rows = _rows(value, base).items()
        return "{" + ", ".join(f"{_key(k)} = {_value(v, _default(value, base, k))}" for k, v in rows) + "}"
    if value is None:
        return _string(NONE)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, str | Path | datetime.date | datetime.time):
        return _string(value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value))
    if isinstance(value, set | frozenset):
        return "[" + ", ".join(sorted(_value(v) for v in value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    raise ModeledgeError("E-CONFIG-VALUE", f"{printable(repr(value), 80)} cannot be written as TOML")


def _string(text: str) -> str:
    def escape(c: str) -> str:
        if c in '"\\':
            return f"\\{c}"
        return f"\\u{ord(c):04x}" if ord(c) < 0x20 or ord(c) == 0x7F else c

    return '"' + "".join(escape(c) for c in text) + '"'
