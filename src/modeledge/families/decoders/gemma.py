"""Gemma (Gemma team 2024, arXiv 2403.08295): Llama's shape with wide heads, GELU in the gates, embeddings times
√width, norms whose weights are stored as their distance from 1, and one table for what goes in and comes out.

Early files say `gelu` and mean its tanh approximation, which the models were trained with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modeledge.families.decoders.kin import Page, attention, classes, decoder, decoder_keys, plain_decoder
from modeledge.families.keys import flag
from modeledge.model.config import Attention, Norm, Tokens, TransformerConfig
from modeledge.model.kinds import Rotary

TANH = "gelu_pytorch_tanh"
KEYS = decoder_keys(
    flag("attention_bias", False),
    fixed={"use_bidirectional_attention": (None, False), "hidden_activation": (None, TANH)},
    activation=(TANH, "gelu"),
    vocab_size=256000,
    hidden_size=3072,
    intermediate_size=24576,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=16,
    head_dim=256,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
)


def gemma(v: dict[str, Any], attention: Attention, norm: Norm, position: Rotary | None = None) -> TransformerConfig:
    """What all Gemmas have: the gate, the norms around 1, the scaled embeddings."""
    made = decoder(v, attention, norm=replace(norm, around_one=True), position=position, kind="geglu_tanh")
    return replace(made, embed=Tokens(vocab=v["vocab_size"], scale=v["hidden_size"] ** 0.5))


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    return gemma(v, attention(v, bias=v["attention_bias"]), Norm())


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    return {**plain_decoder(config), "attention_bias": config.stack.attention.bias}


GEMMA = Page("gemma", KEYS, classes("Gemma", "lm", "class", "tags"), read, plain).family()
