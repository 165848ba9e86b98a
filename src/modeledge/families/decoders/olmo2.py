"""OLMo 2 (OLMo team 2024, arXiv 2501.00656): Llama's shape with the norms on what each sub-layer gives, before it is
added, and none on what it takes; queries and keys are normed over all heads together (section 3.3)."""

from __future__ import annotations

from typing import Any

from modeledge.families.decoders.kin import Page, attention, classes, decoder, decoder_keys, plain_decoder
from modeledge.families.keys import flag
from modeledge.model.config import Norm, TransformerConfig

KEYS = decoder_keys(flag("attention_bias", False), fixed={"clip_qkv": (None,)}, vocab_size=50304, rms_norm_eps=1e-5)


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    return decoder(v, attention(v, bias=v["attention_bias"], qk_norm="whole"), norm=Norm(place="inner"))


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    return {**plain_decoder(config), "attention_bias": config.stack.attention.bias}


OLMO2 = Page("olmo2", KEYS, classes("Olmo2", "lm", "class"), read, plain).family()
