"""Gemma 3's text model: normed queries and keys, five windows to one layer without, two bases."""

from __future__ import annotations

from cases_llama import SHAPE
from oracle import Architecture, Case

SHAPE3 = {**SHAPE, "head_dim": 6, "sliding_window": 3, "query_pre_attn_scalar": 7}
GEMMA3 = Architecture("Gemma3TextConfig", SHAPE3, "decoder")
LISTED = {"layer_types": ["full_attention", "sliding_attention"]}
LINEAR = {
    "full_attention": {"rope_type": "linear", "rope_theta": 300.0, "factor": 2.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
}
ALIKE = dict.fromkeys(LINEAR, LINEAR["full_attention"])

CASES = (
    Case(GEMMA3, "Gemma3TextModel", None, {"rms_norm_eps": 1e-2, "query_pre_attn_scalar": 6}, "eps"),
    Case(GEMMA3, "Gemma3ForCausalLM", "lm", {"num_hidden_layers": 7}, "deep"),
    Case(GEMMA3, "Gemma3ForCausalLM", "lm", {"num_hidden_layers": 5, "sliding_window_pattern": 2}, "pattern"),
    Case(GEMMA3, "Gemma3ForCausalLM", "lm", {**LISTED, "rope_parameters": LINEAR}, "linear"),
    Case(GEMMA3, "Gemma3ForCausalLM", "lm", {**LISTED, "rope_parameters": ALIKE}, "alike"),
    Case(
        GEMMA3,
        "Gemma3ForCausalLM",
        "lm",
        {"tie_word_embeddings": False, "final_logit_softcapping": 2.0, "attention_bias": True},
        "untied",
    ),
    Case(GEMMA3, "Gemma3TextForSequenceClassification", "class", {"num_labels": 3}),
)
