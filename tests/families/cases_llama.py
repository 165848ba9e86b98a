"""Llama, and with it the harness: grouped-query attention, biases, every kind of stretched angles that it knows."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
SHAPE |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "classifier_dropout": 0.0}
LLAMA = Architecture("LlamaConfig", SHAPE, "decoder")
LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16}

CASES = (
    Case(LLAMA, "LlamaModel", None, {"rms_norm_eps": 1e-3}, "eps"),
    Case(LLAMA, "LlamaForCausalLM", "lm"),
    Case(LLAMA, "LlamaForCausalLM", "lm", {"tie_word_embeddings": True, "head_dim": 6}, "tied"),
    Case(LLAMA, "LlamaForCausalLM", "lm", {"attention_bias": True, "mlp_bias": True}, "bias"),
    Case(LLAMA, "LlamaForCausalLM", "lm", {"rope_parameters": LLAMA3}, "llama3"),
    Case(LLAMA, "LlamaForCausalLM", "lm", {"rope_parameters": YARN}, "yarn"),
    Case(LLAMA, "LlamaForCausalLM", "lm", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "linear"),
    Case(LLAMA, "LlamaForSequenceClassification", "class", {"num_labels": 3}),
    Case(LLAMA, "LlamaForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(LLAMA, "LlamaForTokenClassification", "tags", {"num_labels": 3}),
    Case(LLAMA, "LlamaForQuestionAnswering", "span"),
)
