"""SmolLM3: layers that turn nothing, and windows on them."""

from __future__ import annotations

from cases_llama import SHAPE
from oracle import Architecture, Case

SMOLLM3 = Architecture("SmolLM3Config", {**SHAPE, "num_hidden_layers": 4, "tie_word_embeddings": False}, "decoder")
WINDOW = {"use_sliding_window": True, "sliding_window": 3}
LISTED = {"layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]}

CASES = (
    Case(SMOLLM3, "SmolLM3Model", None, {"rms_norm_eps": 1e-3}, "eps"),
    Case(SMOLLM3, "SmolLM3ForCausalLM", "lm", {"tie_word_embeddings": True}, "tied"),
    Case(SMOLLM3, "SmolLM3ForCausalLM", "lm", {"no_rope_layer_interval": 2, "mlp_bias": True}, "every-second"),
    Case(SMOLLM3, "SmolLM3ForCausalLM", "lm", {"no_rope_layers": [0, 1, 1, 0], "attention_bias": True}, "said"),
    Case(SMOLLM3, "SmolLM3ForCausalLM", "lm", {"no_rope_layers": [0, 0, 0, 0]}, "none"),
    Case(SMOLLM3, "SmolLM3ForCausalLM", "lm", {**WINDOW, "no_rope_layer_interval": 2}, "window"),
    Case(SMOLLM3, "SmolLM3ForCausalLM", "lm", {**WINDOW, **LISTED, "no_rope_layers": [1, 1, 1, 1]}, "listed"),
    Case(SMOLLM3, "SmolLM3ForSequenceClassification", "class", {"num_labels": 3}),
    Case(SMOLLM3, "SmolLM3ForTokenClassification", "tags", {"num_labels": 3}),
    Case(SMOLLM3, "SmolLM3ForQuestionAnswering", "span"),
)
