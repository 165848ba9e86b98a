"""SmolLM3 (Bakouch et al. 2025, Hugging Face): Llama's shape, and every fourth layer turns no queries and keys, which
helps with long texts (Yang et al. 2025, arXiv 2501.18795). Those layers are the ones that may have a window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modeledge.families.decoders.kin import Page, attention, classes, decoder, decoder_keys, plain_decoder
from modeledge.families.decoders.layers import TYPES, plain_upper_layers, turning, window_key, windows
from modeledge.families.family import shortest
from modeledge.families.keys import Key, count, flag
from modeledge.families.rope import read_rope
from modeledge.model.config import TransformerConfig
from modeledge.model.kinds import Rotary

KEYS = decoder_keys(
    flag("attention_bias", False),
    flag("mlp_bias", False),
    flag("use_sliding_window", False),
    window_key(None),
    TYPES,
    count("no_rope_layer_interval", 4),
    Key(
        "no_rope_layers",
        None,
        lambda v: v is None or (isinstance(v, list) and all(type(turns) is int and turns in (0, 1) for turns in v)),
        "a list of 0 and 1",
    ),
    inert={"max_window_layers", "pretraining_tp"},
    vocab_size=128256,
    hidden_size=2048,
    num_hidden_layers=36,
    num_attention_heads=16,
    num_key_value_heads=4,
    max_position_embeddings=32768,
    tie_word_embeddings=True,
)


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    turns = turning(v)
    window = v["sliding_window"] if v["use_sliding_window"] else None
    seen = windows(v, window, [window is not None and not turned for turned in turns])
    rope = read_rope(v, base=2_000_000.0, longest=v["max_position_embeddings"], partial=False)
    position = replace(rope, layers=shortest(turns))
    return decoder(v, attention(v, bias=v["attention_bias"], windows=seen), position=position)


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    stack, position = config.stack, config.stack.position
    assert isinstance(position, Rotary)
    turns = [int(position.layers[n % len(position.layers)]) for n in range(stack.layers)]
    return {
        **plain_decoder(config),
        **plain_upper_layers(config),
        "no_rope_layers": turns,
        "attention_bias": stack.attention.bias,
        "mlp_bias": stack.feedforward.bias,
    }


SMOLLM3 = Page(
    "smollm3", KEYS, classes("SmolLM3", "lm", "class", "tags", "span"), read, plain, body="transformer."
).family()
