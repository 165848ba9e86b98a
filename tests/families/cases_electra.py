"""ELECTRA: both halves, every other head, and every key that changes a number; tables narrower than the states, and as
wide."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "intermediate_size": 20, "max_position_embeddings": 24, "type_vocab_size": 3}
SHAPE |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
ELECTRA = Architecture("ElectraConfig", SHAPE, "encoder", types=True)

CASES = (
    Case(ELECTRA, "ElectraModel", None, {"layer_norm_eps": 1e-3}, "eps"),
    Case(ELECTRA, "ElectraModel", None, {"embedding_size": 16}, "wide"),
    Case(ELECTRA, "ElectraForMaskedLM", "lm"),
    Case(ELECTRA, "ElectraForMaskedLM", "lm", {"hidden_act": "relu", "tie_word_embeddings": False}, "untied"),
    Case(ELECTRA, "ElectraForMaskedLM", "lm", {"embedding_size": 16}, "wide"),
    Case(ELECTRA, "ElectraForPreTraining", "replaced", {"hidden_act": "relu"}, "relu"),
    Case(ELECTRA, "ElectraForPreTraining", "replaced"),
    Case(ELECTRA, "ElectraForSequenceClassification", "class", {"num_labels": 3, "hidden_act": "relu"}),
    Case(ELECTRA, "ElectraForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(ELECTRA, "ElectraForTokenClassification", "tags", {"num_labels": 3}),
    Case(ELECTRA, "ElectraForQuestionAnswering", "span"),
)
