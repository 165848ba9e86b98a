"""Qwen2: biases on queries, keys and values alone; windows by each way of saying them."""

from __future__ import annotations

from cases_llama import SHAPE, YARN
from oracle import Architecture, Case

QWEN2 = Architecture("Qwen2Config", {**SHAPE, "num_hidden_layers": 3}, "decoder")
WINDOW = {"use_sliding_window": True, "sliding_window": 3}
LISTED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}

CASES = (
    Case(QWEN2, "Qwen2Model", None, {"rms_norm_eps": 1e-3, "num_key_value_heads": None}, "eps"),
    Case(QWEN2, "Qwen2ForCausalLM", "lm", {"sliding_window": 3}),
    Case(QWEN2, "Qwen2ForCausalLM", "lm", {**WINDOW, "max_window_layers": 1}, "upper"),
    Case(QWEN2, "Qwen2ForCausalLM", "lm", {**WINDOW, "max_window_layers": 0, "head_dim": 6}, "all"),
    Case(QWEN2, "Qwen2ForCausalLM", "lm", {**WINDOW, **LISTED, "tie_word_embeddings": True}, "listed"),
    Case(QWEN2, "Qwen2ForCausalLM", "lm", {"rope_parameters": YARN}, "yarn"),
    Case(QWEN2, "Qwen2ForSequenceClassification", "class", {"num_labels": 3}),
    Case(QWEN2, "Qwen2ForTokenClassification", "tags", {"num_labels": 3}),
    Case(QWEN2, "Qwen2ForQuestionAnswering", "span"),
)
