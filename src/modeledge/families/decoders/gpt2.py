"""GPT-2 (Radford et al. 2019): a decoder with learned positions, norms before each sub-layer and one more at the end.

Its layers were `Conv1D`, so matrices lie as `[inputs, outputs]`, and queries, keys and values are one matrix. Old files
also store the causal mask as `attn.bias` and `attn.masked_bias`; they are carried, not used. `layer_rules` are those of
GPT, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from modeledge.families.decoders.heads import SUMMARY, TOPS, both, head_rules, read_heads, written_heads
from modeledge.families.family import Extra, Family, beyond_learned, respelled, unsayable
from modeledge.families.keys import (
    ACTIVATIONS,
    FIXED,
    INERT,
    SPELLED,
    Keys,
    changed,
    choice,
    count,
    flag,
    positive,
    rate,
)
from modeledge.families.rules import Keep, Rename, Rule, Split, Transpose
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.kinds import Learned

KEYS = Keys(
    shape=(
        count("vocab_size", 50257),
        count("n_positions", 1024),
        count("n_embd", 768),
        count("n_layer", 12),
        count("n_head", 12),
        count("n_inner", None),
        choice("activation_function", "gelu_new", ACTIVATIONS),
        rate("resid_pdrop", 0.1),
        rate("embd_pdrop", 0.1),
        rate("attn_pdrop", 0.1),
        rate("classifier_dropout", None),
        positive("layer_norm_epsilon", 1e-5),
        positive("initializer_range", 0.02),
        flag("tie_word_embeddings", True),
        *SUMMARY,
    ),
    fixed={
        **FIXED,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "reorder_and_upcast_attn": (False,),
    },
    inert=INERT | {"n_ctx"},
)

ARCHITECTURES: dict[str, str | None] = {
    "GPT2Model": None,
    "GPT2LMHeadModel": "lm",
    "GPT2ForSequenceClassification": "class",
    "GPT2ForTokenClassification": "tags",
    "GPT2ForQuestionAnswering": "span",
    "GPT2DoubleHeadsModel": "choice",
}


def read_config(said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the shape of the body."""
    v = KEYS.read(said)
    inner = 4 * v["n_embd"] if v["n_inner"] is None else v["n_inner"]
    stack = Stack(
        layers=v["n_layer"],
        attention=Attention(heads=v["n_head"], qkv="fused"),
        feedforward=FeedForward(width=inner, kind=cast(Any, ACTIVATIONS[v["activation_function"]])),
        norm=Norm(place="pre", eps=v["layer_norm_epsilon"]),
        position=Learned(length=v["n_positions"]),
        dropout=Dropout(embed=v["embd_pdrop"], hidden=v["resid_pdrop"], attention=v["attn_pdrop"]),
    )
    embed = Tokens(vocab=v["vocab_size"])
    return TransformerConfig(width=v["n_embd"], embed=embed, decoder=stack, init=v["initializer_range"]), Extra(said)


def write_config(config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The shape of the body → `config.json`; what has not changed stays as it was said.

    A model of our own has no token ids in its configuration: the reference library's default, 50256, would be wrong.
    """
    if extra.said:
        return changed(extra.said, _plain(read_config(extra.said)[0]), _plain(config))
    return {"model_type": "gpt2", "bos_token_id": None, "eos_token_id": None, **_plain(config)}


def _plain(config: TransformerConfig) -> dict[str, Any]:
    stack = config.stack
    assert isinstance(stack.position, Learned)
    inner = stack.feedforward.width
    return {
        "vocab_size": config.table.vocab,
        "n_positions": stack.position.length,
        "n_embd": config.width,
        "n_layer": stack.layers,
        "n_head": stack.attention.heads,
        "n_inner": None if inner == 4 * config.width else inner,
        "activation_function": SPELLED[stack.feedforward.kind],
        "resid_pdrop": stack.dropout.hidden,
        "embd_pdrop": stack.dropout.embed,
        "attn_pdrop": stack.dropout.attention,
        "layer_norm_epsilon": stack.norm.eps,
        "initializer_range": config.init,
    }


def heads(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The heads that a file holds."""
    return read_heads(KEYS.read(said), ARCHITECTURES, said, names)


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds."""
    return written_heads(ARCHITECTURES, heads)


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    table = "transformer.wte.weight"
    made: list[Rule] = [Rename(table, "tokens"), Rename("transformer.wpe.weight", "tower.position.weight")]
    for n in range(config.stack.layers):
        made += layer_rules(n, config)
    made += both("transformer.ln_f", "tower.final_norm")
    return (*made, *head_rules(heads, table))


def layer_rules(n: int, config: TransformerConfig) -> list[Rule]:
    """One layer: two norms, queries with keys and values, output, the two matrices of the feed-forward."""
    theirs, ours = f"transformer.h.{n}", f"tower.blocks.{n}"
    return [
        *both(f"{theirs}.ln_1", f"{ours}.attention_norm"),
        *_queries(f"{theirs}.attn.c_attn", f"{ours}.attention", config),
        *_product(f"{theirs}.attn.c_proj", f"{ours}.attention.output"),
        *both(f"{theirs}.ln_2", f"{ours}.feedforward_norm"),
        *_product(f"{theirs}.mlp.c_fc", f"{ours}.feedforward.up"),
        *_product(f"{theirs}.mlp.c_proj", f"{ours}.feedforward.down"),
        Keep(f"{theirs}.attn.bias"),
        Keep(f"{theirs}.attn.masked_bias"),
    ]


def _product(theirs: str, ours: str) -> list[Rule]:
    return [Transpose(f"{theirs}.weight", f"{ours}.weight"), Rename(f"{theirs}.bias", f"{ours}.bias")]


def _queries(theirs: str, ours: str, config: TransformerConfig) -> list[Rule]:
    """One matrix for queries, keys and values in the file; one or three in the model."""
    if config.stack.attention.qkv == "fused":
        return _product(theirs, f"{ours}.qkv")
    parts, sizes = ("query", "key", "value"), (config.width,) * 3
    return [
        Split(f"{theirs}.{end}", tuple(f"{ours}.{part}.{end}" for part in parts), sizes, transposed=end == "weight")
        for end in ("weight", "bias")
    ]


LIKE = TransformerConfig(
    width=2,
    embed=Tokens(vocab=1),
    decoder=Stack(layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=1), position=Learned(length=1)),
)
EITHER = ("attention.qkv",)  # the rules write both ways of storing


def lacks(config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that a GPT-2 checkpoint cannot say."""
    if config.decoder is None:
        return ["it is an encoder"]
    return beyond_learned(config) or unsayable(GPT2, config, heads, LIKE, EITHER)


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `transformer.`."""
    return respelled(names, "transformer.", TOPS)


GPT2 = Family("gpt2", read_config, write_config, heads, write_heads, rules, lacks, spelling, prefix="transformer.")
