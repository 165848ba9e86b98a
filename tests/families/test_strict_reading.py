"""A configuration, names and shapes that do not fit are said before anything is built, by a code of the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families_small import VOCAB, refused, said, unsaid, weights

from modeledge.families import load_model, save_model

# ---- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"hidden_sise": 16}, "E-CONFIG-KEY", ("hidden_sise", "did you mean 'hidden_size'?")),
        ({"rope_theta": 1e4}, "E-CONFIG-KEY", ("rope_theta", "could change what the model computes")),
        ({"quantization_config": {}}, "E-CONFIG-KEY", ("quantization_config",)),
        ({"position_embedding_type": "relative_key"}, "E-CONFIG-VALUE", ("'relative_key'", "'absolute'")),
        ({"is_decoder": True}, "E-CONFIG-VALUE", ("is_decoder is True",)),
        ({"is_decoder": 0}, "E-CONFIG-VALUE", ("is_decoder is 0",)),
        ({"pruned_heads": {"0": [1]}}, "E-CONFIG-VALUE", ("pruned_heads",)),
        ({"hidden_act": "mish"}, "E-CONFIG-VALUE", ("'mish'", "gelu_new")),
        ({"hidden_size": "16"}, "E-CONFIG-VALUE", ("hidden_size", "whole number")),
        ({"num_hidden_layers": True}, "E-CONFIG-VALUE", ("num_hidden_layers",)),
        ({"hidden_dropout_prob": 1.0}, "E-CONFIG-VALUE", ("[0, 1)",)),
        ({"layer_norm_eps": 0}, "E-CONFIG-VALUE", ("layer_norm_eps",)),
        ({"num_attention_heads": 3}, "E-CONFIG", ("do not divide",)),
        ({"id2label": []}, "E-CONFIG-VALUE", ("id2label",)),
        ({"auto_map": {"AutoModel": "x.Y"}}, "E-CONFIG-UNSAFE", ("auto_map", "no code is run")),
        ({"trust_remote_code": True}, "E-CONFIG-UNSAFE", ("trust_remote_code",)),
        ({"_attn_implementation_internal": "a/b"}, "E-CONFIG-UNSAFE", ("_attn_implementation_internal",)),
        ({"task_specific_params": {"a": [{"_target_": "os.system"}]}}, "E-CONFIG-UNSAFE", ("_target_",)),
        ({"model_type": "mamba"}, "E-FAMILY", ("'mamba'", "known: bert")),
        ({"model_type": "brt"}, "E-FAMILY", ("did you mean 'bert'?", "known: bert")),
        ({"model_type": 3}, "E-FAMILY", ("known: bert",)),
        ({"architectures": ["BertForSomethingElse"]}, "E-FAMILY", ("BertForSomethingElse", "BertForMaskedLM")),
        ({"architectures": "BertModel"}, "E-CONFIG-VALUE", ("architectures",)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_configuration_is_read_key_by_key(bert: Path, change: Any, code: str, words: tuple[str, ...]) -> None:
    said(
        bert,
        **(
            {"num_labels": 1, "id2label": change["id2label"], "architectures": ["BertForSequenceClassification"]}
            if "id2label" in change
            else change
        ),
    )
    error = refused(bert, code, *words)
    assert str(bert) in error.where


@pytest.mark.parametrize("key", ["scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"])
def test_attention_is_scaled_in_the_one_way_that_is_known(gpt2: Path, key: str) -> None:
    default = key == "scale_attn_weights"
    said(gpt2, **{key: default})
    load_model(gpt2)
    said(gpt2, **{key: not default})
    refused(gpt2, "E-CONFIG-VALUE", f"{key} is {not default}")


def test_keys_that_change_no_number_are_carried(bert: Path, tmp_path: Path) -> None:
    said(bert, id2label={"0": "auto_map"}, label2id={"auto_map": 0}, task_specific_params={"x": 1}, _name_or_path="a/b")
    save_model(load_model(bert), tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text()) == json.loads((bert / "config.json").read_text())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{", "E-JSON"),
        (b"[]", "E-JSON-TYPE"),
        (b"\xff{}", "E-UTF8"),
        (b'{"a": 1, "a": 2}', "E-DUP-KEY"),
        (b'{"a": NaN}', "E-NOT-FINITE"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "E-JSON-DEPTH"),
        (b" " * (4 << 20) + b"{}", "E-CONFIG-UNSAFE"),
        (None, "E-NO-FILE"),
    ],
    ids=["open", "list", "latin", "twice", "nan", "deep", "large", "absent"],
)  # fmt: skip
def test_a_configuration_that_is_not_one(bert: Path, text: bytes | None, code: str) -> None:
    (bert / "config.json").unlink()
    if text is not None:
        (bert / "config.json").write_bytes(text)
    refused(bert, code)


# ---- names and shapes ----------------------------------------------------------------------------------------------


def test_missing_and_unexpected_weights_are_listed_with_the_nearest_names(bert: Path) -> None:
    old, new = "bert.encoder.layer.0.attention.self.query.weight", "bert.encoder.layer.0.attention.self.qeury.weight"
    weights(bert, lambda w: {(new if k == old else k): v for k, v in w.items()})
    refused(bert, "E-KEYS", f"missing: {old} (nearest: {new})", f"unexpected: {new} (nearest: {old})")


def test_a_head_that_the_architecture_names_must_be_there(bert: Path) -> None:
    weights(bert, lambda w: {k: v for k, v in w.items() if not k.startswith("cls.")})
    refused(bert, "E-KEYS", "missing: cls.predictions.transform.dense.weight")


def test_a_token_classifier_without_its_class_is_not_taken_for_another(bert: Path) -> None:
    """Without a pooler, scores under this name can only be those of each token."""
    unsaid(bert, "architectures")
    weights(bert, lambda w: {**w, "classifier.weight": torch.zeros(2, 16), "classifier.bias": torch.zeros(2)})
    assert list(load_model(bert).heads) == ["lm", "tags"]
    said(bert, architectures=["BertForSequenceClassification"])
    refused(bert, "E-KEYS", "missing: bert.pooler.dense.weight")


def test_wrong_shapes_name_both(bert: Path) -> None:
    weights(bert, lambda w: {**w, "bert.embeddings.LayerNorm.bias": torch.zeros(7)})
    refused(bert, "E-KEYS", "embed_norm.bias is [7] and must be [16]")


def test_a_weight_of_whole_numbers_is_refused(bert: Path) -> None:
    weights(bert, lambda w: {**w, "bert.embeddings.LayerNorm.bias": torch.zeros(16, dtype=torch.int8)})
    refused(bert, "E-KEYS", "bert.embeddings.LayerNorm.bias is torch.int8")


def test_one_weight_under_two_names_is_refused(bert: Path) -> None:
    weights(bert, lambda w: {**w, "bert.embeddings.LayerNorm.beta": torch.zeros(16)})
    refused(bert, "E-KEYS", "two names of one weight")


def test_a_shape_beyond_the_file_asks_for_no_memory(bert: Path) -> None:
    said(bert, hidden_size=1 << 40, intermediate_size=1 << 40)
    refused(bert, "E-CONFIG", "no model of this shape")
    said(bert, hidden_size=1 << 24, intermediate_size=1 << 24)
    refused(bert, "E-KEYS", "wrong shapes")
    said(bert, hidden_size=16, num_hidden_layers=10**9)
    refused(bert, "E-KEYS", "1,000,000,000 layers")


def test_vocabularies_must_agree(bert: Path) -> None:  # case 79
    said(bert, vocab_size=VOCAB + 1)
    refused(bert, "E-VOCAB-SIZE", f"{VOCAB + 1} ids", f"{VOCAB} rows")
    said(bert, vocab_size=VOCAB)
    for vocab, added, fits in (
        ({"a": VOCAB - 1}, [], True),
        ({"a": 0}, [{"id": VOCAB - 1, "content": "x"}], True),
        ([["a", 0.0]] * VOCAB, [], True),
        ({"a": VOCAB}, [], False),
        ({"a": 0}, [{"id": VOCAB, "content": "x"}], False),
        ([["a", 0.0]] * (VOCAB + 1), [], False),
    ):
        (bert / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": added}))
        if fits:
            load_model(bert)
        else:
            refused(bert, "E-VOCAB-SIZE", f"{VOCAB + 1} ids", f"{VOCAB} rows")
    (bert / "tokenizer.json").write_text("{}")
    refused(bert, "E-TOKENIZER")
