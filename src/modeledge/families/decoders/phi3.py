"""Phi-3, Phi-3.5 and Phi-4-mini (Abdin et al. 2024, arXiv 2404.14219): Llama's shape, with queries, keys and values in
one matrix, and gate and up in another. A part of each head may be turned, and long texts turn by other angles
(longrope, Ding et al. 2024, arXiv 2402.13753).

The reference library chooses those angles by the longest row of a batch, padding included; here each example's own
length says it, so that no neighbour can change what is computed. One by one both are equal.
"""

from __future__ import annotations

from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.families.decoders.kin import (
    Page,
    attention,
    classes,
    decoder,
    decoder_keys,
    norm_rules,
    plain_decoder,
    product,
)
from modeledge.families.decoders.layers import whole_window, window_key
from modeledge.families.keys import count, positive, rate, shown
from modeledge.families.rope import plain_rope, read_rope
from modeledge.families.rules import Keep, Rename, Rule, Split
from modeledge.model.config import TransformerConfig
from modeledge.model.kinds import Rotary

# the published files name an older copy of this arithmetic; it is carried and never run
OWN_CODE = {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}

KEYS = decoder_keys(
    rate("resid_pdrop", 0.0),
    count("original_max_position_embeddings", 4096),
    positive("partial_rotary_factor", 1.0),
    window_key(None),
    fixed={"attention_bias": (False,), "auto_map": (OWN_CODE,)},
    inert={"embd_pdrop"},
    vocab_size=32064,
    hidden_size=3072,
    intermediate_size=8192,
    max_position_embeddings=4096,
    rms_norm_eps=1e-5,
)


def read(v: dict[str, Any]) -> TransformerConfig:
    """The values of the keys → the shape of the body."""
    heads = attention(v, qkv="fused", windows=(v["sliding_window"],))
    return decoder(v, heads, position=read_turns(v), hidden=v["resid_pdrop"])


def read_turns(v: dict[str, Any]) -> Rotary:
    """Rotary positions; `su` is the first name of longrope, and the length of the first training has a key beside."""
    name = "rope_parameters" if v["rope_parameters"] else "rope_scaling"
    said = dict(v[name] or {})
    kind = said.pop("rope_type", said.pop("type", None)) or "default"
    if kind not in ("default", "su", "longrope"):
        what = f"rope_type is {shown(kind)}; known: default, longrope"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=name, remedy="use another checkpoint")
    if kind != "default":
        kind, said["original_max_position_embeddings"] = "longrope", v["original_max_position_embeddings"]
    one = {**v, name: {**said, "rope_type": kind}}
    return read_rope(one, longest=v["max_position_embeddings"], fraction=v["partial_rotary_factor"])


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The shape of the body → what its keys say."""
    stack, position = config.stack, config.stack.position
    assert isinstance(position, Rotary)
    stretch = position.stretch
    far = {} if stretch is None else {"original_max_position_embeddings": stretch.original}
    return {
        **plain_decoder(config),
        **far,
        "rope_parameters": plain_rope(position, fraction=True),
        "sliding_window": whole_window(config),
        "resid_pdrop": stack.dropout.hidden,
    }


def layer_rules(n: int, config: TransformerConfig) -> list[Rule]:
    """One layer; its queries, keys and values may be one matrix here as there, or three."""
    theirs, ours, stack = f"model.layers.{n}", f"tower.blocks.{n}", config.stack
    heads = stack.attention
    made = [*norm_rules(n, config), *product(f"{theirs}.self_attn.o_proj", f"{ours}.attention.output", bias=False)]
    joint = f"{theirs}.self_attn.qkv_proj.weight"
    if heads.qkv == "fused":
        made.append(Rename(joint, f"{ours}.attention.qkv.weight"))
    else:
        width = heads.head_width or config.width // heads.heads
        sizes = tuple(width * number for number in (heads.heads, *[heads.kv_heads or heads.heads] * 2))
        names = tuple(f"{ours}.attention.{part}.weight" for part in ("query", "key", "value"))
        made.append(Split(joint, names, sizes))
    gate_up = tuple(f"{ours}.feedforward.{part}.weight" for part in ("gate", "up"))
    made.append(Split(f"{theirs}.mlp.gate_up_proj.weight", gate_up, (stack.feedforward.width,) * 2))
    made += product(f"{theirs}.mlp.down_proj", f"{ours}.feedforward.down", bias=False)
    return [*made, Keep(f"{theirs}.self_attn.rotary_emb.inv_freq")]


PHI3 = Page(
    "phi3", KEYS, classes("Phi3", "lm", "class", "tags"), read, plain, layer_rules, either=("attention.qkv",)
).family()
