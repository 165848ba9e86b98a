"""RoBERTa (Liu et al. 2019, arXiv 1907.11692) and XLM-RoBERTa (Conneau et al. 2020, arXiv 1911.02116): BERT's encoder,
trained longer, on more, without sentence pairs.

Positions count from `pad_token_id` + 1, so the first rows of their table are never used; the reference library counts
only tokens that are not padding, which is the same where padding stands at the end alone. The class head has a dense
layer of its own in place of the pooler, with dropout before and behind it; the masked-LM head's activation is GELU
whatever the body's is. Both model types are one arithmetic under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modeledge.families.encoders.body import (
    CLASSIFIER_DROPOUT,
    always_gelu,
    body_rules,
    plain_body,
    read_body,
    score_dropout,
    shape,
    usual_heads,
)
from modeledge.families.encoders.kin import LMNames, Page
from modeledge.families.keys import FIXED, INERT, Key, Keys
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import ClassHead, Head, LMHead
from modeledge.model.kinds import Learned

PAD = Key("pad_token_id", 1, lambda v: type(v) is int and v >= 0, "a whole number of at least 0")
KEYS = Keys(
    shape=(*shape(vocab_size=50265), CLASSIFIER_DROPOUT, PAD),
    fixed={**FIXED, "position_embedding_type": ("absolute",)},
    inert=INERT,
)
XLM_KEYS = replace(KEYS, shape=(*shape(), CLASSIFIER_DROPOUT, PAD))


def read(v: Mapping[str, Any]) -> TransformerConfig:
    """The values → the body."""
    return read_body(v, offset=v["pad_token_id"] + 1)


def plain(config: TransformerConfig) -> dict[str, Any]:
    """The body → its keys."""
    position = config.stack.position
    assert isinstance(position, Learned)
    return {**plain_body(config), "pad_token_id": position.offset - 1}


def made(v: Mapping[str, Any], outputs: int) -> dict[str, Head]:
    """The heads that this configuration makes."""
    rate = score_dropout(v)
    return {
        **usual_heads(v, outputs, rate),
        "choice": ClassHead(outputs=1, hidden=True, dropout=v["hidden_dropout_prob"]),
        "lm": LMHead(transform=True, bias=True, activation=always_gelu(v["hidden_act"]), tie=v["tie_word_embeddings"]),
        "class": ClassHead(outputs=outputs, hidden=True, dropout=rate, first_dropout=rate),
    }


PAGE = Page(
    model_type="roberta",
    start="Roberta",
    prefix="roberta.",
    keys=KEYS,
    read=read,
    plain=plain,
    body=body_rules("roberta."),
    made=made,
    table="roberta.embeddings.word_embeddings.weight",
    lm=LMNames(
        start="lm_head.",
        dense="lm_head.dense",
        norm="lm_head.layer_norm",
        scores="lm_head.decoder",
        bias="lm_head.bias",
    ),
    dense="classifier.dense",
    output="classifier.out_proj",
    choice=("roberta.pooler.dense", "classifier"),
    kept=("roberta.pooler.dense",),
    rates={"class": "classifier_dropout", "value": "classifier_dropout", "tags": "classifier_dropout"},
    ids={"bos_token_id": None, "eos_token_id": None},
)
ROBERTA = PAGE.family()
XLM_ROBERTA = replace(PAGE, model_type="xlm-roberta", start="XLMRoberta", keys=XLM_KEYS).family()
