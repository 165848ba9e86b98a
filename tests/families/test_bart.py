"""What is special in BART and mBART: a bias that is not learned, a table under several names or two tables, two keys
for one number, and configurations as they were published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases_bart import BART, MBART, UNTIED
from families_small import assert_same
from oracle import Case, answers, batch_of, examples, saved, spoilt
from safetensors.torch import load_file

from modeledge.errors import ModeledgeError
from modeledge.families import FAMILIES, load_model, save_model, start_of
from modeledge.model import ClassHead, Learned, LMHead
from modeledge.model.config import Dropout

TABLE, HEAD, BIAS = "model.shared.weight", "lm_head.weight", "final_logits_bias"
COPIES = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", HEAD)
LM = Case(BART, "BartForConditionalGeneration", "lm")


def test_a_bias_of_the_scores_counts_and_is_not_learned(hf: Any, tmp_path: Path) -> None:
    """And a file without one, as old ones are, has none."""
    saved(hf, tmp_path, LM)
    bias, batch = load_file(tmp_path / "model.safetensors")[BIAS], batch_of(examples(LM), packed=False)
    assert bias.abs().max() > 1
    model = load_model(tmp_path).eval()
    assert not [name for name, _ in model.named_parameters() if name == "heads.lm.bias"]
    told = answers(model, batch, "lm")
    spoilt(tmp_path, {}, {BIAS: None})
    bare = load_model(tmp_path).eval()
    assert bare.heads["lm"].bias is None
    torch.testing.assert_close(told, answers(bare, batch, "lm") + bias)
    save_model(bare, tmp_path / "again")
    assert_same(tmp_path, tmp_path / "again")


def test_a_bias_that_was_learned_is_not_written_as_one_that_was_not() -> None:
    config, _ = FAMILIES["bart"].read_config(BASE)
    assert not FAMILIES["bart"].lacks(config, {"lm": LMHead(bias="fixed")})
    assert not FAMILIES["bart"].lacks(config, {"lm": LMHead()})
    assert FAMILIES["bart"].lacks(config, {"lm": LMHead(bias=True)})


@pytest.mark.parametrize("name", COPIES)
def test_one_table_under_any_of_its_names(hf: Any, tmp_path: Path, name: str) -> None:
    saved(hf, tmp_path, LM)
    table = load_file(tmp_path / "model.safetensors")[TABLE]
    spoilt(tmp_path, {}, {TABLE: None, name: table.clone()})
    model = load_model(tmp_path)
    assert torch.equal(model.tokens, table)
    save_model(model, tmp_path / "again")
    assert_same(tmp_path, tmp_path / "again")


def test_a_table_under_all_of_its_names(hf: Any, tmp_path: Path) -> None:
    saved(hf, tmp_path, LM)
    table = load_file(tmp_path / "model.safetensors")[TABLE]
    older = {"model.encoder.version": torch.tensor([3.0]), "model.decoder.version": torch.tensor([3.0])}
    spoilt(tmp_path, {}, {**{name: table.clone() for name in COPIES}, **older})
    save_model(load_model(tmp_path), tmp_path / "again")
    assert_same(tmp_path, tmp_path / "again")
    for name in COPIES:
        spoilt(tmp_path, {}, {**{other: table.clone() for other in COPIES}, name: table + 1})
        with pytest.raises(ModeledgeError, match="differs"):
            load_model(tmp_path)


def test_two_tables_are_not_made_of_one(hf: Any, tmp_path: Path) -> None:
    """A file that says that its tables are apart, and holds one, is not whole."""
    saved(hf, tmp_path, Case(UNTIED, LM.name, "lm", {"tie_word_embeddings": False}))
    model = load_model(tmp_path)
    assert model.target_tokens is not None
    assert not torch.equal(model.tokens, model.target_tokens)
    spoilt(tmp_path, {}, {COPIES[1]: None})
    with pytest.raises(ModeledgeError, match=r"missing: model\.decoder\.embed_tokens\.weight"):
        load_model(tmp_path)


# ---- configurations ------------------------------------------------------------------------------------------------

BASE = {
    "_name_or_path": "bart-base", "activation_dropout": 0.1, "activation_function": "gelu", "add_bias_logits": False,
    "add_final_layer_norm": False, "architectures": ["BartModel"], "attention_dropout": 0.1, "bos_token_id": 0,
    "classif_dropout": 0.1, "classifier_dropout": 0.0, "d_model": 768, "decoder_attention_heads": 12,
    "decoder_ffn_dim": 3072, "decoder_layerdrop": 0.0, "decoder_layers": 6, "decoder_start_token_id": 2,
    "dropout": 0.1, "early_stopping": True, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072,
    "encoder_layerdrop": 0.0, "encoder_layers": 6, "eos_token_id": 2, "forced_bos_token_id": 0,
    "forced_eos_token_id": 2, "gradient_checkpointing": False,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, "init_std": 0.02, "is_encoder_decoder": True,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}, "max_position_embeddings": 1024, "model_type": "bart",
    "no_repeat_ngram_size": 3, "normalize_before": False, "normalize_embedding": True, "num_beams": 4,
    "num_hidden_layers": 6, "pad_token_id": 1, "scale_embedding": False,
    "task_specific_params": {"summarization": {"length_penalty": 1.0, "max_length": 128, "num_beams": 4}},
    "torch_dtype": "float32", "transformers_version": "4.12.0.dev0", "use_cache": True, "vocab_size": 50265,
}  # fmt: skip
CC25 = {
    "_num_labels": 3, "activation_dropout": 0.0, "activation_function": "gelu", "add_bias_logits": False,
    "add_final_layer_norm": True, "architectures": ["MBartForConditionalGeneration"], "attention_dropout": 0.0,
    "bos_token_id": 0, "classif_dropout": 0.0, "classifier_dropout": 0.0, "d_model": 1024,
    "decoder_attention_heads": 16, "decoder_ffn_dim": 4096, "decoder_layerdrop": 0.0, "decoder_layers": 12,
    "dropout": 0.1, "encoder_attention_heads": 16, "encoder_ffn_dim": 4096, "encoder_layerdrop": 0.0,
    "encoder_layers": 12, "eos_token_id": 2, "forced_eos_token_id": 2, "gradient_checkpointing": False,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, "init_std": 0.02, "is_encoder_decoder": True,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}, "max_length": 1024, "max_position_embeddings": 1024,
    "model_type": "mbart", "normalize_before": True, "normalize_embedding": True, "num_beams": 5,
    "num_hidden_layers": 12, "output_past": True, "pad_token_id": 1, "scale_embedding": True,
    "static_position_embeddings": False, "task_specific_params": {"translation_en_to_ro": {"num_beams": 5}},
    "vocab_size": 250027,
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "layers", "place", "scale", "start"),
    [(BASE, 6, "post", 1.0, 2), (CC25, 12, "pre", 32.0, None)],
    ids=["bart-base", "mbart-large-cc25"],
)
def test_published_configurations(said: dict[str, Any], layers: int, place: str, scale: float, start: int) -> None:
    family = FAMILIES[said["model_type"]]
    config, extra = family.read_config(said)
    assert config.table.scale == scale
    assert config.table.norm
    for stack in (config.encoder, config.decoder):
        assert stack is not None
        assert (stack.layers, stack.norm.place) == (layers, place)
        assert stack.position == Learned(length=1026, offset=2)
        inner, attention = said["activation_dropout"], said["attention_dropout"]
        assert stack.dropout == Dropout(embed=0.1, hidden=0.1, attention=attention, inner=inner)
    assert config.positions == 1024
    assert family.heads(said, ()) == ({} if place == "post" else {"lm": LMHead()})
    assert family.heads(said, (BIAS,)) == {"lm": LMHead(bias="fixed")}
    assert family.write_config(config, extra) == said
    assert family.start(said) == start
    deeper = replace(config, encoder=replace(config.encoder, layers=99))
    again = family.write_config(deeper, extra)
    assert family.read_config(again)[0] == deeper


@pytest.mark.parametrize(
    ("family", "keys", "where"),
    [
        ("bart", {"num_hidden_layers": 5}, "num_hidden_layers"),
        ("bart", {"encoder_layerdrop": 0.1}, "encoder_layerdrop"),
        ("bart", {"normalize_before": True}, "normalize_before"),
        ("bart", {"normalize_embedding": False}, "normalize_embedding"),
        ("bart", {"is_encoder_decoder": False}, "is_encoder_decoder"),
        ("mbart", {"normalize_before": False}, "normalize_before"),
        ("mbart", {"add_final_layer_norm": False}, "add_final_layer_norm"),
    ],
)
def test_what_is_not_computed_here_is_refused(family: str, keys: dict[str, Any], where: str) -> None:
    with pytest.raises(ModeledgeError, match=where) as caught:
        FAMILIES[family].read_config({**(BASE if family == "bart" else CC25), **keys})
    assert caught.value.code == "E-CONFIG-VALUE"


def test_bart_marks_three_classes_where_it_does_not_say_how_many() -> None:
    """(The reference library's default, and mBART's is two.)"""
    for of, said, outputs in (("bart", BASE, 3), ("mbart", CC25, 2)):
        begins = "Bart" if of == "bart" else "MBart"
        unsaid = {k: v for k, v in said.items() if k not in ("id2label", "label2id", "_num_labels")}
        found = FAMILIES[of].heads({**unsaid, "architectures": [f"{begins}ForSequenceClassification"]}, ())["class"]
        assert isinstance(found, ClassHead)
        assert found.outputs == outputs


def test_a_model_of_another_shape_is_not_written() -> None:
    config, _ = FAMILIES["bart"].read_config(BASE)
    assert config.encoder is not None
    assert config.decoder is not None
    assert not FAMILIES["bart"].lacks(config, {})
    pre = replace(config.encoder, norm=replace(config.encoder.norm, place="pre"))
    wide = replace(config.encoder, feedforward=replace(config.encoder.feedforward, kind="swiglu"))
    plain = replace(config.encoder, position=Learned(length=1024))
    for encoder in (pre, wide, plain):
        assert FAMILIES["bart"].lacks(replace(config, encoder=encoder), {})
    assert FAMILIES["mbart"].lacks(config, {})


@pytest.mark.parametrize(("of", "name", "start"), [(BART, "BartModel", 2), (MBART, "MBartModel", None)])
def test_the_start_is_what_the_file_says(hf: Any, tmp_path: Path, of: Any, name: str, start: int | None) -> None:
    saved(hf, tmp_path, Case(of, name))
    spoilt(tmp_path, {"decoder_start_token_id": None}, {})
    assert start_of(load_model(tmp_path)) == start
    spoilt(tmp_path, {"decoder_start_token_id": 7}, {})
    assert start_of(load_model(tmp_path)) == 7
