"""RoBERTa and XLM-RoBERTa: every head, and every key that changes a number."""

from __future__ import annotations

from oracle import VOCAB, Architecture, Case

# what no head of ours reads: a bare body's pooler, and the bias that counts for nothing where tables are not tied
UNUSED = ("pooler.dense.weight", "pooler.dense.bias", "lm_head.bias")
SHAPE = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"intermediate_size": 20, "max_position_embeddings": 26, "type_vocab_size": 2, "classifier_dropout": 0.0}
SHAPE |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ROBERTA = Architecture("RobertaConfig", SHAPE, "encoder", types=True, unused=UNUSED, pad=1)
LATER = Architecture("RobertaConfig", SHAPE | {"pad_token_id": 2}, "encoder", types=True, unused=UNUSED, pad=2)
XLM = Architecture("XLMRobertaConfig", SHAPE, "encoder", types=True, unused=UNUSED, pad=1)

CASES = (
    Case(ROBERTA, "RobertaModel", None, {"layer_norm_eps": 1e-3}, "eps"),
    Case(LATER, "RobertaForMaskedLM", "lm", {}, "pad"),
    Case(ROBERTA, "RobertaForMaskedLM", "lm", {"hidden_act": "relu"}, "relu"),
    Case(ROBERTA, "RobertaForMaskedLM", "lm", {"tie_word_embeddings": False}, "untied"),
    Case(ROBERTA, "RobertaForSequenceClassification", "class", {"num_labels": 3, "hidden_act": "gelu_new"}),
    Case(ROBERTA, "RobertaForSequenceClassification", "value", {"num_labels": 1}, "value"),
    Case(ROBERTA, "RobertaForTokenClassification", "tags", {"num_labels": 3}),
    Case(ROBERTA, "RobertaForQuestionAnswering", "span"),
    Case(XLM, "XLMRobertaModel"),
    Case(XLM, "XLMRobertaForMaskedLM", "lm"),
    Case(XLM, "XLMRobertaForSequenceClassification", "class", {"num_labels": 3}),
    Case(XLM, "XLMRobertaForTokenClassification", "tags", {"num_labels": 3}),
    Case(XLM, "XLMRobertaForQuestionAnswering", "span"),
)
