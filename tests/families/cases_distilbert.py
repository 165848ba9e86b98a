"""DistilBERT: every head, and every key that changes a number."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 20, "max_position_embeddings": 24}
SHAPE |= {"dropout": 0.0, "attention_dropout": 0.0, "qa_dropout": 0.0, "seq_classif_dropout": 0.0}
DISTIL = Architecture("DistilBertConfig", SHAPE, "encoder")

CASES = (
    Case(DISTIL, "DistilBertModel", None, {"sinusoidal_pos_embds": True}, "sines"),
    Case(DISTIL, "DistilBertForMaskedLM", "lm"),
    Case(DISTIL, "DistilBertForMaskedLM", "lm", {"activation": "relu", "tie_word_embeddings": False}, "untied"),
    Case(DISTIL, "DistilBertForSequenceClassification", "class", {"num_labels": 3, "activation": "gelu_new"}),
    Case(DISTIL, "DistilBertForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(DISTIL, "DistilBertForTokenClassification", "tags", {"num_labels": 3}),
    Case(DISTIL, "DistilBertForQuestionAnswering", "span"),
)
