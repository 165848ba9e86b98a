"""GPT-2: other activations and widths, every head."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 24, "pad_token_id": 0}
SHAPE |= {"bos_token_id": 1, "eos_token_id": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
SHAPE |= {"classifier_dropout": 0.0, "summary_first_dropout": 0.0}
GPT2 = Architecture("GPT2Config", SHAPE, "decoder")

CASES = (
    Case(GPT2, "GPT2Model", None, {"activation_function": "silu"}, "silu"),
    Case(GPT2, "GPT2LMHeadModel", "lm", {"n_inner": 24, "layer_norm_epsilon": 1e-3}, "narrow"),
    Case(GPT2, "GPT2LMHeadModel", "lm", {"tie_word_embeddings": False, "activation_function": "gelu"}, "untied"),
    Case(GPT2, "GPT2ForSequenceClassification", "class", {"num_labels": 3}),
    Case(GPT2, "GPT2ForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(GPT2, "GPT2ForTokenClassification", "tags", {"num_labels": 3, "activation_function": "relu"}),
    Case(GPT2, "GPT2ForQuestionAnswering", "span"),
    Case(GPT2, "GPT2DoubleHeadsModel", "lm"),
)
