"""ALBERT (Lan et al. 2020, arXiv 1909.11942): BERT's encoder with one block of weights for all layers, and a narrow
table of tokens that is projected to the states' width (section 3.1).

Our head "next" says whether two sentences stand in their order; it reads [CLS] through the pooler, as the class head
does: a file has one of them. The reference library knows groups of layers with weights of their own; one group of one
layer is what was published, and what is computed here.

Where layers drop (published versions 1 alone), the original drops on the feed-forward's output as on attention's, and
so does this model; the reference library forgets the first (it makes the dropout and never calls it). Evaluation is the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.families.encoders.body import (
    both,
    embedding_rules,
    layer_rules,
    plain_body,
    read_body,
    shape,
    usual_heads,
)
from modeledge.families.encoders.kin import CLASSES, LMNames, Page
from modeledge.families.keys import FIXED, INERT, Keys, count, rate
from modeledge.families.rules import Rule
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import ClassHead, Head

DEFAULTS = {"vocab_size": 30000, "hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16384}
KEYS = Keys(
    shape=(
        *shape(**DEFAULTS, hidden_act="gelu_new", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        count("embedding_size", 128),
        rate("classifier_dropout_prob", 0.1),
    ),
    fixed={
        **FIXED,
        "position_embedding_type": ("absolute",),
        "num_hidden_groups": (1,),
        "inner_group_num": (1,),
        "down_scale_factor": (1,),
        "gap_size": (0,),
        "net_structure_type": (0,),
        "num_memory_blocks": (0,),
    },
    inert=INERT,
)
LAYER: Mapping[str, str] = {
    "attention.query": "attention.query",
    "attention.key": "attention.key",
    "attention.value": "attention.value",
    "attention.output": "attention.dense",
    "attention_norm": "attention.LayerNorm",
    "feedforward.up": "ffn",
    "feedforward.down": "ffn_output",
    "feedforward_norm": "full_layer_layer_norm",
}


def read(v: Mapping[str, Any]) -> TransformerConfig:
    """The values → the body."""
    return read_body(v, width=v["embedding_size"], share=True)


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The body → its keys."""
    return {**plain_body(config), "embedding_size": config.table.width or config.width}


def body(config: TransformerConfig) -> list[Rule]:
    """The rules of the body: one layer, whatever their number."""
    return [
        *embedding_rules("albert."),
        *both("albert.encoder.embedding_hidden_mapping_in", "project"),
        *layer_rules("albert.encoder.albert_layer_groups.0.albert_layers.0", 0, LAYER),
    ]


def made(v: Mapping[str, Any], outputs: int) -> dict[str, Head]:
    """The heads that this configuration makes."""
    rate = v["classifier_dropout_prob"]
    return {**usual_heads(v, outputs, rate), "next": ClassHead(outputs=2, hidden=True, dropout=rate)}


ALBERT = Page(
    model_type="albert",
    start="Albert",
    prefix="albert.",
    keys=KEYS,
    read=read,
    plain=plain,
    body=body,
    made=made,
    table="albert.embeddings.word_embeddings.weight",
    lm=LMNames(
        start="predictions.",
        dense="predictions.dense",
        norm="predictions.LayerNorm",
        scores="predictions.decoder",
        bias="predictions.bias",
    ),
    dense="albert.pooler",
    output="classifier",
    choice=("albert.pooler", "classifier"),
    next="sop_classifier.classifier",
    kept=("albert.pooler", "sop_classifier.classifier"),
    rates=dict.fromkeys(("class", "value", "tags", "next", "choice"), "classifier_dropout_prob"),
    classes={"ForPreTraining": ("lm", "next"), **CLASSES},
    ids={"bos_token_id": None, "eos_token_id": None},
).family()
