"""The walk along a tree beside the annotations of its settings, before pydantic sees it.

It completes tables by the defaults of their fields, turns the word `"none"` into `None`, refuses what JSON cannot
hold, and finds unknown keys, so that the message can name the nearest key of the whole recipe.
"""

from __future__ import annotations

import datetime
import difflib
import math
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from modeledge.errors import ModeledgeError, nearest, printable

NONE = "none"
CODE_KEYS = frozenset({"_target_", "_partial_", "_args_", "_convert_", "_recursive_", "auto_map", "trust_remote_code"})


def merged(low: Mapping[str, Any], high: Mapping[str, Any], whole: Collection[str] = ()) -> dict[str, Any]:
    """`high` over `low`, table by table. A table of another `kind` under one of the names in `whole` has other keys: it
    takes the place of the one below it."""
    out = dict(low)
    for key, value in high.items():
        mine, theirs = settings_table(out.get(key)), settings_table(value)
        other = mine and theirs and key in whole and theirs.get("kind", mine.get("kind")) != mine.get("kind")
        out[key] = value if mine is None or theirs is None or other else merged(mine, theirs, whole)
    return out


def settings_table(value: Any) -> Mapping[str, Any] | None:
    """A mapping, or the fields of settings; `None` for everything else."""
    if isinstance(value, BaseModel):
        return {key: getattr(value, key) for key in type(value).model_fields}
    return value if isinstance(value, Mapping) else None


class Check:
    """The walk along a tree and the annotations of its settings: keys, plain values, defaults, the word none."""

    def __init__(self, root: type[BaseModel], name: str) -> None:
        self.root, self.name = root, name

    def table(
        self, model: type[BaseModel], tree: Mapping[str, Any], path: str, default: Any, others: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The tree of one settings class, over the default that its field has."""
        base = default if type(default) is model else None
        out = {k: self.value(Any, v, f"{path}{k}") for k, v in (settings_table(base) or {}).items()}
        for key, value in tree.items():
            if key not in model.model_fields:
                if key not in others:
                    raise self.unknown(model, key, f"{path}{key}")
                out[key] = self.value(Any, value, f"{path}{key}")  # of another class in the union: pydantic decides
                continue
            field = model.model_fields[key]
            below = getattr(base, key) if base is not None else field.get_default(call_default_factory=True)
            out[key] = self.value(field.annotation, value, f"{path}{key}", below)
        return out

    def value(self, annotation: Any, value: Any, path: str, default: Any = None) -> Any:
        """A value as JSON holds it."""
        members = _members(annotation)
        tree = settings_table(value)
        if tree is not None:
            for key in tree:
                if key in CODE_KEYS:
                    raise self.unknown(None, key, f"{path}.{key}")
            models = _matching([m for m in members if isinstance(m, type) and issubclass(m, BaseModel)], tree)
            if type(default) in models:
                return self.table(type(default), tree, f"{path}.", default)
            if models:
                others = [key for m in models[1:] for key in m.model_fields]
                return self.table(models[0], tree, f"{path}.", default, others)
            inner = [get_args(m)[1] for m in members if len(get_args(m)) == 2 and get_origin(m) is not tuple]
            return {
                self.leaf(k, path): self.value(inner[0] if inner else Any, v, f"{path}.{k}") for k, v in tree.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            inner = [a for m in members for a in get_args(m) if a is not Ellipsis]
            each = [inner[min(i, len(inner) - 1)] if inner else Any for i in range(len(value))]
            return [self.value(each[i], item, f"{path}[{i}]") for i, item in enumerate(value)]
        return None if value == NONE and types.NoneType in members else self.leaf(value, path)

    def leaf(self, value: Any, path: str) -> Any:
        """A scalar; dates and paths become text."""
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        rule = "" if value is None or isinstance(value, bool | int | float | str) else "a plain value is needed"
        if isinstance(value, float) and not math.isfinite(value):
            rule = "numbers must be finite"
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            rule = "half a surrogate pair is not text"
        if rule:
            raise ModeledgeError(
                "E-CONFIG-VALUE", f"{printable(repr(value), 80)}: {rule}", where=_where(self.name, path)
            )
        return value

    def unknown(self, model: type[BaseModel] | None, key: str, path: str) -> ModeledgeError:
        """The error for a key that is no field: the nearest name here, or wherever in the tree it is one."""
        if key in CODE_KEYS:
            why, remedy = "a recipe names no code", "remove it"
            return ModeledgeError("E-CONFIG-KEY", f"unknown key {path!r}", where=self.name, why=why, remedy=remedy)
        fields = list(model.model_fields) if model is not None else []
        paths = {p: p.rpartition(".")[2] for p in sorted(_paths(self.root, "", ()), key=lambda p: p.count("."))}
        prefix = path[: len(path) - len(key)]
        names = difflib.get_close_matches(key, sorted(set(paths.values()) - set(fields)), n=1, cutoff=0.75)
        there = [p for p, leaf in paths.items() if leaf in names and p != path]
        here = [prefix + f for f in difflib.get_close_matches(key, fields, n=1, cutoff=0.6)]
        found = there if key in names or not here else here
        elsewhere = [p for p in there if not p.startswith(prefix)]  # below it a blend may hold each kind again
        if model is not None and path in paths and "kind" in fields and not elsewhere:
            kind = model.model_fields["kind"].default
            why, remedy = f"kind {kind!r} does not have it, another kind does", "choose that kind, or leave the key out"
            return ModeledgeError("E-CONFIG-KEY", f"unknown key {path!r}", where=self.name, why=why, remedy=remedy)
        remedy = f"did you mean {' or '.join(repr(p) for p in found[:3])}?" if found else nearest("", fields)
        return ModeledgeError("E-CONFIG-KEY", f"unknown key {printable(path)!r}", where=self.name, remedy=remedy)


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, `Annotated` taken off."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for a in get_args(annotation) for m in _members(a)]
    return [annotation]


def _matching(models: list[type[BaseModel]], tree: Mapping[str, Any]) -> list[type[BaseModel]]:
    """The classes of a union whose literal fields (`kind = "…"`) agree with the table; all where none does. Those that
    know more of its keys come first."""

    def agrees(model: type[BaseModel]) -> bool:
        fields = {k: f.annotation for k, f in model.model_fields.items() if get_origin(f.annotation) is Literal}
        return all(tree[key] in get_args(fields[key]) for key in fields if key in tree)

    found = [m for m in models if agrees(m)] or models
    return sorted(found, key=lambda m: len(tree.keys() - m.model_fields.keys()))


def _paths(annotation: Any, path: str, above: tuple[Any, ...]) -> Iterator[str]:
    """Every key that the settings know, by its path."""
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel) and member not in above:
            for key, field in member.model_fields.items():
                yield f"{path}{key}"
                yield from _paths(field.annotation, f"{path}{key}.", (*above, member))
        else:
            place = "NAME." if isinstance(get_origin(member), type) and issubclass(get_origin(member), Mapping) else ""
            for inner in get_args(member) if get_origin(member) is not Literal else ():
                yield from _paths(inner, path + place if place else f"{path.rstrip('.')}[N].", above)


def value_error(error: ValidationError, tree: Mapping[str, Any], name: str) -> ModeledgeError:
    """The first wrong value with its path and every rule it breaks, and the paths of the others."""
    rules: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    for row in error.errors(include_url=False):
        path, context = _path(row["loc"], tree, row["type"]), row.get("ctx", {})
        rule = str(row["msg"]).removeprefix("Value error, ")
        told = not isinstance(row.get("input"), Mapping)  # of a table its path says enough
        value = printable(repr(row.get("input")), 80) + ": " if row["loc"] and told else ""
        if row["type"].startswith("union_tag"):
            path = f"{path}.{str(context['discriminator']).strip(chr(39))}"
            value = f"{context['tag']!r}: " if "tag" in context else ""
            rule = f"one of {context['expected_tags']} is needed" if value else "it is needed and missing"
        elif row["type"] == "missing":
            value, rule = "", "it is needed and missing"
        values.setdefault(path, value)
        if rule not in rules.setdefault(path, []):
            rules[path].append(rule)
    first, *others = rules
    more = f" (also wrong: {', '.join(others[:5])})" if others else ""
    return ModeledgeError(
        "E-CONFIG-VALUE", values[first] + ", or ".join(rules[first]) + more, where=_where(name, first)
    )


def _path(location: tuple[int | str, ...], tree: Any, error: str) -> str:
    """Where in the tree an error is: pydantic's location without the names of classes and kinds of unions. A key that
    is missing is named, though the tree has it not."""
    path, node = "", tree
    for number, part in enumerate(location):
        inside = part in node if isinstance(node, Mapping) else isinstance(node, list) and isinstance(part, int)
        if inside:
            node = node[part]
        elif not (error == "missing" and isinstance(node, Mapping) and number == len(location) - 1):
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")


def _where(name: str, path: str) -> str:
    return ": ".join(part for part in (name, path) if part)
