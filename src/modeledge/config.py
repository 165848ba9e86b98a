"""TOML and `key=value` in, typed frozen settings out, and back again to the same bytes.

A recipe that is read wrongly is a wasted run, so nothing is guessed: an unknown key names its path and the nearest
right one, a value of the wrong kind names its rule, and only TOML is read (it cannot run code).
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from modeledge.errors import ModeledgeError, nearest, printable

M = TypeVar("M", bound="Settings")
MAX_BYTES = 1_000_000


class Settings(BaseModel):
    """The ground of every configuration: frozen, no unknown key, no silent conversion, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


def load_config(
    model: type[M], path: Path | None, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> M:
    """Settings out of a TOML file (or plain values), with `key.path=value` overrides on top.

    Raises `E-NO-FILE`, `E-NOT-A-FILE`, `E-CONFIG-UNSAFE`, `E-CONFIG-SYNTAX`, `E-CONFIG-KEY`, `E-CONFIG-VALUE`.
    """
    tree = read_toml(path) if path is not None else {}
    tree = _merged(tree, dict(values or {}))
    tree = _merged(tree, load_values(overrides))
    name = str(path) if path is not None else ""
    _check_keys(model, tree, "", model, name)
    try:
        return model.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        raise _value_error(error, name) from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tree of a TOML file, after the checks that keep other formats and bombs out."""
    if path.suffix.lower() in (".pkl", ".pickle", ".pt", ".bin", ".py", ".yaml", ".yml"):
        what = f"{path.suffix} recipes are not read"
        raise ModeledgeError("E-CONFIG-UNSAFE", what, where=str(path), why="they can run code or hide what a value is")
    if not path.exists():
        raise ModeledgeError("E-NO-FILE", "there is no such recipe", where=str(path))
    if not path.is_file():
        raise ModeledgeError("E-NOT-A-FILE", "a recipe is a TOML file", where=str(path))
    if path.stat().st_size > MAX_BYTES:
        what = f"{path.stat().st_size:,} bytes are more than a recipe's {MAX_BYTES:,}"
        raise ModeledgeError("E-CONFIG-UNSAFE", what, where=str(path), remedy="name data in files of their own")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ModeledgeError("E-UTF8", f"byte {error.start} is not UTF-8", where=str(path)) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModeledgeError("E-CONFIG-SYNTAX", f"{error}", where=str(path)) from error


def load_values(overrides: Sequence[str]) -> dict[str, Any]:
    """`["train.steps=10", "name=x"]` → a tree. Values are TOML; a bare word is a string."""
    tree: dict[str, Any] = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not key.strip():
            raise ModeledgeError("E-USAGE", f"{word!r} is not key=value", remedy="write e.g. train.steps=100")
        node = tree
        *path, last = key.strip().split(".")
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ModeledgeError("E-USAGE", f"{key!r} is set twice in different ways")
        node[last] = _toml_value(text.strip())
    return tree


def to_toml(settings: Settings) -> str:
    """The settings as TOML; equal settings give equal bytes, and `load_config` reads the same settings back."""
    lines: list[str] = []
    _write_table(settings.model_dump(mode="json", exclude_none=True), (), lines)
    return "\n".join(lines).strip("\n") + "\n"


# ---- reading


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """`high` over `low`, table by table."""
    out = dict(low)
    for key, value in high.items():
        both = isinstance(out.get(key), Mapping) and isinstance(value, Mapping)
        out[key] = _merged(out[key], value) if both else value
    return out


def _check_keys(model: type[BaseModel], tree: Mapping[str, Any], path: str, root: type[BaseModel], name: str) -> None:
    """Every key must be a field; the nearest right one is named, here or elsewhere in the tree."""
    for key, value in tree.items():
        full = f"{path}{key}"
        if key not in model.model_fields:
            here = nearest(key, model.model_fields)
            others = [p for p in _paths(root) if p.rpartition(".")[2] == key]
            remedy = f"did you mean {others[0]!r}?" if others and here.startswith("known") else here
            raise ModeledgeError("E-CONFIG-KEY", f"unknown key {full!r}", where=name, remedy=remedy)
        for inner in _models(model.model_fields[key].annotation):
            for item, at in _tables(value, full):
                _check_keys(inner, item, f"{at}.", root, name)


def _tables(value: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    if isinstance(value, Mapping):
        yield value, path
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            if isinstance(item, Mapping):
                yield item, f"{path}[{number}]"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes inside an annotation, where there is exactly one to check against."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [m for a in get_args(annotation) for m in _models(a)]
    return found if len(found) == 1 else []


def _paths(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for key, field in model.model_fields.items():
        yield f"{path}{key}"
        for inner in _models(field.annotation):
            yield from _paths(inner, f"{path}{key}.")


def _value_error(error: ValidationError, name: str) -> ModeledgeError:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    shown = printable(repr(first.get("input")), 80)
    rule = str(first["msg"]).removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = f"{name}: {path}" if name and path else path or name
    return ModeledgeError("E-CONFIG-VALUE", f"{shown}: {rule}{more}", where=where)


# ---- writing


def _write_table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {k: v for k, v in table.items() if not _is_table(v)}
    if path and (plain or not table):
        lines.append(f"[{'.'.join(_key(p) for p in path)}]")
    lines.extend(f"{_key(k)} = {_value(v)}" for k, v in plain.items())
    if plain or not table:
        lines.append("")
    for key, value in table.items():
        if isinstance(value, Mapping):
            _write_table(value, (*path, key), lines)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        assert math.isfinite(value), "settings hold finite numbers only"
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(_value(v) for v in value) + "]"


def _string(text: str) -> str:
    def escape(c: str) -> str:
        if c in '"\\':
            return f"\\{c}"
        return f"\\u{ord(c):04x}" if ord(c) < 0x20 or ord(c) == 0x7F else c

    return '"' + "".join(escape(c) for c in text) + '"'
