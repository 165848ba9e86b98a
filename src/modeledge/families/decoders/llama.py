"""Llama 2 and 3 (Touvron et al. 2023, arXiv 2307.09288; Grattafiori et al. 2024, arXiv 2407.21783): a decoder with
RMSNorm before each sub-layer, rotary positions (stretched in 3.1), grouped-query attention, SwiGLU and no biases.

SmolLM2 and many others are of this shape and name it.
"""

from __future__ import annotations

from typing import Any

from modeledge.families.decoders.kin import Page, attention, classes, decoder, decoder_keys, plain_decoder
from modeledge.families.keys import flag
from modeledge.model.config import TransformerConfig

KEYS = decoder_keys(
    flag("attention_bias", False),
    flag("mlp_bias", False),
    fixed={"pretraining_tp": (1, None), "rope_interleaved": (False,)},
    inert={"is_llama_config", "transformers.js_config"},
)


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    return decoder(v, attention(v, bias=v["attention_bias"]))


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    stack = config.stack
    biases = {"attention_bias": stack.attention.bias, "mlp_bias": stack.feedforward.bias}
    return {**plain_decoder(config), **biases}


PAGE = Page("llama", KEYS, classes("Llama", "lm", "class", "tags", "span"), read, plain, body="transformer.")
LLAMA = PAGE.family()
