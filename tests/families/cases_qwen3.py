"""Qwen3: queries and keys normed head by head, heads of a width of their own."""

from __future__ import annotations

from cases_llama import SHAPE
from cases_qwen2 import LISTED, WINDOW
from oracle import Architecture, Case

QWEN3 = Architecture("Qwen3Config", {**SHAPE, "num_hidden_layers": 3, "head_dim": 6}, "decoder")

CASES = (
    Case(QWEN3, "Qwen3Model", None, {"rms_norm_eps": 1e-2, "head_dim": 4}, "eps"),
    Case(QWEN3, "Qwen3ForCausalLM", "lm"),
    Case(QWEN3, "Qwen3ForCausalLM", "lm", {"attention_bias": True, "tie_word_embeddings": True}, "bias"),
    Case(QWEN3, "Qwen3ForCausalLM", "lm", {**WINDOW, "max_window_layers": 2}, "upper"),
    Case(QWEN3, "Qwen3ForCausalLM", "lm", {**WINDOW, **LISTED}, "listed"),
    Case(QWEN3, "Qwen3ForSequenceClassification", "class", {"num_labels": 3}),
    Case(QWEN3, "Qwen3ForTokenClassification", "tags", {"num_labels": 3}),
    Case(QWEN3, "Qwen3ForQuestionAnswering", "span"),
)
