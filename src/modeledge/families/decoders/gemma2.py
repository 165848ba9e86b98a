"""Gemma 2 (Gemma team 2024, arXiv 2408.00118): Gemma with norms before and behind each sub-layer, every other layer in
a window, attention scores and logits bounded by a tanh, and scores scaled by a number of their own."""

from __future__ import annotations

from typing import Any

from modeledge.families.decoders.gemma import TANH, gemma
from modeledge.families.decoders.kin import Page, attention, classes, decoder_keys, plain_decoder
from modeledge.families.decoders.layers import TYPES, plain_windows, window_key, windows
from modeledge.families.keys import flag, positive
from modeledge.model.config import Norm, TransformerConfig

KEYS = decoder_keys(
    flag("attention_bias", False),
    positive("query_pre_attn_scalar", 256),
    positive("attn_logit_softcapping", 50.0, null=True),
    positive("final_logit_softcapping", 30.0, null=True),
    window_key(4096),
    TYPES,
    fixed={"use_bidirectional_attention": (None, False)},
    inert={"cache_implementation", "hidden_act"},
    activation=(TANH,),
    act="hidden_activation",
    vocab_size=256000,
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
)


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    own = {"softcap": v["attn_logit_softcapping"], "scale": v["query_pre_attn_scalar"] ** -0.5}
    seen = windows(v, v["sliding_window"], [n % 2 == 0 for n in range(v["num_hidden_layers"])])
    return gemma(v, attention(v, bias=v["attention_bias"], windows=seen, **own), Norm(place="around"))


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    own = {"attn_logit_softcapping": config.stack.attention.softcap}
    return {**plain_decoder(config), **plain_scores(config), **plain_windows(config), **own}


def plain_scores(config: TransformerConfig) -> dict[str, Any]:
    """What Gemma 2 and 3 say of their scores: a scale is the root of one over a whole number."""
    attention = config.stack.attention
    squared = attention.head_width or config.width // attention.heads
    if attention.scale is not None:
        squared = max(1, round(attention.scale**-2))
    return {"query_pre_attn_scalar": squared, "attention_bias": attention.bias}


GEMMA2 = Page("gemma2", KEYS, classes("Gemma2", "lm", "class", "tags"), read, plain).family()
