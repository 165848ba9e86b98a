"""GPT-NeoX (Black et al. 2022, arXiv 2204.06745) and Pythia (Biderman et al. 2023, arXiv 2304.01373): a decoder whose
attention and feed-forward read the same states side by side, with rotary positions on a part of each head.

The matrix of queries, keys and values is laid out head by head: the query of the first head, its key, its value, then
the second head. The head over the vocabulary is a matrix of its own, `embed_out` in published files. Without
`use_parallel_residual` the sub-layers follow each other as in GPT-2. Old files say the rotary positions by `rotary_pct`
and `rotary_emb_base`, and store masks and angles, which are carried and not used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from modeledge.families.decoders.heads import both, head_rules, read_heads, written_heads
from modeledge.families.family import Extra, Family, respelled, unsayable
from modeledge.families.keys import (
    ACTIVATIONS,
    FIXED,
    INERT,
    SPELLED,
    Key,
    Keys,
    changed,
    choice,
    count,
    flag,
    positive,
    rate,
)
from modeledge.families.rope import ROPE_KEYS, plain_rope, read_rope
from modeledge.families.rules import Interleave, Keep, Rename, Rule
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.kinds import Rotary

KEYS = Keys(
    shape=(
        count("vocab_size", 50432),
        count("hidden_size", 6144),
        count("num_hidden_layers", 44),
        count("num_attention_heads", 64),
        count("intermediate_size", 24576),
        count("max_position_embeddings", 2048),
        choice("hidden_act", "gelu", ACTIVATIONS),
        Key("rotary_pct", 0.25, lambda v: type(v) in (int, float) and 0 < v <= 1, "a number above 0, at most 1"),
        positive("rotary_emb_base", 10000.0),
        rate("hidden_dropout", 0.0),
        rate("attention_dropout", 0.0),
        rate("classifier_dropout", 0.1),
        positive("layer_norm_eps", 1e-5),
        positive("initializer_range", 0.02),
        flag("use_parallel_residual", True),
        flag("attention_bias", True),
        flag("tie_word_embeddings", False),
        *ROPE_KEYS,
    ),
    fixed={**FIXED, "attention_probs_dropout_prob": (0, 0.0), "hidden_dropout_prob": (0, 0.0)},
    inert=INERT,
)
ARCHITECTURES: dict[str, str | None] = {
    "GPTNeoXModel": None,
    "GPTNeoXForCausalLM": "lm",
    "GPTNeoXForSequenceClassification": "class",
    "GPTNeoXForTokenClassification": "tags",
    "GPTNeoXForQuestionAnswering": "span",
}
TABLE, LM = "gpt_neox.embed_in.weight", "embed_out.weight"


def read_config(said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the shape of the body."""
    v = KEYS.read(said)
    stack = Stack(
        layers=v["num_hidden_layers"],
        attention=Attention(heads=v["num_attention_heads"], bias=v["attention_bias"]),
        feedforward=FeedForward(width=v["intermediate_size"], kind=cast(Any, ACTIVATIONS[v["hidden_act"]])),
        norm=Norm(eps=v["layer_norm_eps"]),
        position=read_rope(
            v, base=v["rotary_emb_base"], longest=v["max_position_embeddings"], fraction=v["rotary_pct"]
        ),
        dropout=Dropout(embed=v["hidden_dropout"], hidden=v["hidden_dropout"], attention=v["attention_dropout"]),
        parallel=v["use_parallel_residual"],
    )
    embed = Tokens(vocab=v["vocab_size"])
    return TransformerConfig(width=v["hidden_size"], embed=embed, decoder=stack, init=v["initializer_range"]), Extra(
        said
    )


def write_config(config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The shape of the body → `config.json`; what has not changed stays as it was said."""
    if extra.said:
        return changed(extra.said, _plain(read_config(extra.said)[0]), _plain(config))
    return {"model_type": "gpt_neox", "bos_token_id": None, "eos_token_id": None, **_plain(config)}


def _plain(config: TransformerConfig) -> dict[str, Any]:
    stack = config.stack
    assert isinstance(stack.position, Rotary)
    return {
        "vocab_size": config.table.vocab,
        "hidden_size": config.width,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.attention.heads,
        "intermediate_size": stack.feedforward.width,
        "hidden_act": SPELLED.get(stack.feedforward.kind, "gelu"),
        "hidden_dropout": stack.dropout.hidden,
        "attention_dropout": stack.dropout.attention,
        "layer_norm_eps": stack.norm.eps,
        "initializer_range": config.init,
        "use_parallel_residual": stack.parallel,
        "attention_bias": stack.attention.bias,
        "rope_parameters": plain_rope(stack.position, fraction=True),
    }


def heads(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The heads that a file holds."""
    return read_heads(KEYS.read(said), ARCHITECTURES, said, names, LM)


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds."""
    return written_heads(ARCHITECTURES, heads)


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    made: list[Rule] = [Rename(TABLE, "tokens")]
    for n in range(config.stack.layers):
        made += _layer(f"gpt_neox.layers.{n}", f"tower.blocks.{n}", config)
    made += both("gpt_neox.final_layer_norm", "tower.final_norm")
    return (*made, *head_rules(heads, TABLE, LM))


def _layer(theirs: str, ours: str, config: TransformerConfig) -> list[Rule]:
    attention = config.stack.attention
    made = both(f"{theirs}.input_layernorm", f"{ours}.attention_norm")
    for end in ("weight", "bias") if attention.bias else ("weight",):
        parts = tuple(f"{ours}.attention.{part}.{end}" for part in ("query", "key", "value"))
        made.append(Interleave(f"{theirs}.attention.query_key_value.{end}", parts, attention.heads))
        made.append(Rename(f"{theirs}.attention.dense.{end}", f"{ours}.attention.output.{end}"))
    made += both(f"{theirs}.post_attention_layernorm", f"{ours}.feedforward_norm")
    made += both(f"{theirs}.mlp.dense_h_to_4h", f"{ours}.feedforward.up")
    made += both(f"{theirs}.mlp.dense_4h_to_h", f"{ours}.feedforward.down")
    stored = ("bias", "masked_bias", "rotary_emb.inv_freq")
    return [*made, *(Keep(f"{theirs}.attention.{name}") for name in stored)]


LIKE = TransformerConfig(
    width=2,
    embed=Tokens(vocab=1),
    decoder=Stack(layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=1), position=Rotary()),
)


def lacks(config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that a GPT-NeoX checkpoint cannot say."""
    return unsayable(GPT_NEOX, config, heads, LIKE)


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `gpt_neox.`; new files call the lm head as all others do."""
    found = respelled(names, "gpt_neox.", ("embed_out.", "lm_head.", "score.", "classifier.", "qa_outputs."))
    return {name: LM if new == "lm_head.weight" and LM not in names else new for name, new in found.items()}


GPT_NEOX = Family("gpt_neox", read_config, write_config, heads, write_heads, rules, lacks, spelling, prefix="gpt_neox.")
