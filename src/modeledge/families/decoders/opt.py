"""OPT (Zhang et al. 2022, arXiv 2205.01068): a decoder like GPT-2's with ReLU, three matrices for queries, keys and
values, and learned positions that begin at row 2 of their table.

Norms stand before each sub-layer; `do_layer_norm_before=False` puts them after the sums. The 350M model embeds tokens
in fewer numbers than its layers have, and projects them in and out again: it is refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from modeledge.errors import ModeledgeError
from modeledge.families.decoders.heads import both, head_rules, read_heads, written_heads
from modeledge.families.family import Extra, Family, respelled, unsayable
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
from modeledge.families.rules import Rename, Rule
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.kinds import Learned

OFFSET = 2  # rows of the table of positions that no token uses
EPS = 1e-5  # of the norms; the configuration does not say it

KEYS = Keys(
    shape=(
        count("vocab_size", 50272),
        count("hidden_size", 768),
        count("num_hidden_layers", 12),
        count("num_attention_heads", 12),
        count("ffn_dim", 3072),
        count("max_position_embeddings", 2048),
        count("word_embed_proj_dim", None),
        choice("activation_function", "relu", ACTIVATIONS),
        rate("dropout", 0.1),
        rate("attention_dropout", 0.0),
        positive("init_std", 0.02),
        flag("do_layer_norm_before", True),
        flag("enable_bias", True),
        flag("tie_word_embeddings", True),
    ),
    fixed={
        **FIXED,
        "_remove_final_layer_norm": (False,),
        "activation_dropout": (0.0, 0),
        "layer_norm_elementwise_affine": (True,),
        "layerdrop": (0.0, 0),
    },
    inert=INERT,
)
ARCHITECTURES: dict[str, str | None] = {
    "OPTModel": None,
    "OPTForCausalLM": "lm",
    "OPTForSequenceClassification": "class",
    "OPTForQuestionAnswering": "span",
}
TABLE = "model.decoder.embed_tokens.weight"


def read_config(said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the shape of the body. Projected embeddings are `E-CONFIG-VALUE`."""
    v = KEYS.read(said)
    narrow = v["word_embed_proj_dim"]
    if narrow not in (None, v["hidden_size"]):
        what = f"word_embed_proj_dim is {narrow} and hidden_size {v['hidden_size']}; only equal ones are computed here"
        remedy = "use another size of OPT: the 350M model alone projects its embeddings"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="word_embed_proj_dim", remedy=remedy)
    stack = Stack(
        layers=v["num_hidden_layers"],
        attention=Attention(heads=v["num_attention_heads"], bias=v["enable_bias"]),
        feedforward=FeedForward(
            width=v["ffn_dim"], kind=cast(Any, ACTIVATIONS[v["activation_function"]]), bias=v["enable_bias"]
        ),
        norm=Norm(place="pre" if v["do_layer_norm_before"] else "post", eps=EPS),
        position=Learned(length=v["max_position_embeddings"] + OFFSET, offset=OFFSET),
        dropout=Dropout(hidden=v["dropout"], attention=v["attention_dropout"]),
    )
    embed = Tokens(vocab=v["vocab_size"])
    return TransformerConfig(width=v["hidden_size"], embed=embed, decoder=stack, init=v["init_std"]), Extra(said)


def write_config(config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The shape of the body → `config.json`; what has not changed stays as it was said."""
    if extra.said:
        return changed(extra.said, _plain(read_config(extra.said)[0]), _plain(config))
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return {"model_type": "opt", **ids, **_plain(config)}


def _plain(config: TransformerConfig) -> dict[str, Any]:
    stack = config.stack
    assert isinstance(stack.position, Learned)
    return {
        "vocab_size": config.table.vocab,
        "hidden_size": config.width,
        "word_embed_proj_dim": config.width,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.attention.heads,
        "ffn_dim": stack.feedforward.width,
        "max_position_embeddings": stack.position.length - OFFSET,
        "activation_function": SPELLED.get(stack.feedforward.kind, "relu"),
        "dropout": stack.dropout.hidden,
        "attention_dropout": stack.dropout.attention,
        "init_std": config.init,
        "do_layer_norm_before": stack.norm.place == "pre",
        "enable_bias": stack.attention.bias,
    }


def heads(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The heads that a file holds."""
    return read_heads(KEYS.read(said), ARCHITECTURES, said, names)


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds."""
    return written_heads(ARCHITECTURES, heads)


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    body, stack = "model.decoder", config.stack
    made: list[Rule] = [Rename(TABLE, "tokens"), Rename(f"{body}.embed_positions.weight", "tower.position.weight")]
    ends = ("weight", "bias") if stack.attention.bias else ("weight",)
    products = (
        ("self_attn.q_proj", "attention.query"),
        ("self_attn.k_proj", "attention.key"),
        ("self_attn.v_proj", "attention.value"),
        ("self_attn.out_proj", "attention.output"),
        ("fc1", "feedforward.up"),
        ("fc2", "feedforward.down"),
    )
    for n in range(stack.layers):
        theirs, ours = f"{body}.layers.{n}", f"tower.blocks.{n}"
        made += [Rename(f"{theirs}.{a}.{end}", f"{ours}.{b}.{end}") for a, b in products for end in ends]
        made += both(f"{theirs}.self_attn_layer_norm", f"{ours}.attention_norm")
        made += both(f"{theirs}.final_layer_norm", f"{ours}.feedforward_norm")
    made += both(f"{body}.final_layer_norm", "tower.final_norm") if stack.norm.place == "pre" else []
    return (*made, *head_rules(heads, TABLE))


LIKE = TransformerConfig(
    width=2,
    embed=Tokens(vocab=1),
    decoder=Stack(
        layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=1), position=Learned(length=3, offset=2)
    ),
)


def lacks(config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that an OPT checkpoint cannot say."""
    return unsayable(OPT, config, heads, LIKE)


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `model.`."""
    return respelled(names, "model.", ("lm_head.", "score.", "qa_outputs."))


OPT = Family("opt", read_config, write_config, heads, write_heads, rules, lacks, spelling, prefix="model.")
