"""Small random models of the reference library, and folders that are spoilt on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.families.rules import same_bits

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


def refused(folder: Path, code: str, *words: str) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        load_model(folder)
    assert caught.value.code == code, caught.value
    for word in words:
        assert word in str(caught.value)
    return caught.value


def said(folder: Path, **change: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def unsaid(folder: Path, *keys: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in keys}))


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file({k: v.clone() for k, v in change(load_file(path)).items()}, path)


def content(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    return json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")


def assert_same(one: Path, two: Path) -> None:
    (said, tensors), (said_again, again) = content(one), content(two)
    assert said == said_again
    assert tensors.keys() == again.keys()
    assert [name for name in tensors if not same_bits(tensors[name], again[name])] == []
