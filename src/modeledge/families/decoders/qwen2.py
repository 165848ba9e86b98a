"""Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv 2407.10671 and 2412.15115): Llama's shape with biases on queries, keys and
values, and none on the output. Upper layers may look through a window; published models switch it off."""

from __future__ import annotations

from typing import Any

from modeledge.families.decoders.kin import Page, attention, classes, decoder, decoder_keys, plain_decoder
from modeledge.families.decoders.layers import plain_upper_layers, upper_layer_keys, upper_layers
from modeledge.model.config import TransformerConfig

KEYS = decoder_keys(
    *upper_layer_keys(),
    fixed={"use_mrope": (False,)},
    vocab_size=151936,
    intermediate_size=22016,
    num_key_value_heads=32,
    max_position_embeddings=32768,
)


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    return decoder(v, attention(v, bias=True, output_bias=False, windows=upper_layers(v)))


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    return {**plain_decoder(config), **plain_upper_layers(config)}


QWEN2 = Page("qwen2", KEYS, classes("Qwen2", "lm", "class", "tags", "span"), read, plain, body="transformer.").family()
