"""ALBERT: every head, and every key that changes a number."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

# what no head of ours reads: a bare body's pooler, and the bias that counts for nothing where tables are not tied
UNUSED = ("pooler.weight", "pooler.bias", "predictions.bias")
SHAPE = {"vocab_size": VOCAB, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 3}
SHAPE |= {"num_attention_heads": 4, "intermediate_size": 20, "max_position_embeddings": 24, "type_vocab_size": 3}
SHAPE |= {"classifier_dropout_prob": 0.0}
ALBERT = Architecture("AlbertConfig", SHAPE, "encoder", types=True, unused=UNUSED)

CASES = (
    Case(ALBERT, "AlbertModel", None, {"layer_norm_eps": 1e-3, "hidden_act": "gelu"}, "eps"),
    Case(ALBERT, "AlbertForMaskedLM", "lm"),
    Case(ALBERT, "AlbertForMaskedLM", "lm", {"hidden_act": "relu", "tie_word_embeddings": False}, "untied"),
    Case(ALBERT, "AlbertForMaskedLM", "lm", {"embedding_size": 16}, "wide"),
    Case(ALBERT, "AlbertForPreTraining", "lm"),
    Case(ALBERT, "AlbertForPreTraining", "next", {}, "next"),
    Case(ALBERT, "AlbertForSequenceClassification", "class", {"num_labels": 3}),
    Case(ALBERT, "AlbertForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(ALBERT, "AlbertForTokenClassification", "tags", {"num_labels": 3}),
    Case(ALBERT, "AlbertForQuestionAnswering", "span"),
)
