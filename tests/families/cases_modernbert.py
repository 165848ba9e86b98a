"""ModernBERT: windows of each kind of length, layers in other orders, biases, both bases of angles, every head."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 4}
SHAPE |= {"num_attention_heads": 2, "max_position_embeddings": 64, "local_attention": 4, "pad_token_id": 0}
SHAPE |= {"bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
MODERN = Architecture("ModernBertConfig", SHAPE, "encoder")
FULL, NEAR = "full_attention", "sliding_attention"
BASES = {FULL: {"rope_type": "default", "rope_theta": 50.0}, NEAR: {"rope_type": "default", "rope_theta": 5.0}}
STRETCHED = {FULL: {"rope_type": "linear", "rope_theta": 50.0, "factor": 2.0}, NEAR: BASES[NEAR]}
BIASES = {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True}
ORDER = {"layer_types": [NEAR, NEAR, FULL, NEAR], "local_attention": 3}

CASES = (
    Case(MODERN, "ModernBertModel", None, {"norm_eps": 1e-3, "local_attention": 1}, "eps"),
    Case(MODERN, "ModernBertModel", None, {"layer_types": [FULL] * 4}, "global"),
    Case(MODERN, "ModernBertForMaskedLM", "lm"),
    Case(MODERN, "ModernBertForMaskedLM", "lm", {**BIASES, "classifier_activation": "relu"}, "biases"),
    Case(MODERN, "ModernBertForMaskedLM", "lm", {"tie_word_embeddings": False, "decoder_bias": False}, "untied"),
    Case(MODERN, "ModernBertForMaskedLM", "lm", {**ORDER, "rope_parameters": BASES}, "order"),
    Case(MODERN, "ModernBertForMaskedLM", "lm", {"rope_parameters": STRETCHED}, "stretched"),
    Case(MODERN, "ModernBertForSequenceClassification", "class", {"num_labels": 3, "hidden_activation": "silu"}),
    Case(
        MODERN,
        "ModernBertForSequenceClassification",
        "class",
        {"num_labels": 3, "classifier_pooling": "mean", "classifier_activation": "tanh", "classifier_bias": True},
        "mean",
    ),
    Case(MODERN, "ModernBertForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(MODERN, "ModernBertForTokenClassification", "tags", {"num_labels": 3, "hidden_activation": "gelu_new"}),
    Case(MODERN, "ModernBertForQuestionAnswering", "span", {"hidden_activation": "relu"}),
)
