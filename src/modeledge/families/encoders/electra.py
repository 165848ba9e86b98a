"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT's encoder, trained to find the tokens that a small generator has
replaced.

Both halves are checkpoints of this family: the generator with the head "lm", the discriminator with "replaced", one
number a token behind a dense layer with the body's activation. The table of tokens may be narrower than the states and
is projected then; the generator's head goes the same way back. Its activation, and that of the class head, which has a
dense layer of its own with dropout before and behind it, is GELU whatever the body's is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.families.encoders.body import (
    CLASSIFIER_DROPOUT,
    activation,
    always_gelu,
    body_rules,
    both,
    plain_body,
    read_body,
    score_dropout,
    shape,
    usual_heads,
)
from modeledge.families.encoders.kin import CLASSES, LMNames, Page
from modeledge.families.keys import FIXED, INERT, Keys, count
from modeledge.families.rules import Rule
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead, TokenHead

KEYS = Keys(
    shape=(
        *shape(hidden_size=256, num_attention_heads=4, intermediate_size=1024),
        count("embedding_size", 128),
        CLASSIFIER_DROPOUT,
    ),
    fixed={**FIXED, "position_embedding_type": ("absolute",)},
    # the summary is read by the class for multiple choice alone, which is not known here
    inert=INERT | {"summary_activation", "summary_last_dropout", "summary_type", "summary_use_proj"},
)


def read(v: Mapping[str, Any]) -> TransformerConfig:
    """The values → the body; a table as wide as the states is not projected."""
    return read_body(v, width=None if v["embedding_size"] == v["hidden_size"] else v["embedding_size"])


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The body → its keys."""
    return {**plain_body(config), "embedding_size": config.table.width or config.width}


def body(config: TransformerConfig) -> list[Rule]:
    """The rules of the body."""
    project = [] if config.table.width is None else both("electra.embeddings_project", "project")
    return [*BODY(config), *project]


BODY = body_rules("electra.")


def made(v: Mapping[str, Any], outputs: int) -> dict[str, Head]:
    """The heads that this configuration makes."""
    rate, act = score_dropout(v), v["hidden_act"]
    return {
        **usual_heads(v, outputs, rate),
        "lm": LMHead(transform=True, bias=True, activation=always_gelu(act), tie=v["tie_word_embeddings"]),
        "class": ClassHead(outputs=outputs, hidden=True, activation="gelu", dropout=rate, first_dropout=rate),
        "replaced": TokenHead(outputs=1, hidden=True, activation=activation(act)),
    }


ELECTRA = Page(
    model_type="electra",
    start="Electra",
    prefix="electra.",
    keys=KEYS,
    read=read,
    plain=plain,
    body=body,
    made=made,
    table="electra.embeddings.word_embeddings.weight",
    lm=LMNames(
        start="generator_",
        dense="generator_predictions.dense",
        norm="generator_predictions.LayerNorm",
        scores="generator_lm_head",
    ),
    dense="classifier.dense",
    output="classifier.out_proj",
    replaced=("discriminator_predictions.dense", "discriminator_predictions.dense_prediction"),
    rates={"class": "classifier_dropout", "value": "classifier_dropout", "tags": "classifier_dropout"},
    classes={**CLASSES, "ForPreTraining": ("replaced",)},
).family()
