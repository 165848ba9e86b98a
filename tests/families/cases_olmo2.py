"""OLMo 2: norms on what the sub-layers give, queries and keys normed over all heads together."""

from __future__ import annotations

from cases_llama import LLAMA3, SHAPE
from oracle import Architecture, Case

OLMO2 = Architecture("Olmo2Config", SHAPE, "decoder")

CASES = (
    Case(OLMO2, "Olmo2Model", None, {"rms_norm_eps": 1e-3, "num_key_value_heads": None}, "eps"),
    Case(OLMO2, "Olmo2ForCausalLM", "lm"),
    Case(OLMO2, "Olmo2ForCausalLM", "lm", {"attention_bias": True, "tie_word_embeddings": True}, "bias"),
    Case(OLMO2, "Olmo2ForCausalLM", "lm", {"rope_parameters": LLAMA3, "head_dim": 6}, "llama3"),
    Case(OLMO2, "Olmo2ForSequenceClassification", "class", {"num_labels": 3}),
)
