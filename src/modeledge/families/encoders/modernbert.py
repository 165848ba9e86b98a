"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): an encoder with rotary positions, GEGLU, few biases, and attention
that is global in every third layer and local in the others.

A local layer's query sees `local_attention // 2` tokens on each side; local and global layers turn by angles of
different bases. The embeddings are normed, so the first layer's attention has no norm of its own. Queries, keys and
values are one matrix, the gate and what it multiplies another (`Wi`, the gate first). All heads have a dense layer, an
activation and a norm before their scores, under the same names: a file holds one head.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from modeledge.families.decoders.heads import both
from modeledge.families.encoders.alternating import ALTERNATING_KEYS, plain_layers, read_angles, read_windows
from modeledge.families.encoders.bert import named
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
from modeledge.families.labels import answering, classed, label_count, score_keys
from modeledge.families.rules import Rename, Rule, Split, Tie
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.feedforward import GATES
from modeledge.model.heads import ClassHead, Head, LMHead, TokenHead, ValueHead
from modeledge.model.kinds import Rotary

GATED = {word: kind for kind, word in GATES.items()}  # the activation of the gate → the kind of feed-forward
HEAD_ACTIVATIONS = {**ACTIVATIONS, "tanh": "tanh"}
HEAD_SPELLED = {**SPELLED, "tanh": "tanh"}
POOLS = {"cls": "first", "mean": "mean"}

KEYS = Keys(
    shape=(
        count("vocab_size", 50368),
        count("hidden_size", 768),
        count("intermediate_size", 1152),
        count("num_hidden_layers", 22),
        count("num_attention_heads", 12),
        count("max_position_embeddings", 8192),
        choice("hidden_activation", "gelu", ACTIVATIONS),
        positive("initializer_range", 0.02),
        positive("norm_eps", 1e-5),
        flag("norm_bias", False),
        flag("attention_bias", False),
        flag("mlp_bias", False),
        rate("attention_dropout", 0.0),
        rate("embedding_dropout", 0.0),
        rate("mlp_dropout", 0.0),
        *ALTERNATING_KEYS,
        flag("decoder_bias", True),
        choice("classifier_pooling", "cls", POOLS),
        rate("classifier_dropout", 0.0),
        flag("classifier_bias", False),
        choice("classifier_activation", "gelu", HEAD_ACTIVATIONS),
        flag("tie_word_embeddings", True),
    ),
    fixed=FIXED,
    inert=INERT
    | {
        "cls_token_id",
        "deterministic_flash_attn",
        "initializer_cutoff_factor",
        "layer_norm_eps",  # published files say it beside norm_eps, which is the one that is read
        "position_embedding_type",  # published files say "absolute", and the positions are rotary
        "reference_compile",
        "repad_logits_with_grad",
        "sparse_pred_ignore_index",
        "sparse_prediction",
    },
)
ARCHITECTURES: dict[str, str | None] = {
    "ModernBertModel": None,
    "ModernBertForMaskedLM": "lm",
    "ModernBertForSequenceClassification": "class",
    "ModernBertForTokenClassification": "tags",
    "ModernBertForQuestionAnswering": "span",
    "ModernBertForMultipleChoice": "choice",
}
TABLE = "model.embeddings.tok_embeddings.weight"


def read_config(said: Mapping[str, Any]) -> tuple[TransformerConfig, Extra]:
    """`config.json` → the shape of the body."""
    v = KEYS.read(said)
    windows = read_windows(v)
    stack = Stack(
        layers=v["num_hidden_layers"],
        attention=Attention(heads=v["num_attention_heads"], qkv="fused", bias=v["attention_bias"], windows=windows),
        feedforward=FeedForward(
            width=v["intermediate_size"],
            kind=cast(Any, GATED[ACTIVATIONS[v["hidden_activation"]]]),
            bias=v["mlp_bias"],
        ),
        norm=Norm(eps=v["norm_eps"], bias=v["norm_bias"], first=False),
        position=read_angles(v, local=any(windows)),
        dropout=Dropout(
            embed=v["embedding_dropout"],
            attention=v["attention_dropout"],
            mixed=v["attention_dropout"] or None,
            inner=v["mlp_dropout"],
        ),
    )
    embed = Tokens(vocab=v["vocab_size"], norm=True)
    return TransformerConfig(width=v["hidden_size"], embed=embed, encoder=stack, init=v["initializer_range"]), Extra(
        said
    )


def write_config(config: TransformerConfig, extra: Extra) -> dict[str, Any]:
    """The shape of the body → `config.json`; what has not changed stays as it was said."""
    if extra.said:
        return changed(extra.said, _plain(read_config(extra.said)[0]), _plain(config))
    ids = ("bos_token_id", "cls_token_id", "eos_token_id", "pad_token_id", "sep_token_id")
    return {"model_type": "modernbert", **dict.fromkeys(ids), **_plain(config)}


def _plain(config: TransformerConfig) -> dict[str, Any]:
    stack, attention = config.stack, config.stack.attention
    return {
        "vocab_size": config.table.vocab,
        "hidden_size": config.width,
        "intermediate_size": stack.feedforward.width,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": attention.heads,
        "hidden_activation": SPELLED.get(GATES.get(stack.feedforward.kind, ""), "gelu"),
        "initializer_range": config.init,
        "norm_eps": stack.norm.eps,
        "norm_bias": stack.norm.bias,
        "attention_bias": attention.bias,
        "mlp_bias": stack.feedforward.bias,
        "attention_dropout": stack.dropout.attention,
        "embedding_dropout": stack.dropout.embed,
        "mlp_dropout": stack.dropout.inner,
        **plain_layers(stack),
    }


def heads(said: Mapping[str, Any], names: Collection[str]) -> dict[str, Head]:
    """The head that a file holds: the one that `architectures` names, or that its names tell."""
    v, wanted = KEYS.read(said), {ARCHITECTURES[name] for name in named(said, ARCHITECTURES)} - {None}
    if not wanted and any(name.startswith(("head.", "decoder.", "classifier.")) for name in names):
        wanted = {"class" if any(name.startswith("classifier.") for name in names) else "lm"}
    act = cast(Any, HEAD_ACTIVATIONS[v["classifier_activation"]])
    found: dict[str, Head] = {}
    if "lm" in wanted:
        other = None if act == ACTIVATIONS[v["hidden_activation"]] else act
        found["lm"] = LMHead(
            transform=True,
            transform_bias=v["classifier_bias"],
            activation=other,
            bias=v["decoder_bias"],
            tie=v["tie_word_embeddings"],
        )
    dense = {"hidden": True, "hidden_bias": v["classifier_bias"], "activation": act, "norm": True}
    dense["dropout"] = v["classifier_dropout"]
    pool = cast(Any, POOLS[v["classifier_pooling"]])
    if "class" in wanted:
        found |= answering(said, ClassHead(outputs=label_count(said), pool=pool, **dense))
    if "choice" in wanted:
        found["choice"] = ClassHead(outputs=1, pool=pool, **dense)
    if "tags" in wanted:
        found["tags"] = TokenHead(outputs=label_count(said), **dense)
    if "span" in wanted:
        found["span"] = TokenHead(outputs=2, **dense)
    return found


def write_heads(config: TransformerConfig, heads: Mapping[str, Head]) -> dict[str, Any]:
    """The keys that say which head a file holds."""
    made = classed(heads)
    classes = [name for name, head in ARCHITECTURES.items() if head in made]
    out: dict[str, Any] = {"architectures": classes or ["ModernBertModel"]}
    for name, head in heads.items():
        if isinstance(head, LMHead):
            act = head.activation or GATES.get(config.stack.feedforward.kind, "gelu")
            out |= {"tie_word_embeddings": head.tie, "decoder_bias": head.bias, "classifier_bias": head.transform_bias}
            out["classifier_activation"] = HEAD_SPELLED[act]
        elif isinstance(head, ClassHead | ValueHead | TokenHead):
            out |= {"classifier_bias": head.hidden_bias, "classifier_dropout": head.dropout}
            out["classifier_activation"] = HEAD_SPELLED[head.activation]
            out |= score_keys(name, head)
        if isinstance(head, ClassHead | ValueHead):
            out["classifier_pooling"] = "mean" if head.pool == "mean" else "cls"
    return out


def rules(config: TransformerConfig, heads: Mapping[str, Head]) -> tuple[Rule, ...]:
    """How the names belong together."""
    stack = config.stack
    norm, mixed, wide = (_ends(bias) for bias in (stack.norm.bias, stack.attention.bias, stack.feedforward.bias))
    made: list[Rule] = [Rename(TABLE, "tokens"), *_same("model.embeddings.norm", "embed_norm", norm)]
    for n in range(stack.layers):
        theirs, ours = f"model.layers.{n}", f"tower.blocks.{n}"
        made += _same(f"{theirs}.attn_norm", f"{ours}.attention_norm", norm) if n else []
        made += _queries(f"{theirs}.attn.Wqkv", f"{ours}.attention", config, mixed)
        made += _same(f"{theirs}.attn.Wo", f"{ours}.attention.output", mixed)
        made += _same(f"{theirs}.mlp_norm", f"{ours}.feedforward_norm", norm)
        for end in wide:
            halves = (f"{ours}.feedforward.gate.{end}", f"{ours}.feedforward.up.{end}")
            made.append(Split(f"{theirs}.mlp.Wi.{end}", halves, (stack.feedforward.width,) * 2))
        made += _same(f"{theirs}.mlp.Wo", f"{ours}.feedforward.down", wide)
    made += _same("model.final_norm", "tower.final_norm", norm)
    for name, head in heads.items():
        made += _head(name, head, norm) if isinstance(head, LMHead | ClassHead | ValueHead | TokenHead) else []
    return tuple(made)


def _head(name: str, head: LMHead | ClassHead | ValueHead | TokenHead, norm: tuple[str, ...]) -> list[Rule]:
    dense = _ends(head.transform_bias if isinstance(head, LMHead) else head.hidden_bias)
    made: list[Rule] = [*_same("head.dense", f"heads.{name}.dense", dense)]
    made += _same("head.norm", f"heads.{name}.norm", norm)
    if not isinstance(head, LMHead):
        return [*made, *both("classifier", f"heads.{name}.output")]
    table = "decoder.weight"
    made.append(Tie(table, TABLE) if head.tie else Rename(table, "heads.lm.weight"))
    return [*made, *([Rename("decoder.bias", "heads.lm.bias")] if head.bias else [])]


def _queries(theirs: str, ours: str, config: TransformerConfig, ends: tuple[str, ...]) -> list[Rule]:
    """One matrix for queries, keys and values in the file; one or three in the model."""
    if config.stack.attention.qkv == "fused":
        return _same(theirs, f"{ours}.qkv", ends)
    parts, sizes = ("query", "key", "value"), (config.width,) * 3
    return [Split(f"{theirs}.{end}", tuple(f"{ours}.{part}.{end}" for part in parts), sizes) for end in ends]


def _ends(bias: bool) -> tuple[str, ...]:
    return ("weight", "bias") if bias else ("weight",)


def _same(theirs: str, ours: str, ends: tuple[str, ...]) -> list[Rule]:
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in ends]


LIKE = TransformerConfig(
    width=2,
    embed=Tokens(vocab=1),
    encoder=Stack(layers=1, attention=Attention(heads=1), feedforward=FeedForward(width=1), position=Rotary()),
)


def lacks(config: TransformerConfig, heads: Mapping[str, Head]) -> list[str]:
    """What a model has that a ModernBERT checkpoint cannot say."""
    if len(heads) > 1:
        return [f"its heads {', '.join(sorted(heads))} would have the same names"]
    return unsayable(MODERNBERT, config, heads, LIKE, ("attention.qkv",))


def spelling(said: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """File's name → canonical name: a bare body leaves out `model.`."""
    return respelled(names, "model.", ("head.", "decoder.", "classifier."))


MODERNBERT = Family(
    "modernbert", read_config, write_config, heads, write_heads, rules, lacks, spelling, prefix="model."
)
