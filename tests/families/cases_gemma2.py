"""Gemma 2: norms on both sides of each sub-layer, bounded scores and logits, alternating windows."""

from __future__ import annotations

from cases_llama import SHAPE
from oracle import Architecture, Case

SHAPE2 = {**SHAPE, "num_hidden_layers": 3, "head_dim": 6, "sliding_window": 3}
SHAPE2 |= {"query_pre_attn_scalar": 7, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0}
GEMMA2 = Architecture("Gemma2Config", SHAPE2, "decoder")
LISTED = {"layer_types": ["full_attention", "full_attention", "sliding_attention"]}

CASES = (
    Case(GEMMA2, "Gemma2Model", None, {"rms_norm_eps": 1e-2, "query_pre_attn_scalar": 6}, "eps"),
    Case(GEMMA2, "Gemma2ForCausalLM", "lm"),
    Case(GEMMA2, "Gemma2ForCausalLM", "lm", {"tie_word_embeddings": False, "attn_logit_softcapping": None}, "untied"),
    Case(GEMMA2, "Gemma2ForCausalLM", "lm", {"final_logit_softcapping": None, "attention_bias": True}, "uncapped"),
    Case(GEMMA2, "Gemma2ForCausalLM", "lm", LISTED, "listed"),
    Case(GEMMA2, "Gemma2ForSequenceClassification", "class", {"num_labels": 3}),
    Case(GEMMA2, "Gemma2ForTokenClassification", "tags", {"num_labels": 3}),
)
