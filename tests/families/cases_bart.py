"""BART and mBART: sides of other depth and width, scaled embeddings, tables of their own, a bias of the scores."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "max_position_embeddings": 24}
SHAPE |= {"encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 28}
SHAPE |= {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "classifier_dropout": 0.0}
SHAPE |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
KNOWN = {"pad": 1, "eos": 2, "buffers": ("final_logits_bias",)}
BART = Architecture("BartConfig", SHAPE, "both", **KNOWN)
UNTIED = Architecture("BartConfig", SHAPE, "both", unused=("model.shared.weight",), **KNOWN)
MBART = Architecture("MBartConfig", SHAPE, "both", **KNOWN)

CASES = (
    Case(BART, "BartModel", None, {"scale_embedding": True}, "scaled"),
    Case(BART, "BartForConditionalGeneration", "lm", {"activation_function": "relu"}, "relu"),
    Case(BART, "BartForConditionalGeneration", "lm", {"scale_embedding": True}, "scaled"),
    Case(UNTIED, "BartForConditionalGeneration", "lm", {"tie_word_embeddings": False}, "untied"),
    Case(BART, "BartForSequenceClassification", "class"),
    Case(BART, "BartForSequenceClassification", "class", {"num_labels": 5}, "five"),
    Case(BART, "BartForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(BART, "BartForQuestionAnswering", "span"),
    Case(MBART, "MBartModel"),
    Case(MBART, "MBartForConditionalGeneration", "lm", {"scale_embedding": True}, "scaled"),
    Case(MBART, "MBartForConditionalGeneration", "lm", {"activation_function": "gelu_new"}, "gelu"),
    Case(MBART, "MBartForSequenceClassification", "class", {"num_labels": 4}),
    Case(MBART, "MBartForQuestionAnswering", "span"),
)
