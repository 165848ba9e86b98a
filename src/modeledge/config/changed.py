"""A recipe key by key, for readers, and in what it differs from the one that a folder was begun with: whoever goes on
must go on with the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeledge.errors import ModeledgeError, printable

UNSAID = "–"
SHOWN = 4  # keys that are told; of more than that, how many


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; an empty mapping is a `None`.

    >>> flat({"train": {"steps": 3, "clip": {}}})
    {'train.steps': 3, 'train.clip': None}
    """
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            out.update(flat(value, f"{name}."))
        else:
            out[name] = None if isinstance(value, Mapping) else value
    return out


def exact(value: Any) -> str:
    """A value of a recipe or an environment as it was written: no rounding, no commas."""
    if value is None:
        return UNSAID
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(exact(v) for v in value) if value else UNSAID
    return str(value)


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path, *, why: str, remedy: str) -> None:
    """Refuse flat recipes that are not equal (`E-RESUME`, with the keys, and what each was and is)."""
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    if keys:
        told = [f"{key} was {_told(before.get(key))}, is {_told(now.get(key))}" for key in keys[:SHOWN]]
        more = f", and {len(keys) - SHOWN} more keys" if len(keys) > SHOWN else ""
        raise ModeledgeError("E-RESUME", "; ".join(told) + more, where=str(path), why=why, remedy=remedy)


def _told(value: Any) -> str:
    return printable(exact(value), 80)
