"""GPT-2 (Radford et al. 2019): a decoder with learned positions, norms before each sub-layer and one more at the end.

Its layers were `Conv1D`, so matrices lie as `[inputs, outputs]`, and queries, keys and values are one matrix. Old files
also store the causal mask as `attn.bias` and `attn.masked_bias`; they are carried, not used. The score head of the
sequence classifier reads the last token and has no bias.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from modeledge.families.bert import named
from modeledge.families.family import Extra, Family, beyond_learned, label_count, label_keys, respelled
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
from modeledge.families.rules import Keep, Rename, Rule, Split, Tie, Transpose
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead
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
        positive("layer_norm_epsilon", 1e-5),
        positive("initializer_range", 0.02),
        flag("tie_word_embeddings", True),
    ),
    fixed={
        **FIXED,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "reorder_and_upcast_attn": (False,),
    },
    inert=INERT
    | {
        "n_ctx",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    },
)

ARCHITECTURES: dict[str, str | None] = {
    "GPT2Model": None,
    "GPT2LMHeadModel": "lm",
    "GPT2ForSequenceClassification": "class",
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
    """The heads that a file holds; a class of the reference library that puts another head on is `E-FAMILY`.

    A tied lm head leaves no tensor, so it is `architectures` that names it.
    """
    wanted = {ARCHITECTURES[name] for name in named(said, ARCHITECTURES)}
    found: dict[str, Head] = {}
    if "lm" in wanted or "lm_head.weight" in names:
        found["lm"] = LMHead(tie=KEYS.read(said)["tie_word_embeddings"])
    if "class" in wanted or "score.weight" in names:
        found["class"] = ClassHead(outputs=label_count(said), pool="last", bias=False)
    return found


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which heads a file holds."""
    classes = [
        *(["GPT2ForSequenceClassification"] if "class" in heads else []),
        *(["GPT2LMHeadModel"] if "lm" in heads else []),
    ]
    out: dict[str, Any] = {"architectures": classes or ["GPT2Model"]}
    for head in heads.values():
        if isinstance(head, LMHead):
            out["tie_word_embeddings"] = head.tie
        elif isinstance(head, ClassHead):
            out |= label_keys(head.outputs, None)
    return out


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    made: list[Rule] = [
        Rename("transformer.wte.weight", "tokens"),
        Rename("transformer.wpe.weight", "tower.position.weight"),
    ]
    for n in range(config.stack.layers):
        theirs, ours = f"transformer.h.{n}", f"tower.blocks.{n}"
        made += _norm(f"{theirs}.ln_1", f"{ours}.attention_norm")
        made += _queries(f"{theirs}.attn.c_attn", f"{ours}.attention", config)
        made += _product(f"{theirs}.attn.c_proj", f"{ours}.attention.output")
        made += _norm(f"{theirs}.ln_2", f"{ours}.feedforward_norm")
        made += _product(f"{theirs}.mlp.c_fc", f"{ours}.feedforward.up")
        made += _product(f"{theirs}.mlp.c_proj", f"{ours}.feedforward.down")
        made += [Keep(f"{theirs}.attn.bias"), Keep(f"{theirs}.attn.masked_bias")]
    made += _norm("transformer.ln_f", "tower.final_norm")
    head = heads.get("lm")
    if isinstance(head, LMHead):
        table = "lm_head.weight"
        made.append(Tie(table, "transformer.wte.weight") if head.tie else Rename(table, "heads.lm.weight"))
    if "class" in heads:
        made.append(Rename("score.weight", "heads.class.output.weight"))
    return tuple(made)


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in ("weight", "bias")]


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


def lacks(config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that a GPT-2 checkpoint cannot say."""
    if config.decoder is None:
        return ["it is an encoder"]
    facts = [
        (config.decoder.norm.place != "pre", "its norms stand after the sums"),
        (config.table.norm, "its embeddings are normed"),
        (config.table.types > 0, "it has token types"),
    ]
    for name, head in heads.items():
        if name == "lm" and isinstance(head, LMHead):
            facts.append((head.transform or head.bias is not False, "its lm head has a transform or a bias"))
        elif name == "class" and isinstance(head, ClassHead):
            plain = head.pool == "last" and not (head.hidden or head.bias or head.dropout)
            facts.append((not plain, "its class head is not one matrix without bias over the last token"))
        else:
            facts.append((True, f"there is no head {name!r} of this kind"))
    return beyond_learned(config) + [reason for true, reason in facts if true]


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `transformer.`."""
    return respelled(names, "transformer.", ("lm_head.", "score."))


GPT2 = Family("gpt2", read_config, write_config, heads, write_heads, rules, lacks, spelling, prefix="transformer.")
