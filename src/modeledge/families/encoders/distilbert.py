"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): half of BERT's layers, distilled from the whole; no token types, no
pooler.

The class head has a dense layer of its own with ReLU. Nothing is dropped on the output of attention, only on that of
the feed-forward. The norms' eps is no key: it is 10⁻¹². `sinusoidal_pos_embds` says how fresh positions begin; they are
a stored table in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from modeledge.families.encoders.body import both, layer_rules, usual_heads
from modeledge.families.encoders.kin import LMNames, Page
from modeledge.families.keys import ACTIVATIONS, FIXED, INERT, SPELLED, Keys, choice, count, flag, positive, rate
from modeledge.families.rules import Rename, Rule
from modeledge.model.config import Attention, Dropout, FeedForward, Norm, Stack, Tokens, TransformerConfig
from modeledge.model.heads import ClassHead, Head, TokenHead
from modeledge.model.kinds import Learned

EPS = 1e-12
KEYS = Keys(
    shape=(
        count("vocab_size", 30522),
        count("dim", 768),
        count("n_layers", 6),
        count("n_heads", 12),
        count("hidden_dim", 3072),
        choice("activation", "gelu", ACTIVATIONS),
        rate("dropout", 0.1),
        rate("attention_dropout", 0.1),
        rate("qa_dropout", 0.1),
        rate("seq_classif_dropout", 0.2),
        count("max_position_embeddings", 512),
        positive("initializer_range", 0.02),
        flag("tie_word_embeddings", True),
    ),
    fixed=FIXED,
    inert=INERT | {"sinusoidal_pos_embds", "tie_weights_"},
)
LAYER: Mapping[str, str] = {
    "attention.query": "attention.q_lin",
    "attention.key": "attention.k_lin",
    "attention.value": "attention.v_lin",
    "attention.output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "feedforward.up": "ffn.lin1",
    "feedforward.down": "ffn.lin2",
    "feedforward_norm": "output_layer_norm",
}


def read(v: Mapping[str, Any]) -> TransformerConfig:
    """The values → the body."""
    stack = Stack(
        layers=v["n_layers"],
        attention=Attention(heads=v["n_heads"]),
        feedforward=FeedForward(width=v["hidden_dim"], kind=cast(Any, ACTIVATIONS[v["activation"]])),
        norm=Norm(place="post", eps=EPS),
        position=Learned(length=v["max_position_embeddings"]),
        dropout=Dropout(embed=v["dropout"], hidden=v["dropout"], attention=v["attention_dropout"], mixed=0.0),
    )
    embed = Tokens(vocab=v["vocab_size"], norm=True)
    return TransformerConfig(width=v["dim"], embed=embed, encoder=stack, init=v["initializer_range"])


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The body → its keys."""
    stack = config.stack
    assert isinstance(stack.position, Learned)
    return {
        "vocab_size": config.table.vocab,
        "dim": config.width,
        "n_layers": stack.layers,
        "n_heads": stack.attention.heads,
        "hidden_dim": stack.feedforward.width,
        "activation": SPELLED.get(stack.feedforward.kind, stack.feedforward.kind),
        "dropout": stack.dropout.hidden,
        "attention_dropout": stack.dropout.attention,
        "max_position_embeddings": stack.position.length,
        "initializer_range": config.init,
    }


def body(config: TransformerConfig) -> list[Rule]:
    """The rules of the body."""
    made: list[Rule] = [
        Rename("distilbert.embeddings.word_embeddings.weight", "tokens"),
        Rename("distilbert.embeddings.position_embeddings.weight", "tower.position.weight"),
        *both("distilbert.embeddings.LayerNorm", "embed_norm"),
    ]
    for n in range(config.stack.layers):
        made += layer_rules(f"distilbert.transformer.layer.{n}", n, LAYER)
    return made


def made(v: Mapping[str, Any], outputs: int) -> dict[str, Head]:
    """The heads that this configuration makes."""
    score = ClassHead(outputs=outputs, hidden=True, activation="relu", dropout=v["seq_classif_dropout"])
    return {
        **usual_heads(v, outputs, v["dropout"]),
        "class": score,
        "choice": replace(score, outputs=1),
        "span": TokenHead(outputs=2, dropout=v["qa_dropout"]),
    }


DISTILBERT = Page(
    model_type="distilbert",
    start="DistilBert",
    prefix="distilbert.",
    keys=KEYS,
    read=read,
    plain=plain,
    body=body,
    made=made,
    table="distilbert.embeddings.word_embeddings.weight",
    lm=LMNames(start="vocab_", dense="vocab_transform", norm="vocab_layer_norm", scores="vocab_projector"),
    dense="pre_classifier",
    output="classifier",
    choice=("pre_classifier", "classifier"),
    rates={**dict.fromkeys(("class", "value", "choice"), "seq_classif_dropout"), "span": "qa_dropout"},
).family()
