"""The formats that are read and written here, by the `model_type` of their `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.families.bart import BART
from modeledge.families.bert import BERT
from modeledge.families.family import Family
from modeledge.families.gpt1 import GPT1
from modeledge.families.gpt2 import GPT2
from modeledge.families.gpt_neox import GPT_NEOX
from modeledge.families.llama import LLAMA
from modeledge.families.mbart import MBART
from modeledge.families.modernbert import MODERNBERT
from modeledge.families.mt5 import MT5
from modeledge.families.native import NATIVE
from modeledge.families.opt import OPT
from modeledge.families.t5 import T5
from modeledge.families.vit import DEIT, VIT

FAMILIES: dict[str, Family] = {
    # encoders
    "bert": BERT,
    "modernbert": MODERNBERT,
    # decoders
    "gpt2": GPT2,
    "gpt_neox": GPT_NEOX,
    "llama": LLAMA,
    "openai-gpt": GPT1,
    "opt": OPT,
    # encoder–decoders
    "t5": T5,
    "mt5": MT5,
    "bart": BART,
    "mbart": MBART,
    # images
    "vit": VIT,
    "deit": DEIT,
    # our own, which holds everything
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
