"""TOML files and `key=value` words as trees, and trees as settings."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from modeledge.config.check import Check, merged, value_error
from modeledge.config.settings import Settings
from modeledge.errors import ModeledgeError, printable

M = TypeVar("M", bound=Settings)
MAX_BYTES = 1_000_000


def load_config(
    model: type[M], path: Path | None, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> M:
    """Settings out of a TOML file, with plain `values` over it and `key.path=value` overrides over both.

    Raises `E-NO-FILE`, `E-NOT-A-FILE`, `E-FORMAT`, `E-CONFIG-UNSAFE`, `E-CONFIG-SYNTAX`, `E-CONFIG-KEY`,
    `E-CONFIG-VALUE`, and `E-USAGE` for an override that is not `key=value`.
    """
    name = str(path) if path is not None else ""
    try:
        tree = merged(read_toml(path) if path is not None else {}, values or {})
        tree = Check(model, name).table(model, merged(tree, load_values(overrides)), "", None)
        return model.model_validate_json(json.dumps(tree, allow_nan=False), strict=True)
    except RecursionError:
        raise ModeledgeError("E-CONFIG-UNSAFE", "tables are nested too deeply", where=name) from None
    except ValidationError as error:
        raise value_error(error, tree, name) from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tree of a TOML file, after the checks that keep other formats and bombs out."""
    where, suffix = str(path), path.suffix.lower()
    if suffix in (".pkl", ".pickle", ".pt", ".bin", ".py", ".yaml", ".yml"):
        why = "it can run code, or hide what a value is"
        raise ModeledgeError("E-CONFIG-UNSAFE", f"{suffix} is not read as a recipe", where=where, why=why)
    if suffix in (".json", ".jsonl", ".ini", ".cfg", ".xml"):
        raise ModeledgeError("E-FORMAT", f"{suffix} is not read as a recipe", where=where, remedy="write it as TOML")
    try:
        if not path.exists():
            raise ModeledgeError("E-NO-FILE", "there is no such recipe", where=where)
        if not path.is_file():
            raise ModeledgeError("E-NOT-A-FILE", "a recipe is a TOML file", where=where)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        code = "E-PERMISSION" if isinstance(error, PermissionError) else "E-READ"
        raise ModeledgeError(code, error.strerror or str(error), where=where) from error
    if len(data) > MAX_BYTES:
        what = f"more than the {MAX_BYTES:,} bytes of a recipe"
        raise ModeledgeError("E-CONFIG-UNSAFE", what, where=where, remedy="name data in files of their own")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ModeledgeError("E-UTF8", f"byte {error.start} is not UTF-8", where=where) from error
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError, or an integer of thousands of digits
        line = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        what = printable(str(error)) if isinstance(error, ValueError) else "arrays are nested too deeply"
        raise ModeledgeError("E-CONFIG-SYNTAX", what, where=f"{where}:{line[1]}" if line else where) from error


def load_values(overrides: Sequence[str]) -> dict[str, Any]:
    """`["train.steps=10", "name=x"]` → a tree. Values are TOML; a word that is not TOML is a string."""
    tree: dict[str, Any] = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        try:
            path = _key_path(key) if equals else []
        except ValueError:
            path = []
        if not path:
            what = f"{printable(repr(word))} is not key=value"
            raise ModeledgeError("E-USAGE", what, remedy="write e.g. train.steps=100")
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ModeledgeError("E-USAGE", f"{key.strip()!r} is set twice: as a value and as a table")
        node.update(merged(node, {path[-1]: _toml_value(text.strip())}))
    return tree


def _key_path(key: str) -> list[str]:
    """`a."b.c".d` → its parts; a `ValueError` where it is no TOML key."""
    node, path = tomllib.loads(f"{key} = 0"), []
    while isinstance(node, dict):
        ((part, node),) = node.items()
        path.append(part)
    return path


def _toml_value(text: str) -> Any:
    """The value as TOML, or the text itself. Alone and in an array it must be one value: no comment, no second line."""
    try:
        alone, listed = tomllib.loads(f"v = {text}"), tomllib.loads(f"v = [{text}]")
    except (ValueError, RecursionError):
        return text
    return alone["v"] if len(alone) == len(listed) == len(listed["v"]) == 1 else text
