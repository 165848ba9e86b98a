"""BERT (Devlin et al. 2019, arXiv 1810.04805): an encoder with learned positions, token types and norms after each sum.

The masked-LM head is a dense layer, the model's activation, a norm and the embedding table with a bias of its own. The
class head reads [CLS] through the pooler (dense, tanh), which is part of our head "class"; so does "next", which says
whether the second sentence follows the first (section 3.1). The reference library has one pooler for all heads: a model
with two that read it is not a BERT file, unless one is taken off. Old checkpoints call a norm's weight and bias `gamma`
and `beta`; a bare `BertModel` leaves out the prefix `bert.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.families.encoders.body import (
    CLASSIFIER_DROPOUT,
    SHAPE,
    body_rules,
    plain_body,
    read_body,
    score_dropout,
    usual_heads,
)
from modeledge.families.encoders.kin import CLASSES, LMNames, Page
from modeledge.families.family import named
from modeledge.families.keys import FIXED, INERT, Keys
from modeledge.model.heads import ClassHead, Head

__all__ = ["BERT", "KEYS", "named"]

KEYS = Keys(
    shape=(*SHAPE, CLASSIFIER_DROPOUT),
    fixed={**FIXED, "position_embedding_type": ("absolute",)},
    inert=INERT
    | {
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    },
)


def made(v: Mapping[str, Any], outputs: int) -> dict[str, Head]:
    """The heads that this configuration makes."""
    return {**usual_heads(v, outputs, score_dropout(v)), "next": ClassHead(outputs=2, hidden=True)}


BERT = Page(
    model_type="bert",
    start="Bert",
    prefix="bert.",
    keys=KEYS,
    read=read_body,
    plain=plain_body,
    body=body_rules("bert."),
    made=made,
    table="bert.embeddings.word_embeddings.weight",
    lm=LMNames(
        start="cls.predictions.",
        dense="cls.predictions.transform.dense",
        norm="cls.predictions.transform.LayerNorm",
        scores="cls.predictions.decoder",
        bias="cls.predictions.bias",
    ),
    dense="bert.pooler.dense",
    output="classifier",
    choice=("bert.pooler.dense", "classifier"),
    next="cls.seq_relationship",
    kept=("bert.pooler.dense", "cls.seq_relationship"),
    rates=dict.fromkeys(("class", "value", "tags", "choice"), "classifier_dropout"),
    classes={"ForPreTraining": ("lm", "next"), **CLASSES, "ForNextSentencePrediction": ("next",)},
).family()
