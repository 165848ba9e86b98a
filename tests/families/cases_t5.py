"""T5 and mT5: few buckets that widen before the longest text ends, other depths on both sides, each class."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

SHAPE = {"vocab_size": VOCAB, "d_model": 16, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 4}
SHAPE |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 7, "layer_norm_epsilon": 1e-3}
SHAPE |= {"dropout_rate": 0.0, "decoder_start_token_id": 0}
T5 = Architecture("T5Config", SHAPE, "both")
T5_ENCODER = Architecture("T5Config", SHAPE, "encoder")
MT5 = Architecture("MT5Config", SHAPE, "both")
LARGE = (
    2e-5  # a table or a classifier drawn with deviation 1, and no factor: scores of order 10, where fp32 is 1e-6 apart
)

CASES = (
    Case(T5, "T5Model", None, {"num_decoder_layers": 3}, "deep"),
    Case(T5, "T5ForConditionalGeneration", "lm"),
    Case(T5, "T5ForConditionalGeneration", "lm", {"feed_forward_proj": "gated-gelu"}, "gated"),
    Case(T5, "T5ForConditionalGeneration", "lm", {"feed_forward_proj": "gated-silu", "d_kv": 4}, "swiglu"),
    Case(T5, "T5ForConditionalGeneration", "lm", {"feed_forward_proj": "gelu_new"}, "gelu"),
    Case(T5, "T5ForConditionalGeneration", "lm", {"tie_word_embeddings": False}, "unscaled", LARGE),
    Case(T5, "T5ForSequenceClassification", "class", {"num_labels": 3}),
    Case(T5, "T5ForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(T5, "T5ForQuestionAnswering", "span"),
    Case(T5_ENCODER, "T5EncoderModel"),
    Case(T5_ENCODER, "T5ForTokenClassification", "tags", {"num_labels": 3, "num_decoder_layers": 5}, "", LARGE),
    Case(MT5, "MT5Model"),
    Case(MT5, "MT5ForConditionalGeneration", "lm", {"num_decoder_layers": 1}, "shallow", LARGE),
    Case(
        MT5,
        "MT5ForConditionalGeneration",
        "lm",
        {"feed_forward_proj": "relu", "layer_norm_epsilon": 1e-6},
        "relu",
        LARGE,
    ),
)
