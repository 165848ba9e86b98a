"""Mistral: a window on all layers, or none."""

from __future__ import annotations

from cases_llama import SHAPE
from oracle import Architecture, Case

MISTRAL = Architecture("MistralConfig", {**SHAPE, "sliding_window": 3}, "decoder")
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}

CASES = (
    Case(MISTRAL, "MistralModel", None, {"rms_norm_eps": 1e-3, "num_key_value_heads": 4}, "eps"),
    Case(MISTRAL, "MistralForCausalLM", "lm"),
    Case(MISTRAL, "MistralForCausalLM", "lm", {"sliding_window": None, "head_dim": 6}, "no-window"),
    Case(
        MISTRAL,
        "MistralForCausalLM",
        "lm",
        {"sliding_window": 1, "tie_word_embeddings": True, "rope_parameters": LINEAR},
        "tied-linear",
    ),
    Case(MISTRAL, "MistralForSequenceClassification", "class", {"num_labels": 3}),
    Case(MISTRAL, "MistralForTokenClassification", "tags", {"num_labels": 3}),
    Case(MISTRAL, "MistralForQuestionAnswering", "span"),
)
