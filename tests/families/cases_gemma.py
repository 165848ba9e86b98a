"""Gemma: embeddings times √width, norms around 1, GELU in the gates."""

from __future__ import annotations

from cases_llama import SHAPE
from oracle import Architecture, Case

GEMMA = Architecture("GemmaConfig", {**SHAPE, "head_dim": 6}, "decoder")

CASES = (
    Case(GEMMA, "GemmaModel", None, {"rms_norm_eps": 1e-2, "head_dim": 4}, "eps"),
    Case(GEMMA, "GemmaForCausalLM", "lm"),
    Case(GEMMA, "GemmaForCausalLM", "lm", {"tie_word_embeddings": False, "attention_bias": True}, "untied"),
    Case(GEMMA, "GemmaForCausalLM", "lm", {"num_key_value_heads": 1, "hidden_act": "gelu"}, "one-key"),
    Case(GEMMA, "GemmaForSequenceClassification", "class", {"num_labels": 3}),
    Case(GEMMA, "GemmaForTokenClassification", "tags", {"num_labels": 3}),
)
