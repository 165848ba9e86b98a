"""Phi-3: matrices that hold several, heads that are turned in part, longrope (texts beyond its first length are in
`test_longrope.py`: there the reference library looks at the whole batch)."""

from __future__ import annotations

from cases_llama import SHAPE
from oracle import Architecture, Case

PHI3 = Architecture("Phi3Config", {**SHAPE, "hidden_size": 32}, "decoder", width=32)
LONG = {"rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0, 1.1, 1.3, 2], "long_factor": [1.5, 2, 4, 8]}
PART = {**LONG, "partial_rotary_factor": 0.5, "short_factor": [1.2, 2.5], "long_factor": [3.0, 9.0]}
FAR = {"original_max_position_embeddings": 16}

CASES = (
    Case(PHI3, "Phi3Model", None, {"rms_norm_eps": 1e-3, "num_key_value_heads": 4}, "eps"),
    Case(PHI3, "Phi3ForCausalLM", "lm", {"sliding_window": 3}, "window"),
    Case(PHI3, "Phi3ForCausalLM", "lm", {"tie_word_embeddings": True, "partial_rotary_factor": 0.5}, "part"),
    Case(PHI3, "Phi3ForCausalLM", "lm", {**FAR, "rope_parameters": LONG}, "longrope"),
    Case(PHI3, "Phi3ForCausalLM", "lm", {**FAR, "rope_parameters": {**PART, "attention_factor": 1.3}}, "longrope-part"),
    Case(PHI3, "Phi3ForSequenceClassification", "class", {"num_labels": 3}),
    Case(PHI3, "Phi3ForTokenClassification", "tags", {"num_labels": 3}),
)
