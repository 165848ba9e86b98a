"""What is special in T5 and mT5: heads that transformers 5.23 does not reproduce, a table under several names, classes
without a decoder, and configurations as they were published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases_t5 import MT5, T5, T5_ENCODER
from families_small import assert_same
from oracle import Case, answers, batch_of, examples, given, saved, spoilt
from safetensors.torch import load_file

from modeledge.errors import ModeledgeError
from modeledge.families import FAMILIES, load_model, save_model, start_of
from modeledge.model import LMHead, TokenHead
from modeledge.model.config import Dropout

TABLE, HEAD = "shared.weight", "lm_head.weight"
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", HEAD)


@pytest.mark.parametrize("of", [T5, MT5], ids=["t5", "mt5"])
def test_a_head_of_its_own_is_used_and_not_scaled(hf: Any, tmp_path: Path, of: Any) -> None:
    """The right behaviour, which 5.23 has lost: scores are the decoder's last states times the head of the file."""
    start = "MT5" if of is MT5 else "T5"
    case = Case(of, f"{start}ForConditionalGeneration", "lm", {"feed_forward_proj": "gated-gelu"})
    reference = saved(hf, tmp_path, case).eval()
    trained = torch.randn(reference.config.vocab_size, reference.config.d_model)
    spoilt(tmp_path, {"tie_word_embeddings": False, "scale_decoder_outputs": None}, {HEAD: trained})
    model, prepared = load_model(tmp_path).eval(), examples(case)
    batch = batch_of(prepared, packed=False)
    out = reference(**given(case, prepared), output_hidden_states=True)
    states = torch.cat([out.decoder_hidden_states[-1][i, : len(prepared[i].target.ids)] for i in batch.indices])
    assert (answers(model, batch, "lm") - states @ trained.T).abs().max() <= 1e-5 * 4  # scores of order 4
    assert (answers(model, batch, "lm") - states @ model.table.T).abs().max() > 1
    save_model(model, tmp_path / "again")
    assert_same(tmp_path, tmp_path / "again")


def test_a_tied_head_of_the_first_t5_is_scaled(hf: Any, tmp_path: Path) -> None:
    """(In the older files nothing says so but `tie_word_embeddings`, or its absence.)"""
    case = Case(T5, "T5ForConditionalGeneration", "lm")
    saved(hf, tmp_path, case)
    spoilt(tmp_path, {"tie_word_embeddings": None, "scale_decoder_outputs": None}, {})
    model = load_model(tmp_path).eval()
    batch = batch_of(examples(case), packed=False)
    last = answers(model, batch, None)
    torch.testing.assert_close(answers(model, batch, "lm"), last / 4 @ model.table.T, rtol=1e-5, atol=1e-5)


def test_a_head_that_is_missing_is_not_drawn(hf: Any, tmp_path: Path) -> None:
    saved(hf, tmp_path, Case(T5, "T5ForConditionalGeneration", "lm"))
    spoilt(tmp_path, {"tie_word_embeddings": False}, {})
    with pytest.raises(ModeledgeError, match=HEAD) as caught:
        load_model(tmp_path)
    assert caught.value.code == "E-KEYS"


@pytest.mark.parametrize("name", COPIES)
def test_one_table_under_any_of_its_names(hf: Any, tmp_path: Path, name: str) -> None:
    saved(hf, tmp_path, Case(T5, "T5ForConditionalGeneration", "lm"))
    table = load_file(tmp_path / "model.safetensors")[TABLE]
    spoilt(tmp_path, {}, {TABLE: None, name: table.clone()})
    model = load_model(tmp_path)
    assert torch.equal(model.tokens, table)
    save_model(model, tmp_path / "again")
    assert_same(tmp_path, tmp_path / "again")


def test_a_table_under_all_of_its_names(hf: Any, tmp_path: Path) -> None:
    saved(hf, tmp_path, Case(T5, "T5ForConditionalGeneration", "lm"))
    table = load_file(tmp_path / "model.safetensors")[TABLE]
    older = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.randn(8, 4)}
    spoilt(tmp_path, {}, {**{name: table.clone() for name in COPIES}, **older})
    save_model(load_model(tmp_path), tmp_path / "again")
    assert_same(tmp_path, tmp_path / "again")
    for name in COPIES:
        spoilt(tmp_path, {}, {**{other: table.clone() for other in COPIES}, name: table + 1})
        with pytest.raises(ModeledgeError, match="differs"):
            load_model(tmp_path)


def test_modules_are_called_as_in_their_class(hf: Any, tmp_path: Path) -> None:
    """Adapters in PEFT's format are found by these names."""
    for number, (of, name) in enumerate([(T5, "T5ForSequenceClassification"), (T5, "T5Model")]):
        reference = saved(hf, tmp_path / str(number), Case(of, name))
        model, modules = load_model(tmp_path / str(number)), dict(reference.named_modules())
        for kind in ("query", "value", "attention_output", "up", "down"):
            sites = model.sites(kind)
            assert len(sites) == (4 if kind in ("up", "down") else 6)
            for site in sites:
                assert torch.equal(modules[site.hf_name].weight, site.module.weight)


# ---- configurations ------------------------------------------------------------------------------------------------

SMALL = {
    "architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "d_kv": 64, "d_model": 512,
    "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "initializer_factor": 1.0,
    "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "model_type": "t5", "n_positions": 512, "num_heads": 8,
    "num_layers": 6, "output_past": True, "pad_token_id": 0, "relative_attention_num_buckets": 32,
    "task_specific_params": {"summarization": {"max_length": 200, "num_beams": 4, "prefix": "summarize: "}},
    "vocab_size": 32128,
}  # fmt: skip
FLAN = {
    "architectures": ["T5ForConditionalGeneration"], "d_ff": 1024, "d_kv": 64, "d_model": 512,
    "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "model_type": "t5",
    "n_positions": 512, "num_decoder_layers": 8, "num_heads": 6, "num_layers": 8, "output_past": True,
    "pad_token_id": 0, "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False, "transformers_version": "4.23.1", "use_cache": True, "vocab_size": 32128,
}  # fmt: skip
MULTI = {
    "architectures": ["MT5ForConditionalGeneration"],
    "d_ff": 1024, "d_kv": 64, "d_model": 512, "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu", "initializer_factor": 1.0, "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06, "model_type": "mt5", "num_decoder_layers": 8, "num_heads": 6, "num_layers": 8,
    "pad_token_id": 0, "relative_attention_num_buckets": 32, "tie_word_embeddings": False,
    "tokenizer_class": "T5Tokenizer", "torch_dtype": "float32", "use_cache": True, "vocab_size": 250112,
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "kind", "inner", "layers", "lm"),
    [
        (SMALL, "relu", 2048, 6, LMHead(tie=True, scale=512**-0.5)),
        (FLAN, "geglu_tanh", 1024, 8, LMHead(tie=False)),
        (MULTI, "geglu_tanh", 1024, 8, LMHead(tie=False)),
    ],
    ids=["t5-small", "flan-t5-small", "mt5-small"],
)
def test_published_configurations(said: dict[str, Any], kind: str, inner: int, layers: int, lm: LMHead) -> None:
    family = FAMILIES[said["model_type"]]
    config, extra = family.read_config(said)
    for stack in (config.encoder, config.decoder):
        assert stack is not None
        assert (stack.layers, stack.feedforward.kind, stack.feedforward.width) == (layers, kind, inner)
        assert stack.attention.scale == 1.0
        assert stack.dropout == Dropout(embed=0.1, hidden=0.1, attention=0.1, inner=0.1, last=0.1)
    assert family.heads(said, ()) == {"lm": lm}
    assert family.write_config(config, extra) == said
    assert family.start(said) == 0
    assert config.positions is None


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"dense_act_fn": "relu"}, "dense_act_fn"),
        ({"is_gated_act": False}, "is_gated_act"),
        ({"feed_forward_proj": "gated-mish"}, "feed_forward_proj"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder"),
        ({"architectures": ["T5EncoderModel", "T5Model"]}, "architectures"),
        ({"is_decoder": True}, "is_decoder"),
        ({"scale_decoder_outputs": 2}, "scale_decoder_outputs"),
    ],
)
def test_keys_that_contradict_each_other(keys: dict[str, Any], where: str) -> None:
    with pytest.raises(ModeledgeError, match=where) as caught:
        FAMILIES["t5"].read_config({**FLAN, **keys})
    assert caught.value.code == "E-CONFIG-VALUE"


def test_what_5_23_says_beside_the_projection_is_known() -> None:
    again = {"dense_act_fn": "gelu_new", "is_gated_act": True}
    assert FAMILIES["t5"].read_config({**FLAN, **again})[0] == FAMILIES["t5"].read_config(FLAN)[0]


def test_classes_without_a_decoder() -> None:
    """Old files of `T5EncoderModel` say `is_encoder_decoder: true` all the same."""
    family = FAMILIES["t5"]
    for keys in ({"architectures": ["T5EncoderModel"]}, {"architectures": None, "is_encoder_decoder": False}):
        config, _ = family.read_config({**FLAN, **keys})
        assert config.decoder is None
        assert config.encoder is not None
    both, _ = family.read_config(FLAN)
    assert family.lacks(both, {"tags": TokenHead(outputs=2)})
    assert family.lacks(config, {"lm": LMHead(scale=512**-0.5)})
    assert not family.lacks(config, {"tags": TokenHead(outputs=2)})


def test_a_model_of_another_shape_is_not_written() -> None:
    family = FAMILIES["t5"]
    config, _ = family.read_config(FLAN)
    assert config.encoder is not None
    assert config.decoder is not None
    assert not family.lacks(config, {})
    others = (
        replace(config, encoder=replace(config.encoder, attention=replace(config.encoder.attention, scale=None))),
        replace(config, decoder=replace(config.decoder, dropout=replace(config.decoder.dropout, inner=0.2))),
        replace(config, target_embed=config.embed),
    )
    for other in others:
        assert family.lacks(other, {})


def test_the_start_is_what_the_file_says(hf: Any, tmp_path: Path) -> None:
    saved(hf, tmp_path, Case(T5, "T5Model"))
    for keys, start in (
        ({}, 0),
        ({"decoder_start_token_id": 5}, 5),
        ({"decoder_start_token_id": None, "pad_token_id": 3}, 3),
    ):
        spoilt(tmp_path, keys, {})
        assert start_of(load_model(tmp_path)) == start
    saved(hf, tmp_path / "alone", Case(T5_ENCODER, "T5EncoderModel"))
    model = load_model(tmp_path / "alone")
    del vars(model)["origin"]
    assert start_of(model) is None
