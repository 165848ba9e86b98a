"""Mistral 7B (Jiang et al. 2023, arXiv 2310.06825): Llama's shape, and each token sees a window of the last tokens
alone (section 2; layers pass on what lies farther back). Later releases say no window."""

from __future__ import annotations

from typing import Any

from modeledge.families.decoders.kin import Page, attention, classes, decoder, decoder_keys, plain_decoder
from modeledge.families.decoders.layers import whole_window, window_key
from modeledge.model.config import TransformerConfig

KEYS = decoder_keys(window_key(4096), intermediate_size=14336, num_key_value_heads=8, max_position_embeddings=131072)


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body: one window for all layers, or none."""
    return decoder(v, attention(v, windows=(v["sliding_window"],)))


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    return {**plain_decoder(config), "sliding_window": whole_window(config)}


MISTRAL = Page("mistral", KEYS, classes("Mistral", "lm", "class", "tags", "span"), read, plain).family()
