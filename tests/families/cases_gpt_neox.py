"""GPT-NeoX: sub-layers side by side and one after the other, parts of heads that turn, every head."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 20, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "max_position_embeddings": 64, "classifier_dropout": 0.0}
SHAPE |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
NEOX = Architecture("GPTNeoXConfig", SHAPE, "decoder", width=32)
HALF = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}
LINEAR = {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 1.0}

CASES = (
    Case(NEOX, "GPTNeoXModel", None, {"layer_norm_eps": 1e-3, "hidden_act": "gelu_fast"}, "eps"),
    Case(NEOX, "GPTNeoXForCausalLM", "lm"),
    Case(NEOX, "GPTNeoXForCausalLM", "lm", {"use_parallel_residual": False, "rope_parameters": HALF}, "in-turns"),
    Case(NEOX, "GPTNeoXForCausalLM", "lm", {"tie_word_embeddings": True, "rope_parameters": LINEAR}, "tied"),
    Case(NEOX, "GPTNeoXForCausalLM", "lm", {"attention_bias": False, "hidden_act": "relu"}, "no-bias"),
    Case(NEOX, "GPTNeoXForSequenceClassification", "class", {"num_labels": 3}),
    Case(NEOX, "GPTNeoXForTokenClassification", "tags", {"num_labels": 3}),
    Case(NEOX, "GPTNeoXForQuestionAnswering", "span"),
)
