"""The body that encoders of BERT's kind share, as keys, as a configuration, and as names; and their heads as values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

from modeledge.families.keys import ACTIVATIONS, SPELLED, Key, choice, count, flag, positive, rate
from modeledge.families.rules import Rename, Rule
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import Activation, ClassHead, Head, LMHead, TokenHead
from modeledge.model.kinds import Learned

SHAPE = (
    count("vocab_size", 30522),
    count("hidden_size", 768),
    count("num_hidden_layers", 12),
    count("num_attention_heads", 12),
    count("intermediate_size", 3072),
    choice("hidden_act", "gelu", ACTIVATIONS),
    rate("hidden_dropout_prob", 0.1),
    rate("attention_probs_dropout_prob", 0.1),
    count("max_position_embeddings", 512),
    count("type_vocab_size", 2),
    positive("initializer_range", 0.02),
    positive("layer_norm_eps", 1e-12),
    flag("tie_word_embeddings", True),
)
CLASSIFIER_DROPOUT = rate("classifier_dropout", None)

# our name of each product and norm of a layer → theirs
LAYER: Mapping[str, str] = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feedforward.up": "intermediate.dense",
    "feedforward.down": "output.dense",
    "feedforward_norm": "output.LayerNorm",
}


def shape(**defaults: Any) -> tuple[Key, ...]:
    """BERT's keys with other defaults."""
    return tuple(dataclasses.replace(key, default=defaults.get(key.name, key.default)) for key in SHAPE)


def read_body(
    v: Mapping[str, Any], *, width: int | None = None, offset: int = 0, share: bool = False
) -> TransformerConfig:
    """The values of these keys → the body; `width` is that of the table of tokens where it is one of its own."""
    stack = Stack(
        layers=v["num_hidden_layers"],
        attention=Attention(heads=v["num_attention_heads"]),
        feedforward=FeedForward(width=v["intermediate_size"], kind=cast(Any, ACTIVATIONS[v["hidden_act"]])),
        norm=Norm(place="post", eps=v["layer_norm_eps"]),
        position=Learned(length=v["max_position_embeddings"], offset=offset),
        dropout=Dropout(
            embed=v["hidden_dropout_prob"],
            hidden=v["hidden_dropout_prob"],
            attention=v["attention_probs_dropout_prob"],
        ),
        share=share,
    )
    embed = Tokens(vocab=v["vocab_size"], types=v["type_vocab_size"], norm=True, width=width)
    return TransformerConfig(width=v["hidden_size"], embed=embed, encoder=stack, init=v["initializer_range"])


def plain_body(config: TransformerConfig) -> dict[str, Any]:
    """The body → its keys; what they cannot say is lost here, and found by reading it again."""
    stack = config.stack
    assert isinstance(stack.position, Learned)
    return {
        "vocab_size": config.table.vocab,
        "hidden_size": config.width,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.attention.heads,
        "intermediate_size": stack.feedforward.width,
        "hidden_act": SPELLED.get(stack.feedforward.kind, stack.feedforward.kind),
        "hidden_dropout_prob": stack.dropout.hidden,
        "attention_probs_dropout_prob": stack.dropout.attention,
        "max_position_embeddings": stack.position.length,
        "type_vocab_size": config.table.types,
        "initializer_range": config.init,
        "layer_norm_eps": stack.norm.eps,
    }


def body_rules(prefix: str) -> Callable[[TransformerConfig], list[Rule]]:
    """The rules of a body whose layers are called as BERT calls them."""

    def rules(config: TransformerConfig) -> list[Rule]:
        layers = range(config.stack.layers)
        named = [rule for n in layers for rule in layer_rules(f"{prefix}encoder.layer.{n}", n, LAYER)]
        return [*embedding_rules(prefix), *named]

    return rules


def embedding_rules(prefix: str) -> list[Rule]:
    """The tables of tokens, types and positions, and their norm."""
    theirs = f"{prefix}embeddings"
    return [
        Rename(f"{theirs}.word_embeddings.weight", "tokens"),
        Rename(f"{theirs}.token_type_embeddings.weight", "types"),
        Rename(f"{theirs}.position_embeddings.weight", "tower.position.weight"),
        *both(f"{theirs}.LayerNorm", "embed_norm"),
    ]


def layer_rules(theirs: str, number: int, parts: Mapping[str, str]) -> list[Rule]:
    """One layer: `parts` maps our names to theirs."""
    return [rule for ours, name in parts.items() for rule in both(f"{theirs}.{name}", f"tower.blocks.{number}.{ours}")]


def both(theirs: str, ours: str) -> list[Rule]:
    """A weight and a bias."""
    return [Rename(f"{theirs}.{end}", f"{ours}.{end}") for end in ("weight", "bias")]


def usual_heads(v: Mapping[str, Any], outputs: int, rate: float) -> dict[str, Head]:
    """The heads as BERT has them, with a `rate` of dropout before scores; a page changes what is other there."""
    return {
        "lm": LMHead(transform=True, bias=True, tie=v["tie_word_embeddings"]),
        "class": ClassHead(outputs=outputs, hidden=True, dropout=rate),
        "tags": TokenHead(outputs=outputs, dropout=rate),
        "span": TokenHead(outputs=2),
        "choice": ClassHead(outputs=1, hidden=True, dropout=rate),
    }


def score_dropout(v: Mapping[str, Any]) -> float:
    """The rate before scores: that of the layers where none is said."""
    rate = v["hidden_dropout_prob"] if v["classifier_dropout"] is None else v["classifier_dropout"]
    return float(rate)


def always_gelu(act: str) -> Activation | None:
    """The activation of an lm head that is GELU whatever the body's is; said only where the body's is another."""
    return None if ACTIVATIONS[act] == "gelu" else "gelu"


def activation(act: str) -> Activation:
    """The body's activation by our name."""
    return cast(Activation, ACTIVATIONS[act])
