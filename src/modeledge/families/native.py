"""Our own format: the configuration as it is, tensors under their own names. It holds every model that we can build."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from modeledge.errors import ModeledgeError, nearest
from modeledge.families.family import Extra, Family, blank
from modeledge.families.heads import heads_as_plain, heads_from_plain
from modeledge.families.keys import refuse_code
from modeledge.families.rules import Rename, Rule
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.plain import as_plain, from_plain

SCHEMA = 1
BEGINS = "decoder_start_token_id"  # what the decoder of two answers a source with first: a word of theirs, in ours too
KNOWN = ("architectures", BEGINS, "dtype", "heads", "model", "model_type", "schema", "torch_dtype")


def read_config(said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the model's shape. Raises `E-CONFIG-UNSAFE`, `E-CONFIG-KEY`, `E-CONFIG-VALUE`."""
    refuse_code(said)
    for key in said:
        if key not in KNOWN:
            raise ModeledgeError("E-CONFIG-KEY", f"unknown key {key!r}", where=key, remedy=nearest(key, KNOWN))
    if said.get("schema") != SCHEMA:
        what = f"schema {said.get('schema')!r} is not {SCHEMA}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="schema", remedy="read it with the version that wrote it")
    model = said.get("model")
    if not isinstance(model, Mapping):
        raise ModeledgeError("E-CONFIG-VALUE", "model must be an object", where="model")
    return from_plain(model), Extra(said)


def write_config(config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The model's shape → `config.json`."""
    same = bool(extra.said) and from_plain(extra.said["model"]) == config
    model = extra.said["model"] if same else as_plain(config)
    return {**extra.said, "model_type": "modeledge", "schema": SCHEMA, "model": model}


def heads(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The heads that a file says it holds."""
    return heads_from_plain(said.get("heads", {}))


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The heads as plain values."""
    return {"heads": heads_as_plain(heads)}


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """Every tensor under its own name."""
    return tuple(Rename(name, name) for name in blank(config, heads).state_dict())


def start(said: Mapping[str, Any]) -> int | None:
    """What the decoder begins with, where the file says it."""
    found = said.get(BEGINS)
    return found if type(found) is int else None


NATIVE = Family(
    "modeledge", read_config, write_config, heads, write_heads, rules, lacks=lambda config, heads: [], start=start
)
