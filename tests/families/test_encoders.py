"""The encoders beyond the harness: published configurations, heads told by names alone, one pooler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cases_albert import CASES as ALBERT_CASES
from cases_bert import CASES as BERT_CASES
from cases_distilbert import CASES as DISTIL_CASES
from cases_electra import CASES as ELECTRA_CASES
from cases_roberta import CASES as ROBERTA_CASES
from families_small import assert_same, content, refused, said, unsaid, weights
from oracle import Case, build

from modeledge.errors import ModeledgeError
from modeledge.families import FAMILIES, load_model, save_model
from modeledge.families.family import blank
from modeledge.families.rules import allowed, needed
from modeledge.model import ClassHead, TokenHead
from modeledge.seed import Noise

CASES = (*BERT_CASES, *ROBERTA_CASES, *DISTIL_CASES, *ALBERT_CASES, *ELECTRA_CASES)
CONFIGS = {"bert": "BertConfig", "roberta": "RobertaConfig", "xlm-roberta": "XLMRobertaConfig"}
CONFIGS |= {"distilbert": "DistilBertConfig", "albert": "AlbertConfig", "electra": "ElectraConfig"}

BODY = {"attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768}
BODY |= {"initializer_range": 0.02, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
SAID = {"position_embedding_type": "absolute", "use_cache": True, "transformers_version": "4.6.0.dev0"}
OLD = {"layer_norm_eps": 1e-12, "max_position_embeddings": 512, "type_vocab_size": 2, "pad_token_id": 0}
LATER = {"layer_norm_eps": 1e-05, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
LATER |= {"bos_token_id": 0, "eos_token_id": 2}
ONES = {"down_scale_factor": 1, "gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0}
ONES |= {"inner_group_num": 1, "num_hidden_groups": 1}
SUMMARY = {"summary_activation": "gelu", "summary_last_dropout": 0.1, "summary_type": "first", "summary_use_proj": True}

# the configurations of published checkpoints, and the heads that their weights must have
PUBLISHED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "bert-base-uncased": (
        ["lm"],
        {"architectures": ["BertForMaskedLM"], **BODY, **OLD, **SAID, "model_type": "bert", "vocab_size": 30522}
        | {"gradient_checkpointing": False},
    ),
    "bert-base-german-cased": (
        ["lm"],
        {"architectures": ["BertForMaskedLM"], **BODY, **OLD, "model_type": "bert", "vocab_size": 30000}
        | {"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12, "output_past": True}
        | {"pooler_num_fc_layers": 3, "pooler_size_per_head": 128, "pooler_type": "first_token_transform"},
    ),
    "roberta-base": (
        ["lm"],
        {"architectures": ["RobertaForMaskedLM"], **BODY, **LATER, "model_type": "roberta", "vocab_size": 50265},
    ),
    "xlm-roberta-base": (
        ["lm"],
        {"architectures": ["XLMRobertaForMaskedLM"], **BODY, **LATER, **SAID, "output_past": True}
        | {"model_type": "xlm-roberta", "vocab_size": 250002},
    ),
    "distilbert-base-uncased": (
        ["lm"],
        {"activation": "gelu", "architectures": ["DistilBertForMaskedLM"], "attention_dropout": 0.1, "dim": 768}
        | {"dropout": 0.1, "hidden_dim": 3072, "initializer_range": 0.02, "max_position_embeddings": 512}
        | {"model_type": "distilbert", "n_heads": 12, "n_layers": 6, "pad_token_id": 0, "qa_dropout": 0.1}
        | {"seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False, "tie_weights_": True, "vocab_size": 30522},
    ),
    "albert-base-v2": (
        ["lm"],
        {"architectures": ["AlbertForMaskedLM"], **BODY, **OLD, **ONES, "model_type": "albert", "vocab_size": 30000}
        | {"attention_probs_dropout_prob": 0, "hidden_dropout_prob": 0, "hidden_act": "gelu_new"}
        | {"bos_token_id": 2, "eos_token_id": 3, "classifier_dropout_prob": 0.1, "embedding_size": 128},
    ),
    "electra-small-discriminator": (
        ["replaced"],
        {"architectures": ["ElectraForPreTraining"], **BODY, **OLD, **SAID, **SUMMARY, "model_type": "electra"}
        | {"embedding_size": 128, "hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4}
        | {"vocab_size": 30522},
    ),
}


@pytest.fixture
def folder_of(hf: Any, tmp_path: Path) -> Any:
    """A reference model of a case, in a folder of its own."""

    def make(case: Case) -> Path:
        build(hf, case).save_pretrained(tmp_path / str(case))
        return Path(tmp_path / str(case))

    return make


def case(name: str) -> Case:
    """The case of this name."""
    return next(c for c in CASES if str(c) == name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_is_read_and_written_back(name: str, hf: Any) -> None:
    """Its weights have the names and numbers of the reference library's."""
    heads, plain = PUBLISHED[name]
    family = FAMILIES[plain["model_type"]]
    config, extra = family.read_config(plain)
    assert family.write_config(config, extra) == plain
    theirs = getattr(hf, CONFIGS[family.model_type])(**{k: v for k, v in plain.items() if k != "model_type"})
    with torch.device("meta"):
        reference = getattr(hf, plain["architectures"][0])(theirs)
    names = family.spelling(plain, [n for n, _ in reference.named_parameters()])
    ours = family.heads(plain, names.values())
    assert list(ours) == heads
    assert not family.lacks(config, ours)
    rules = family.rules(config, ours)
    assert set(names.values()) <= allowed(rules)
    assert len(needed(rules)) == len(names)
    wanted = sum(p.numel() for p in reference.parameters())
    assert sum(p.numel() for p in blank(config, ours).parameters()) == wanted


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_left_out_is_what_the_reference_library_takes(name: str, hf: Any) -> None:
    """Every key that the library writes is known, and its defaults are ours."""
    family, theirs = FAMILIES[name], getattr(hf, CONFIGS[name])()
    written = json.loads(theirs.to_json_string(use_diff=False))
    assert family.read_config(written)[0] == family.read_config({})[0]
    for tensor in ("classifier", "qa_outputs"):
        found = family.heads(written, [f"{tensor}.weight"])
        assert found
        assert found == family.heads({}, [f"{tensor}.weight"])
    start = CONFIGS[name].removesuffix("Config")
    for end in ("ForMaskedLM", "ForSequenceClassification"):
        named = {"architectures": [start + end]}
        assert family.heads({**written, **named}, []) == family.heads(named, [])


@pytest.mark.parametrize("of", CASES, ids=str)
def test_names_alone_tell_the_same_heads(of: Case, folder_of: Any) -> None:
    """A file that does not name its class is read as the class that wrote it."""
    folder = folder_of(of)
    told = {n: m.spec for n, m in load_model(folder).heads.items()}
    unsaid(folder, "architectures")
    heads = {n: m.spec for n, m in load_model(folder).heads.items()}
    pooled = of.name == "BertForPreTraining" or of.name == "AlbertForPreTraining"
    assert heads.keys() == told.keys() | ({"next"} if pooled else set())
    assert heads == told


def test_a_class_has_what_its_head_needs_or_the_head_is_missing(folder_of: Any) -> None:
    for name, tensor in (
        ("BertForNextSentencePrediction", "cls.seq_relationship.weight"),
        ("BertForTokenClassification", "classifier.weight"),
        ("DistilBertForSequenceClassification", "pre_classifier.weight"),
        ("AlbertForPreTraining", "sop_classifier.classifier.bias"),
        ("ElectraForPreTraining", "discriminator_predictions.dense_prediction.weight"),
        ("ElectraModel-eps", "embeddings_project.weight"),
    ):
        folder = folder_of(case(name))
        weights(folder, lambda w, t=tensor: {k: v for k, v in w.items() if k != t})
        refused(folder, "E-KEYS", "missing", tensor.rpartition(".")[0])


def test_a_pooler_that_no_head_reads_is_carried(folder_of: Any, tmp_path: Path) -> None:
    """Old taggers hold one, and masked models hold sentence scores too: their class says what they are."""
    extra = {"bert.pooler.dense.weight": torch.ones(16, 16), "bert.pooler.dense.bias": torch.ones(16)}
    extra["bert.embeddings.position_ids"] = torch.arange(24)[None]
    pair = {"cls.seq_relationship.weight": torch.ones(2, 16), "cls.seq_relationship.bias": torch.ones(2)}
    for name, more, heads in (
        ("BertForTokenClassification", extra, ["tags"]),
        ("BertForMaskedLM-relu", extra | pair, ["lm"]),
    ):
        folder = folder_of(case(name))
        weights(folder, lambda w, m=more: {**w, **m})
        model = load_model(folder)
        assert list(model.heads) == heads
        save_model(model, tmp_path / f"{name}-out")
        assert_same(folder, tmp_path / f"{name}-out")


@pytest.mark.parametrize("name", ["BertForMaskedLM-relu", "RobertaForMaskedLM-pad", "AlbertForMaskedLM"])
def test_two_names_of_one_bias_must_agree(name: str, folder_of: Any, tmp_path: Path) -> None:
    """Where tables are tied, so are the two biases: both are written back, and a difference is refused."""
    folder = folder_of(case(name))
    stored = next(k for k in content(folder)[1] if k.endswith(("predictions.bias", "lm_head.bias")))
    copy = stored.removesuffix("bias") + "decoder.bias"
    weights(folder, lambda w: {**w, copy: w[stored]})
    save_model(load_model(folder), tmp_path / "out")
    assert_same(folder, tmp_path / "out")
    weights(folder, lambda w: {**w, copy: w[stored] + 1})
    refused(folder, "E-KEYS", f"{copy} differs from {stored}")


@pytest.mark.parametrize("name", ["RobertaForMaskedLM-pad", "XLMRobertaForMaskedLM", "AlbertForMaskedLM"])
def test_a_model_of_our_own_names_no_token_that_it_has_not(name: str, folder_of: Any, tmp_path: Path, hf: Any) -> None:
    """The reference library's defaults would be ids of another tokenizer."""
    model = load_model(folder_of(case(name)))
    family = model.origin.family  # type: ignore[union-attr]
    del vars(model)["origin"]
    save_model(model, tmp_path, family=family)
    theirs = getattr(hf, CONFIGS[family]).from_pretrained(tmp_path)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (None, None)


@pytest.mark.parametrize("name", ["BertForPreTraining", "AlbertForPreTraining"])
def test_two_heads_with_poolers_of_their_own_are_no_file_of_these_families(
    name: str, folder_of: Any, tmp_path: Path
) -> None:
    folder = folder_of(case(name))
    model, family = load_model(folder), content(folder)[0]["model_type"]
    model.add_heads({"class": ClassHead(outputs=3, hidden=True)}, Noise(1))
    with pytest.raises(ModeledgeError, match=r"two of its heads would be one weight, .*pooler") as caught:
        save_model(model, tmp_path / "out", family=family)
    assert caught.value.code == "E-OUTSIDE-FAMILY"
    save_model(model, tmp_path / "own")
    assert content(tmp_path / "own")[0]["model_type"] == "modeledge"
    assert set(load_model(tmp_path / "own").heads) == {"lm", "next", "class"}
    del model.heads["next"]
    save_model(model, tmp_path / "out")
    assert content(tmp_path / "out")[0]["model_type"] == family
    assert list(load_model(tmp_path / "out").heads) == ["lm", "class"]


def test_tags_and_classes_have_one_name_and_are_not_written_together(folder_of: Any, tmp_path: Path) -> None:
    model = load_model(folder_of(case("BertForTokenClassification")))
    model.add_heads({"class": ClassHead(outputs=3, hidden=True)}, Noise(1))
    with pytest.raises(ModeledgeError, match=r"one weight, classifier\.weight"):
        save_model(model, tmp_path / "out", family="bert")


def test_what_a_family_does_not_say_is_refused_by_name(folder_of: Any, tmp_path: Path) -> None:
    """A model of another shape names the difference, also where the page would not read what it wrote."""
    bert, roberta = load_model(folder_of(case("BertModel-eps"))), load_model(folder_of(case("RobertaModel-eps")))
    for model, family, words in (
        (bert, "roberta", "pad_token_id is -1"),
        (bert, "distilbert", "type"),
        (bert, "albert", "share is False"),
        (roberta, "bert", "offset is 2"),
        (load_model(folder_of(case("DistilBertModel-sines"))), "bert", "type_vocab_size is 0"),
    ):
        with pytest.raises(ModeledgeError) as caught:
            save_model(model, tmp_path / "out", family=family)
        assert words in str(caught.value)
    wide = load_model(folder_of(case("ElectraModel-wide")))
    wide.add_heads({"replaced": TokenHead(outputs=2, hidden=True)}, Noise(0))
    with pytest.raises(ModeledgeError, match="head 'replaced' would be lost or changed"):
        save_model(wide, tmp_path / "out", family="electra")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("AlbertModel-eps", {"num_hidden_groups": 2}, "num_hidden_groups is 2"),
        ("AlbertModel-eps", {"inner_group_num": 2}, "inner_group_num is 2"),
        ("AlbertModel-eps", {"position_embedding_type": "relative_key"}, "relative_key"),
        ("RobertaModel-eps", {"pad_token_id": None}, "pad_token_id is None"),
        ("ElectraModel-eps", {"is_decoder": True}, "is_decoder is True"),
        ("DistilBertModel-sines", {"hidden_size": 16}, "hidden_size"),
    ],
)
def test_what_is_not_computed_is_refused(name: str, change: Any, words: str, folder_of: Any) -> None:
    folder = folder_of(case(name))
    said(folder, **change)
    refused(folder, "E-CONFIG-KEY" if "hidden_size" in change else "E-CONFIG-VALUE", words)
