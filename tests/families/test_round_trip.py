"""A folder that was read and written untouched is the same: configuration as a value, tensors as bits."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families_small import CASES, Case, assert_same, content
from safetensors.torch import load_file, save_file

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.families.decoders import gpt2
from modeledge.families.encoders import bert
from modeledge.families.keys import Keys
from modeledge.families.rules import same_bits
from modeledge.model import (
    ClassHead,
)
from modeledge.seed import Noise

each_case = pytest.mark.parametrize("case", CASES, ids=str)


def edited(source: Path, target: Path, change: Any = None, tensors: Any = None) -> Path:
    """A copy of a model folder with another configuration or other tensors."""
    said, weights = content(source)
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text(json.dumps({**said, **(change or {})}))
    save_file(
        {k: v.clone().contiguous() for k, v in (tensors(weights) if tensors else weights).items()},
        target / "model.safetensors",
    )
    return target


@each_case
def test_an_untouched_model_is_written_as_it_was_read(saved: dict[str, Any], tmp_path: Path, case: Case) -> None:
    _, folder = saved[str(case)]
    save_model(load_model(folder), tmp_path / "again")
    assert_same(folder, tmp_path / "again")


@each_case
def test_the_reference_library_reads_what_we_wrote(saved: dict[str, Any], hf: Any, tmp_path: Path, case: Case) -> None:
    reference, folder = saved[str(case)]
    save_model(load_model(folder), tmp_path)
    again, told = getattr(hf, case.name).from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]
    state = again.state_dict()
    assert all(same_bits(tensor, state[name]) for name, tensor in reference.state_dict().items())


@each_case
def test_trained_weights_are_what_is_written(saved: dict[str, Any], hf: Any, tmp_path: Path, case: Case) -> None:
    reference, folder = saved[str(case)]
    model = load_model(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    save_model(model, tmp_path)
    again = getattr(hf, case.name).from_pretrained(tmp_path).state_dict()
    names = load_file(folder / "model.safetensors").keys() - {"cls.predictions.bias" if "untied" in str(case) else ""}
    names = {n for n in names if not (case.name == "BertModel" and "pooler" in n)}
    assert names
    assert all(torch.equal(again[name], 1.5 * reference.state_dict()[name]) for name in names)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("case", [CASES[3], CASES[7]], ids=str)
def test_dtypes_are_kept(saved: dict[str, Any], tmp_path: Path, case: Case, dtype: torch.dtype) -> None:
    folder = edited(
        saved[str(case)][1],
        tmp_path / "in",
        {"torch_dtype": str(dtype).removeprefix("torch.")},
        lambda w: {k: v.to(dtype) for k, v in w.items()},
    )
    model = load_model(folder)
    assert {p.dtype for p in model.parameters()} == {torch.float64 if dtype is torch.float64 else torch.float32}
    save_model(model, tmp_path / "out")
    assert_same(folder, tmp_path / "out")
    with torch.no_grad():
        model.tokens[1, 1] = 1 + 2.0**-20  # 21 bits: more than half precision holds
    save_model(model, tmp_path / "trained")
    again = load_model(tmp_path / "trained")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    kept = "float64" if dtype is torch.float64 else "float32"
    assert content(tmp_path / "trained")[0]["torch_dtype"] == kept


def test_ties_are_one_parameter_and_copies_are_written_back(saved: dict[str, Any], tmp_path: Path) -> None:
    for case, table, copied in (
        (CASES[7], "transformer.wte.weight", "lm_head.weight"),
        (CASES[1], "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
    ):
        folder = edited(saved[str(case)][1], tmp_path / case.name, None, lambda w, c=copied, t=table: {**w, c: w[t]})
        model = load_model(folder)
        assert model.heads["lm"].weights(model.table).data_ptr() == model.tokens.data_ptr()  # type: ignore[operator]
        save_model(model, tmp_path / f"{case.name}-out")
        assert_same(folder, tmp_path / f"{case.name}-out")
        torn = edited(folder, tmp_path / f"{case.name}-torn", None, lambda w, c=copied: {**w, c: w[c] + 1})
        with pytest.raises(ModeledgeError, match=f"{copied} differs"):
            load_model(torn)


@pytest.mark.parametrize("case", [CASES[2], CASES[3]], ids=str)
def test_either_bias_of_a_masked_head_alone_is_read(saved: dict[str, Any], tmp_path: Path, case: Case) -> None:
    folder = saved[str(case)][1]
    one, other = "cls.predictions.bias", "cls.predictions.decoder.bias"
    stored = load_file(folder / "model.safetensors")
    value = stored[other] if other in stored else stored[one]
    for name in (one, other):
        alone = edited(
            folder,
            tmp_path / name,
            None,
            lambda w, n=name: {k: v for k, v in w.items() if k not in (one, other)} | {n: value},
        )
        model = load_model(alone)
        assert torch.equal(model.heads["lm"].bias, value)  # type: ignore[arg-type]
        save_model(model, tmp_path / f"{name}-out")
        assert_same(alone, tmp_path / f"{name}-out")


def test_old_files_with_masks_prefixes_and_old_names(saved: dict[str, Any], tmp_path: Path) -> None:
    def masks(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        bare = {k.removeprefix("transformer."): v for k, v in w.items()}
        return bare | {
            "h.0.attn.bias": torch.ones(1, 1, 24, 24).tril().bool(),
            "h.1.attn.masked_bias": torch.tensor(-1e4),
        }

    def gammas(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        old = {
            k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
            for k, v in w.items()
        }
        return old | {"bert.embeddings.position_ids": torch.arange(24)[None]}

    for case, change in ((CASES[7], masks), (CASES[3], gammas)):
        folder = saved[str(case)][1]
        old = edited(folder, tmp_path / case.name, None, change)
        model, new = load_model(old), load_model(folder)
        assert all(same_bits(a, b) for a, b in zip(model.parameters(), new.parameters(), strict=True))
        assert model.hf_names == new.hf_names
        save_model(model, tmp_path / f"{case.name}-out")
        assert_same(old, tmp_path / f"{case.name}-out")


def test_sites_carry_the_names_of_the_checkpoint(saved: dict[str, Any]) -> None:
    model = load_model(saved[str(CASES[7])][1])
    assert [(s.hf_name, s.transposed) for s in model.sites("key")] == [
        (f"transformer.h.{n}.attn.c_attn", True) for n in (0, 1)
    ]
    assert model.sites("key")[0].rows == slice(16, 32)
    bare = load_model(saved[str(CASES[0])][1])
    assert bare.sites("down")[1].hf_name == "encoder.layer.1.output.dense"


def test_a_copy_of_a_model_remembers_its_file(saved: dict[str, Any], tmp_path: Path) -> None:
    folder = saved[str(CASES[3])][1]
    save_model(copy.deepcopy(load_model(folder)), tmp_path)
    assert_same(folder, tmp_path)


def test_a_pretrained_body_takes_a_new_head(saved: dict[str, Any], hf: Any, tmp_path: Path) -> None:
    """The old head goes along, the pooler of the new one replaces the one that was kept, and labels are counted."""
    folder = edited(saved[str(CASES[3])][1], tmp_path / "masked", {"architectures": ["BertForMaskedLM"]})
    model = load_model(folder)
    assert list(model.heads) == ["lm"]
    model.add_heads({"class": ClassHead(outputs=5, hidden=True)}, Noise(1))
    save_model(model, tmp_path)
    said, weights = content(tmp_path)
    assert said["architectures"] == ["BertForSequenceClassification", "BertForMaskedLM"]
    assert torch.equal(weights["bert.pooler.dense.weight"], model.heads["class"].dense.weight)  # type: ignore[union-attr]
    again = load_model(tmp_path)
    assert {n: p.shape for n, p in again.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    theirs = hf.BertForSequenceClassification.from_pretrained(tmp_path)
    assert theirs.config.num_labels == 5
    assert torch.equal(theirs.classifier.weight, model.heads["class"].output.weight)  # type: ignore[union-attr]


def test_a_bare_body_that_gets_a_head_gets_its_prefix(saved: dict[str, Any], hf: Any, tmp_path: Path) -> None:
    model = load_model(saved[str(CASES[0])][1])
    model.add_heads({"class": ClassHead(outputs=2, hidden=True)}, Noise(1))
    save_model(model, tmp_path)
    assert all(name.startswith(("bert.", "classifier.")) for name in content(tmp_path)[1])
    _, told = hf.BertForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]


def test_old_counts_of_labels_do_not_contradict_new_ones(saved: dict[str, Any], tmp_path: Path) -> None:
    def counts(folder: Path) -> dict[str, Any]:
        names = ("id2label", "label2id", "num_labels", "_num_labels")
        return {k: v for k, v in content(folder)[0].items() if k in names}

    for case, head in (
        (CASES[4], ClassHead(outputs=5, hidden=True)),
        (CASES[9], ClassHead(outputs=5, pool="last", bias=False)),
    ):
        legacy = {"id2label": None, "label2id": None, "num_labels": 3, "_num_labels": 3}
        folder = edited(saved[str(case)][1], tmp_path / case.name, legacy)
        model = load_model(folder)
        save_model(model, tmp_path / f"{case.name}-same")
        assert counts(tmp_path / f"{case.name}-same") == counts(folder)
        del model.heads["class"]
        model.add_heads({"class": head}, Noise(0))
        save_model(model, tmp_path / f"{case.name}-new")
        assert counts(tmp_path / f"{case.name}-new").keys() == {"id2label", "label2id"}
        assert len(counts(tmp_path / f"{case.name}-new")["id2label"]) == 5


@pytest.mark.parametrize(
    ("name", "row", "undeclared"),
    [("BertConfig", bert.KEYS, ()), ("GPT2Config", gpt2.KEYS, ("classifier_dropout",))],
)
def test_what_is_left_out_means_what_the_reference_library_takes(
    name: str, row: Keys, undeclared: tuple[str, ...], hf: Any
) -> None:
    """Every default, and every key that the library can write, is ours too; some it reads without declaring them."""
    theirs = getattr(hf, name)()
    known = [key for key in row.shape if key.name not in undeclared]
    assert {key.name: key.default for key in known} == {key.name: getattr(theirs, key.name) for key in known}
    written = {k: v for k, v in theirs.to_dict().items() if k not in ("dtype", "torch_dtype")}
    assert row.read(written) == row.read({})
