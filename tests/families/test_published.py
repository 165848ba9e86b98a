"""Configurations of published models load, old spellings mean what new ones do, and what is not computed is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases_albert import ALBERT
from cases_bert import BERT
from cases_distilbert import DISTIL
from cases_gpt1 import GPT
from cases_gpt2 import GPT2
from cases_gpt_neox import NEOX
from cases_modernbert import FULL, MODERN, NEAR
from cases_roberta import ROBERTA
from families_small import assert_same, weights
from oracle import Architecture, Case, answers, batch_of, build, examples
from published import MODERNBERT_BASE, OPT_125M, PUBLISHED, PYTHIA_70M

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.families.family import blank
from modeledge.families.rules import needed
from modeledge.families.table import FAMILIES, family_of
from modeledge.model import ClassHead, Dropout, LMHead, Rotary, TokenHead, Transformer
from modeledge.seed import Noise

CONFIGS = {"gpt_neox": "GPTNeoXConfig", "opt": "OPTConfig", "openai-gpt": "OpenAIGPTConfig"}
CONFIGS |= {"modernbert": "ModernBertConfig", "gpt2": "GPT2Config"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_is_read(name: str, hf: Any) -> None:
    """Its weights have the names and shapes of the reference library's, and writing changes nothing."""
    said = PUBLISHED[name]
    family = family_of(said)
    config, extra = family.read_config(said)
    assert family.write_config(config, extra) == said
    assert not family.lacks(config, {})
    theirs = {k: v for k, v in said.items() if k not in ("architectures", "model_type", "torch_dtype")}
    with torch.device("meta"):
        reference = getattr(hf, said["architectures"][0])(getattr(hf, CONFIGS[family.model_type])(**theirs))
    names = family.spelling(said, [n for n, _ in reference.named_parameters()])
    heads = family.heads(said, names.values())
    assert list(heads) == ["lm"]
    assert set(needed(family.rules(config, heads))) == set(names.values())
    assert sum(p.numel() for p in blank(config, heads).parameters()) == sum(p.numel() for p in reference.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_left_out_is_what_the_reference_library_takes(name: str, hf: Any) -> None:
    """Every key that the library writes is known, and its defaults are ours."""
    family, theirs = FAMILIES[name], getattr(hf, CONFIGS[name])()
    written = json.loads(theirs.to_json_string(use_diff=False))
    assert family.read_config(written)[0] == family.read_config({})[0]
    for head in ("lm_head.weight", "embed_out.weight", "score.weight", "classifier.weight", "qa_outputs.weight"):
        assert family.heads(written, [head]) == family.heads({}, [head])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({**PYTHIA_70M, "rotary_emb_base": 500, "rotary_pct": 0.5}, {"rope_theta": 500, "partial_rotary_factor": 0.5}),
        (
            {**PYTHIA_70M, "rope_scaling": {"type": "linear", "factor": 4.0}},
            {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000, "partial_rotary_factor": 0.25},
        ),
        (
            {**MODERNBERT_BASE, "global_rope_theta": 80.0, "local_rope_theta": 8.0},
            {FULL: {"rope_theta": 80.0}, NEAR: {"rope_theta": 8.0}},
        ),
        (
            {**MODERNBERT_BASE, "local_rope_theta": None},
            {FULL: {"rope_theta": 160000.0}, NEAR: {"rope_theta": 160000.0}},
        ),
    ],
    ids=["fraction", "scaling", "bases", "one-base"],
)
def test_old_spellings_of_rotary_positions(old: dict[str, Any], new: dict[str, Any]) -> None:
    family = family_of(old)
    dropped = ("rotary_emb_base", "rotary_pct", "rope_scaling", "global_rope_theta", "local_rope_theta")
    said = {k: v for k, v in old.items() if k not in dropped} | {"rope_parameters": new}
    assert family.read_config(old)[0] == family.read_config(said)[0]
    assert family.read_config(old)[0] != family.read_config({k: v for k, v in old.items() if k not in dropped})[0]


def test_windows_of_modernbert_repeat_and_both_ways_of_saying_them_agree() -> None:
    read = FAMILIES["modernbert"].read_config
    config = read(MODERNBERT_BASE)[0]
    assert config.stack.attention.windows == (None, 65, 65)
    assert config.stack.position == Rotary(base=160000.0, local_base=10000.0)
    new = {k: v for k, v in MODERNBERT_BASE.items() if k != "global_attn_every_n_layers"}
    new["layer_types"] = [NEAR if n % 3 else FULL for n in range(22)]
    assert read(new)[0] == config
    one = {**MODERNBERT_BASE, "global_attn_every_n_layers": 1}
    assert read(one)[0].stack.attention.windows == (None,)


def test_rates_of_modernbert_stand_where_the_reference_library_has_them() -> None:
    rates = {"attention_dropout": 0.1, "embedding_dropout": 0.2, "mlp_dropout": 0.3}
    config = FAMILIES["modernbert"].read_config({**MODERNBERT_BASE, **rates})[0]
    assert config.stack.dropout == Dropout(embed=0.2, hidden=0.0, attention=0.1, inner=0.3, mixed=0.1)
    assert not FAMILIES["modernbert"].lacks(config, {})


@pytest.mark.parametrize(
    ("said", "change", "words"),
    [
        (OPT_125M, {"word_embed_proj_dim": 512}, ("word_embed_proj_dim", "512", "768", "350M")),
        (OPT_125M, {"_remove_final_layer_norm": True}, ("_remove_final_layer_norm",)),
        (OPT_125M, {"layerdrop": 0.1}, ("layerdrop",)),
        (OPT_125M, {"layer_norm_elementwise_affine": False}, ("layer_norm_elementwise_affine",)),
        (OPT_125M, {"activation_function": "quick_gelu"}, ("activation_function", "relu")),
        (PYTHIA_70M, {"rotary_pct": 1.5}, ("rotary_pct", "at most 1")),
        (PYTHIA_70M, {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, ("dynamic",)),
        (PUBLISHED["openai-gpt"], {"afn": "gelu_new"}, ("afn", "gelu")),
        (PUBLISHED["gpt2"], {"scale_attn_by_inverse_layer_idx": True}, ("scale_attn_by_inverse_layer_idx",)),
        (MODERNBERT_BASE, {"layer_types": [FULL]}, ("layer_types", "22 layers")),
        (MODERNBERT_BASE, {"layer_types": ["odd"] * 22}, ("layer_types", "odd")),
        (MODERNBERT_BASE, {"num_hidden_layers": 10**9}, ("num_hidden_layers",)),
        (MODERNBERT_BASE, {"rope_parameters": {"rope_theta": 10.0}}, ("rope_parameters", FULL)),
        (MODERNBERT_BASE, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, ("stretched", NEAR)),
        (MODERNBERT_BASE, {"rope_parameters": {FULL: {"partial_rotary_factor": 0.5}}}, ("partial_rotary_factor",)),
        (MODERNBERT_BASE, {"classifier_pooling": "max"}, ("classifier_pooling", "mean")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) and len(value) == 1 else "",
)
def test_what_is_not_computed_is_refused_by_name(said: Any, change: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ModeledgeError) as caught:
        family_of(said).read_config({**said, **change})
    assert caught.value.code == "E-CONFIG-VALUE"
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "summary", [{"summary_type": "mean"}, {"summary_activation": "tanh"}, {"summary_use_proj": False}]
)
def test_another_summary_matters_to_the_class_with_two_heads_alone(summary: dict[str, Any]) -> None:
    said = {**PUBLISHED["gpt2"], **summary}
    assert list(FAMILIES["gpt2"].heads(said, [])) == ["lm"]
    with pytest.raises(ModeledgeError, match=next(iter(summary))):
        FAMILIES["gpt2"].heads({**said, "architectures": ["GPT2DoubleHeadsModel"]}, [])


@pytest.mark.parametrize("name", ["gpt2", "pythia-70m"])
def test_the_rate_before_tags_is_read_and_written(name: str) -> None:
    said = {**PUBLISHED[name], "architectures": ["GPTNeoXForTokenClassification"]}
    said["architectures"] = said["architectures"] if name == "pythia-70m" else ["GPT2ForTokenClassification"]
    family = family_of(said)
    assert family.heads(said, []) == {"tags": TokenHead(outputs=2, dropout=0.1)}
    other = family.heads({**said, "classifier_dropout": 0.3}, [])
    assert other == {"tags": TokenHead(outputs=2, dropout=0.3)}
    assert family.write_heads(family.read_config(said)[0], other)["classifier_dropout"] == 0.3


def test_the_rate_before_the_number_of_an_ending_is_read_and_written() -> None:
    family, said = FAMILIES["openai-gpt"], {**PUBLISHED["openai-gpt"], "architectures": ["OpenAIGPTDoubleHeadsModel"]}
    found = family.heads({**said, "summary_first_dropout": 0.3}, [])
    assert found == {"lm": LMHead(), "choice": ClassHead(outputs=1, pool="last", dropout=0.3)}
    written = family.write_heads(family.read_config(said)[0], found)
    assert written["summary_first_dropout"] == 0.3
    assert written["architectures"] == said["architectures"]


def test_a_value_that_a_page_refuses_is_a_reason_not_to_write_it(tmp_path: Path) -> None:
    """Weights that all begin at 0 are a model of ours; these formats want a number above 0."""
    config, _ = FAMILIES["gpt_neox"].read_config({"num_hidden_layers": 1, "hidden_size": 512, "vocab_size": 9})
    zero = replace(config, init=0.0)
    assert not FAMILIES["gpt_neox"].lacks(config, {})
    assert "initializer_range is 0.0" in FAMILIES["gpt_neox"].lacks(zero, {})[0]
    save_model(Transformer(zero), tmp_path)
    assert load_model(tmp_path).config == zero


@pytest.mark.parametrize(
    ("of", "name", "config"),
    [
        (GPT, "OpenAIGPTDoubleHeadsModel", {}),
        (GPT2, "GPT2DoubleHeadsModel", {"summary_type": "last"}),
        (MODERN, "ModernBertForMultipleChoice", {}),
        (MODERN, "ModernBertForMultipleChoice", {"classifier_pooling": "mean"}),
        (BERT, "BertForMultipleChoice", {"type_vocab_size": 2}),
        (ROBERTA, "RobertaForMultipleChoice", {}),
        (ALBERT, "AlbertForMultipleChoice", {}),
        (DISTIL, "DistilBertForMultipleChoice", {}),
    ],
)
def test_one_number_an_ending_agrees(of: Architecture, name: str, config: Any, hf: Any, tmp_path: Path) -> None:
    """The head that compares endings, packed against the reference one by one, and its gradients."""
    reference = build(hf, Case(of, name, "choice", config))
    reference.save_pretrained(tmp_path / "theirs")
    model, prepared = load_model(tmp_path / "theirs"), examples(Case(of, name))
    batch = batch_of(prepared, packed=True)
    ours = answers(model, batch, "choice")[:, 0]
    theirs, alone = [], "MultipleChoice" in name
    for number in batch.indices.tolist():
        piece = prepared[number].source or prepared[number].target
        assert piece is not None
        ids = torch.as_tensor(piece.ids)
        shape = (1, 1, -1) if alone else (1, -1)
        types = {} if piece.types is None else {"token_type_ids": torch.as_tensor(piece.types).view(shape)}
        out = reference(input_ids=ids.view(shape), attention_mask=torch.ones_like(ids).view(shape), **types)
        theirs.append((out.logits if alone else out.mc_logits).view(()))
    other = torch.stack(theirs)
    assert (ours - other).abs().max() <= 1e-5
    probe = torch.tensor([1.0, -2.0, 0.5, 3.0])
    (ours * probe).sum().backward()
    (other * probe).sum().backward()
    last = reference.classifier if alone else reference.multiple_choice_head.summary
    mine = model.heads["choice"].output.weight.grad  # type: ignore[union-attr]
    assert torch.allclose(mine, last.weight.grad, rtol=1e-4, atol=1e-6)
    save_model(model, tmp_path / "again")
    assert_same(tmp_path / "theirs", tmp_path / "again")
    del vars(model)["origin"]
    save_model(
        model,
        tmp_path / "own",
        family=FAMILIES[json.loads((tmp_path / "again/config.json").read_text())["model_type"]].model_type,
    )
    _, told = getattr(hf, name).from_pretrained(tmp_path / "own", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]


def test_buffers_of_old_pythia_files_are_carried(hf: Any, tmp_path: Path) -> None:
    build(hf, Case(NEOX, "GPTNeoXForCausalLM", "lm")).save_pretrained(tmp_path / "theirs")
    plain = load_model(tmp_path / "theirs")

    def aged(now: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        old = {name.replace("lm_head.", "embed_out."): tensor for name, tensor in now.items()}
        for n in range(2):
            start = f"gpt_neox.layers.{n}.attention"
            old[f"{start}.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
            old |= {f"{start}.masked_bias": torch.tensor(-1e9), f"{start}.rotary_emb.inv_freq": torch.ones(1)}
        return old

    weights(tmp_path / "theirs", aged)
    model = load_model(tmp_path / "theirs")
    assert all(torch.equal(a, model.state_dict()[n]) for n, a in plain.state_dict().items())
    save_model(model, tmp_path / "again")
    assert_same(tmp_path / "theirs", tmp_path / "again")


def test_two_heads_of_modernbert_do_not_share_a_file(tmp_path: Path) -> None:
    """Their names are the same: one would be written over the other."""
    config, _ = FAMILIES["modernbert"].read_config({"num_hidden_layers": 1, "hidden_size": 24, "vocab_size": 9})
    names = FAMILIES["modernbert"].heads
    tags = names({"architectures": ["ModernBertForTokenClassification"]}, [])
    model = Transformer(config)
    model.add_heads(tags, Noise(0))
    save_model(model, tmp_path / "one", family="modernbert")
    assert load_model(tmp_path / "one").heads.keys() == {"tags"}
    model.add_heads(names({"architectures": ["ModernBertForMaskedLM"]}, []), Noise(0))
    with pytest.raises(ModeledgeError, match="lm, tags would have the same names") as caught:
        save_model(model, tmp_path / "two", family="modernbert")
    assert caught.value.code == "E-OUTSIDE-FAMILY"
