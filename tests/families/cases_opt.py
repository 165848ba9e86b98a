"""OPT: norms before and after, other activations, no biases, every head."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "hidden_size": 16, "ffn_dim": 20, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"max_position_embeddings": 24, "dropout": 0.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
OPT = Architecture("OPTConfig", SHAPE, "decoder")

CASES = (
    Case(OPT, "OPTModel", None, {"activation_function": "gelu"}, "gelu"),
    Case(OPT, "OPTForCausalLM", "lm"),
    Case(OPT, "OPTForCausalLM", "lm", {"do_layer_norm_before": False, "activation_function": "gelu_new"}, "post"),
    Case(OPT, "OPTForCausalLM", "lm", {"tie_word_embeddings": False, "enable_bias": False}, "untied"),
    Case(OPT, "OPTForSequenceClassification", "class", {"num_labels": 3}),
    Case(OPT, "OPTForQuestionAnswering", "span", {"activation_function": "silu"}),
)
