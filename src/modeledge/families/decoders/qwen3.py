"""Qwen3 (Yang et al. 2025, arXiv 2505.09388): Qwen2 without its biases; queries and keys are normed head by head
(Henry et al. 2020, arXiv 2010.04245; Dehghani et al. 2023, arXiv 2302.05442), and heads have a width of their own."""

from __future__ import annotations

from typing import Any

from modeledge.families.decoders.kin import Page, attention, classes, decoder, decoder_keys, plain_decoder
from modeledge.families.decoders.layers import plain_upper_layers, upper_layer_keys, upper_layers
from modeledge.families.keys import flag
from modeledge.model.config import TransformerConfig

KEYS = decoder_keys(
    *upper_layer_keys(),
    flag("attention_bias", False),
    vocab_size=151936,
    intermediate_size=22016,
    num_key_value_heads=32,
    head_dim=128,
    max_position_embeddings=32768,
)


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    return decoder(v, attention(v, bias=v["attention_bias"], qk_norm="head", windows=upper_layers(v)))


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    bias = {"attention_bias": config.stack.attention.bias}
    return {**plain_decoder(config), **plain_upper_layers(config), **bias}


QWEN3 = Page("qwen3", KEYS, classes("Qwen3", "lm", "class", "tags", "span"), read, plain, body="transformer.").family()
