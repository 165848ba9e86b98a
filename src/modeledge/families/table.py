"""The formats that are read and written here, by the `model_type` of their `config.json`, and those that are known and
not built, each with its way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.families.decoders.gemma import GEMMA
from modeledge.families.decoders.gemma2 import GEMMA2
from modeledge.families.decoders.gemma3 import GEMMA3
from modeledge.families.decoders.gpt1 import GPT1
from modeledge.families.decoders.gpt2 import GPT2
from modeledge.families.decoders.gpt_neox import GPT_NEOX
from modeledge.families.decoders.llama import LLAMA
from modeledge.families.decoders.mistral import MISTRAL
from modeledge.families.decoders.olmo2 import OLMO2
from modeledge.families.decoders.opt import OPT
from modeledge.families.decoders.phi3 import PHI3
from modeledge.families.decoders.qwen2 import QWEN2
from modeledge.families.decoders.qwen3 import QWEN3
from modeledge.families.decoders.smollm3 import SMOLLM3
from modeledge.families.encoder_decoders.bart import BART
from modeledge.families.encoder_decoders.mbart import MBART
from modeledge.families.encoder_decoders.mt5 import MT5
from modeledge.families.encoder_decoders.t5 import T5
from modeledge.families.encoders.albert import ALBERT
from modeledge.families.encoders.bert import BERT
from modeledge.families.encoders.distilbert import DISTILBERT
from modeledge.families.encoders.electra import ELECTRA
from modeledge.families.encoders.modernbert import MODERNBERT
from modeledge.families.encoders.roberta import ROBERTA, XLM_ROBERTA
from modeledge.families.family import Family
from modeledge.families.native import NATIVE
from modeledge.families.vit import DEIT, VIT

FAMILIES: dict[str, Family] = {
    # encoders
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": XLM_ROBERTA,
    "distilbert": DISTILBERT,
    "albert": ALBERT,
    "electra": ELECTRA,
    "modernbert": MODERNBERT,
    # decoders
    "gpt2": GPT2,
    "gpt_neox": GPT_NEOX,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "smollm3": SMOLLM3,
    "olmo2": OLMO2,
    "phi3": PHI3,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
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

EXPERTS = "its feed-forwards are mixtures of experts"
LATENT = "its attention reads latent keys and values, and " + EXPERTS
IMAGES = "it reads images beside text"
#: what makes a known architecture one that no page here describes
NOT_BUILT: dict[str, str] = {
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "gemma3": IMAGES,
    "gpt_oss": EXPERTS,
    "granitemoe": EXPERTS,
    "llama4": EXPERTS,
    "mixtral": EXPERTS,
    "mllama": IMAGES,
    "olmoe": EXPERTS,
    "phimoe": EXPERTS,
    "qwen2_moe": EXPERTS,
    "qwen2_vl": IMAGES,
    "qwen3_moe": EXPERTS,
}
WRAP = "wrap it whole with HuggingFaceModel (extra `transformers`)"
HINTS: dict[str, str] = {
    "gemma3": "its text model alone is read: save Gemma3ForConditionalGeneration's `model.language_model` with "
    "transformers (its lm head is the table of tokens), or " + WRAP
}


def find_family(name: Any) -> Family:
    """The family of this name; an unknown one is `E-FAMILY` with the list of those that are known."""
    if not isinstance(name, str) or name not in FAMILIES:
        if isinstance(name, str) and name in NOT_BUILT:
            what = f"there is no page for {name}: {NOT_BUILT[name]}"
            raise ModeledgeError("E-FAMILY", what, where="model_type", remedy=HINTS.get(name, WRAP))
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
