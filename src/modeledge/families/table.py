"""The formats that are read and written here, by the `model_type` of their `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.families.albert import ALBERT
from modeledge.families.bert import BERT
from modeledge.families.distilbert import DISTILBERT
from modeledge.families.electra import ELECTRA
from modeledge.families.family import Family
from modeledge.families.gpt2 import GPT2
from modeledge.families.llama import LLAMA
from modeledge.families.native import NATIVE
from modeledge.families.roberta import ROBERTA, XLM_ROBERTA

FAMILIES: dict[str, Family] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": XLM_ROBERTA,
    "distilbert": DISTILBERT,
    "albert": ALBERT,
    "electra": ELECTRA,
    "gpt2": GPT2,
    "llama": LLAMA,
    "modeledge": NATIVE,
}


def find_family(name: Any) -> Family:
    """The family of this name; an unknown one is `E-FAMILY` with the list of those that are known."""
    if not isinstance(name, str) or name not in FAMILIES:
        known = "known: " + ", ".join(FAMILIES)
        close = nearest(name, FAMILIES) if isinstance(name, str) else known
        what = f"there is no family {printable(name)!r}" if isinstance(name, str) else "model_type is missing"
        raise ModeledgeError(
            "E-FAMILY", what, where="model_type", remedy=known if close == known else f"{close} {known}"
        )
    return FAMILIES[name]


def family_of(said: Mapping[str, Any]) -> Family:
    """The family of a configuration."""
    return find_family(said.get("model_type"))
