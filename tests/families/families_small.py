"""Small random models of the reference library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

VOCAB = 41


@dataclass(frozen=True)
class Case:
    """One class of the reference library with a configuration that differs from its defaults."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    def __str__(self) -> str:
        return f"{self.name}-{self.label}" if self.label else self.name


CASES = (
    Case("BertModel", {"hidden_act": "relu", "type_vocab_size": 3}, "relu"),
    Case("BertForMaskedLM", {"layer_norm_eps": 1e-3}, "eps"),
    Case("BertForMaskedLM", {"hidden_act": "gelu_new", "tie_word_embeddings": False}, "untied"),
    Case("BertForPreTraining", {"hidden_act": "relu"}, "relu"),
    Case("BertForSequenceClassification", {"num_labels": 3, "classifier_dropout": 0.0}, "three"),
    Case("BertForSequenceClassification", {"num_labels": 1}, "value"),
    Case("GPT2Model", {"activation_function": "relu"}, "relu"),
    Case("GPT2LMHeadModel"),
    Case(
        "GPT2LMHeadModel",
        {"n_inner": 24, "activation_function": "gelu", "layer_norm_epsilon": 1e-3, "tie_word_embeddings": False},
        "untied",
    ),
    Case("GPT2ForSequenceClassification", {"num_labels": 3, "pad_token_id": VOCAB - 1}, "three"),
)


def build(hf: Any, case: Case) -> Any:
    """A tiny model of the reference library: dropout 0, and no weight at its neutral start."""
    if case.name.startswith("Bert"):
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20}
        rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 24}
        config = hf.BertConfig(**{"vocab_size": VOCAB, **shape, **rates, **case.config})
    else:
        shape = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 24, "bos_token_id": 0, "eos_token_id": 0}
        rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = hf.GPT2Config(**{"vocab_size": VOCAB, **shape, **rates, **case.config})
    torch.manual_seed(0)
    model = getattr(hf, case.name)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.train()
