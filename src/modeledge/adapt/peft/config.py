"""`adapter_config.json`: what of it is read, what must be at its neutral value, and which maps it aims at.

PEFT's configurations have many keys, most of which only say how training began. Each page of a method says which keys
it reads and which change no answer; any other key must be neutral (null, false, empty), for it asks for something that
is not done here. What names code to import is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from modeledge.errors import ModeledgeError, nearest, printable

CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
OWN = "MODELEDGE_"  # how the types of forms begin that PEFT does not have; what follows one is all that its error shows
MORE = " (a method that PEFT does not have: open it with modeledge)"
AIMS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
SAID = {
    "peft_type", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "peft_version",
    "modules_to_save",
}  # fmt: skip
CLASSES = {  # the end of a class's name in transformers → its task_type
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
}
CLASS = {"base_model_class", "parent_library", "unsloth_fixed"}


def heading(peft_type: str, task: str | None, base: str, revision: str | None) -> dict[str, Any]:
    """The keys that every configuration has. PEFT refuses a type that it does not know by a KeyError of its name and
    no more, so the name of one of our own says what to do."""
    return {
        "peft_type": f"{peft_type}{MORE}" if peft_type.startswith(OWN) else peft_type,
        "auto_mapping": None,
        "base_model_name_or_path": base,
        "revision": revision,
        "task_type": task,
        "inference_mode": True,
    }


def type_of(said: Mapping[str, Any], known: Collection[str]) -> str:
    """Which method a configuration is of; one that is not known here is `E-ADAPTER`."""
    kind = said.get("peft_type")
    kind = kind.removesuffix(MORE) if isinstance(kind, str) else kind
    if not isinstance(kind, str) or kind not in known:
        what = f"the method {printable(repr(kind), 60)} is not known here"
        remedy = nearest(str(kind), known)
        raise ModeledgeError("E-ADAPTER", what, where=f"{CONFIG}: peft_type", remedy=remedy)
    return kind


def check_keys(said: Mapping[str, Any], reads: Collection[str], inert: Collection[str]) -> None:
    """Refuse a key that asks for what is not done here (`E-CONFIG-KEY`), and one that names code (`E-CONFIG-UNSAFE`).

    An unknown key that is null, false or empty asks for nothing.
    """
    check_mapping(said.get("auto_mapping"))
    known = {*SAID, *AIMS, *reads, *inert}
    for key, value in said.items():
        if key in known or value is None or value is False or value in ("", [], {}):
            continue
        what = f"{printable(key, 60)} is {printable(repr(value), 60)}, which is not done here"
        remedy = f"{nearest(key, known)} An adapter with it can be merged by the library that wrote it"
        raise ModeledgeError("E-CONFIG-KEY", what, where=f"{CONFIG}: {printable(key, 60)}", remedy=remedy)


def check_mapping(value: Any) -> None:
    """`auto_mapping` names the class of the base by its module, which a loader imports: only transformers' own pass."""
    if value is None:
        return
    library = value.get("parent_library") if isinstance(value, Mapping) else None
    named = library is None or (isinstance(library, str) and re.fullmatch(r"transformers(\.\w+)*", library))
    if not isinstance(value, Mapping) or not named or value.keys() - CLASS:
        what = f"auto_mapping names code to import: {printable(repr(value), 80)}"
        why = "an adapter is data, and no code is run that data name"
        raise ModeledgeError("E-CONFIG-UNSAFE", what, where=f"{CONFIG}: auto_mapping", why=why, remedy="remove the key")


def task_of(said: Mapping[str, Any]) -> str | None:
    """The `task_type`; where there is none, that of the class that `auto_mapping` names."""
    task, mapping = said.get("task_type"), said.get("auto_mapping")
    if task is not None or not isinstance(mapping, Mapping):
        return task if isinstance(task, str) else None
    name = str(mapping.get("base_model_class"))
    return next((task for end, task in CLASSES.items() if name.endswith(end)), None)


def number(said: Mapping[str, Any], key: str, default: float, *, least: float = 0.0) -> float:
    """A number of the configuration, or `E-CONFIG-VALUE`."""
    value = said.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least or value == float("inf"):
        what = f"{key} is {printable(repr(value), 60)}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=f"{CONFIG}: {key}", remedy=f"a number of at least {least:g}")
    return value


def patterned(said: Mapping[str, Any], key: str, module: str, default: float) -> float:
    """A module's own number out of a pattern of the configuration: that of the first key that is a regular expression
    for the end of its name."""
    pattern = said.get(key) or {}
    if not isinstance(pattern, Mapping):
        raise ModeledgeError("E-CONFIG-VALUE", f"{key} must map names to numbers", where=f"{CONFIG}: {key}")
    for name in pattern:
        if matches(rf"(.*\.)?({name})", module, key):
            return number(pattern, name, default)
    return default


def aimed(said: Mapping[str, Any], modules: Iterable[str]) -> set[str]:
    """Which of these modules the configuration aims at. One that is saved whole has no adapter."""
    target, without = said.get("target_modules"), said.get("exclude_modules")
    if target is None:
        raise ModeledgeError("E-CONFIG-VALUE", "target_modules is missing", where=f"{CONFIG}: target_modules")
    found = {m for m in modules if _hit(target, m) and not (without and _hit(without, m)) and not _saved(said, m)}
    numbers = said.get("layers_to_transform")
    if numbers in (None, []) or isinstance(target, str):
        return found
    wanted = {numbers} if isinstance(numbers, int) else set(numbers)
    return {m for m in found if _layer(said.get("layers_pattern"), m) in wanted}


def _hit(target: Any, module: str) -> bool:
    if target == "all-linear":
        return True
    if isinstance(target, str):
        return matches(target, module, "target_modules")
    if not isinstance(target, list) or not all(isinstance(word, str) for word in target):
        what = f"target_modules is {printable(repr(target), 60)}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=f"{CONFIG}: target_modules", remedy="a list of names")
    return any(module == word or module.endswith(f".{word}") for word in target)


def _saved(said: Mapping[str, Any], module: str) -> bool:
    """Is this module, or one that it is in, saved whole?"""
    whole = said.get("modules_to_save")
    words = [word for word in whole if isinstance(word, str)] if isinstance(whole, list) else []
    parts = module.split(".")
    held = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return any(name == word or name.endswith(f".{word}") for word in words for name in held)


def _layer(pattern: Any, module: str) -> int | None:
    words = [pattern] if isinstance(pattern, str) else list(pattern or [r"[^.]*"])
    for word in words:
        found = re.match(rf"(?:^|.*?\.){word}\.(\d+)\.", module)
        if found is not None:
            return int(found.group(1))
    return None


def matches(pattern: str, name: str, key: str) -> bool:
    """Is a name the whole of what a regular expression of the file describes? One that does not compile, or that is
    too long to be meant, is `E-CONFIG-VALUE`."""
    try:
        if len(pattern) > 10_000:
            raise re.error("too long")
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        what = f"{printable(pattern, 60)} is no regular expression: {error}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=f"{CONFIG}: {key}") from error
