"""Gemma 3's text model (Gemma team 2025, arXiv 2503.19786): Gemma 2 with normed queries and keys in place of the
bounded scores, five layers in a window to one without, and a faster rotation in the windows than outside.

`gemma3_text` is this decoder alone. The files of the larger models, `gemma3`, hold a vision tower beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.families.decoders.gemma import TANH, gemma
from modeledge.families.decoders.gemma2 import plain_scores
from modeledge.families.decoders.kin import Page, attention, decoder_keys, plain_decoder
from modeledge.families.decoders.layers import FULL, SLIDING, TYPES, plain_windows, window_key, windows
from modeledge.families.keys import count, flag, positive
from modeledge.families.rope import plain_rope, read_one, read_rope
from modeledge.model.config import Norm, TransformerConfig
from modeledge.model.kinds import Rotary

KEYS = decoder_keys(
    flag("attention_bias", False),
    positive("query_pre_attn_scalar", 256),
    positive("final_logit_softcapping", None),
    positive("rope_local_base_freq", None),
    window_key(4096),
    count("sliding_window_pattern", 6),
    TYPES,
    fixed={"use_bidirectional_attention": (None, False), "attn_logit_softcapping": (None,)},
    inert={"cache_implementation", "hidden_act", "_sliding_window_pattern"},
    activation=(TANH,),
    act="hidden_activation",
    vocab_size=262208,
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
    max_position_embeddings=131072,
    tie_word_embeddings=True,
)
BASE, LOCAL = 1_000_000.0, 10_000.0
CLASSES = {"Gemma3TextModel": None, "Gemma3ForCausalLM": "lm", "Gemma3TextForSequenceClassification": "class"}


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    rule = [(n + 1) % v["sliding_window_pattern"] != 0 for n in range(v["num_hidden_layers"])]
    own = {"scale": v["query_pre_attn_scalar"] ** -0.5, "windows": windows(v, v["sliding_window"], rule)}
    heads = attention(v, bias=v["attention_bias"], qk_norm="head", **own)
    return gemma(v, heads, Norm(place="around"), read_both(v))


def read_both(v: Mapping[str, Any]) -> Rotary:
    """The rotation of the layers that see all, and the base of those in a window, which are never stretched alone."""
    said, longest = v["rope_parameters"], v["max_position_embeddings"]
    if said is None:
        whole = read_rope(v, base=BASE, longest=longest, partial=False)
        return replace(whole, local_base=v["rope_local_base_freq"] or LOCAL)
    if not all(isinstance(said.get(kind), Mapping) for kind in (FULL, SLIDING)) or len(said) > 2:
        what = f"rope_parameters must say {FULL!r} and {SLIDING!r}, and nothing else"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="rope_parameters")
    if v["rope_scaling"] is not None:
        raise ModeledgeError("E-CONFIG-VALUE", "rope_scaling stands beside rope_parameters", where="rope_scaling")
    bases = {FULL: v["rope_theta"] or BASE, SLIDING: v["rope_local_base_freq"] or LOCAL}
    both = {
        kind: read_one(said[kind], f"rope_parameters.{kind}", base=base, longest=longest, partial=False)
        for kind, base in bases.items()
    }
    whole, local = both[FULL], both[SLIDING]
    if local == whole:
        return whole
    if local.stretch is not None:
        what = "layers in a window are stretched, and otherwise than the others"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=f"rope_parameters.{SLIDING}")
    return replace(whole, local_base=local.base)


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    position = config.stack.position
    assert isinstance(position, Rotary)
    whole = plain_rope(position)
    local = whole if position.local_base is None else {"rope_type": "default", "rope_theta": position.local_base}
    both = {"rope_parameters": {FULL: whole, SLIDING: local}}
    return {**plain_decoder(config), **plain_scores(config), **plain_windows(config), **both}


GEMMA3 = Page("gemma3_text", KEYS, CLASSES, read, plain).family()
