"""GPT: the activations that it knows, every head."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 24, "pad_token_id": 0}
SHAPE |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "summary_first_dropout": 0.0}
GPT = Architecture("OpenAIGPTConfig", SHAPE, "decoder")

CASES = (
    Case(GPT, "OpenAIGPTModel", None, {"afn": "relu"}, "relu"),
    Case(GPT, "OpenAIGPTLMHeadModel", "lm", {"layer_norm_epsilon": 1e-3}, "eps"),
    Case(GPT, "OpenAIGPTLMHeadModel", "lm", {"tie_word_embeddings": False, "afn": "silu"}, "untied"),
    Case(GPT, "OpenAIGPTForSequenceClassification", "class", {"num_labels": 3}),
    Case(GPT, "OpenAIGPTDoubleHeadsModel", "lm"),
)
