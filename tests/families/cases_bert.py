"""BERT: every head, and every key that changes a number."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

# what no head of ours reads: a bare body's pooler, and the bias that counts for nothing where tables are not tied
UNUSED = ("pooler.dense.weight", "pooler.dense.bias", "cls.predictions.bias")
SHAPE = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"intermediate_size": 20, "max_position_embeddings": 24, "type_vocab_size": 3, "classifier_dropout": 0.0}
SHAPE |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
BERT = Architecture("BertConfig", SHAPE, "encoder", types=True, unused=UNUSED)

CASES = (
    Case(BERT, "BertModel", None, {"layer_norm_eps": 1e-3}, "eps"),
    Case(BERT, "BertForMaskedLM", "lm", {"hidden_act": "relu"}, "relu"),
    Case(BERT, "BertForMaskedLM", "lm", {"hidden_act": "gelu_new", "tie_word_embeddings": False}, "untied"),
    Case(BERT, "BertForPreTraining", "lm"),
    Case(BERT, "BertForPreTraining", "next", {}, "next"),
    Case(BERT, "BertForNextSentencePrediction", "next"),
    Case(BERT, "BertForSequenceClassification", "class", {"num_labels": 3}),
    Case(BERT, "BertForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(BERT, "BertForTokenClassification", "tags", {"num_labels": 3}),
    Case(BERT, "BertForTokenClassification", "tags", {"num_labels": 1}, "one"),
    Case(BERT, "BertForQuestionAnswering", "span"),
)
