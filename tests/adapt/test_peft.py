"""Adapters in files: peft opens ours, ours opens peft's, with the same scores; what does not fit is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapt_small import refusal
from peft_small import (
    BASES,
    VOCAB,
    adapted,
    our_scores,
    peft_adapted,
    peft_opened,
    quiet,
    shaken,
    their_scores,
    theirs,
    written_once,
)
from safetensors.torch import load_file, save_file

from modeledge.adapt.peft import PAGES
from modeledge.errors import ModeledgeError
from modeledge.recipes.adapters.write import save_adapter
from modeledge.recipes.store.open import open_model

CLOSE = 2e-5  # fp32, scores of order 10
OURS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lora", {"rank": 2, "alpha": 3.0}),
    ("lora", {"rank": 3, "rslora": True, "sites": "query,value,down"}),
    ("lora", {"rank": 2, "rank_pattern": {"*:value": 4}, "alpha_pattern": {"*.0.*:query": 5.0}}),
    ("dora", {"rank": 2}),
    ("dora", {"rank": 2, "sites": "query,up"}),
    ("adalora", {"rank": 3, "target": 2}),
    ("loha", {"rank": 2}),
    ("lokr", {"rank": 2, "sites": "attention_output,down"}),
    ("ia3", {}),
    ("vera", {"rank": 5, "sites": "value,down"}),
    ("vera", {"rank": 4}),
)
THEIRS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("LoraConfig", {"r": 3, "lora_alpha": 7}),
    ("LoraConfig", {"r": 2, "use_rslora": True}),
    ("LoraConfig", {"r": 2, "use_dora": True}),
    ("AdaLoraConfig", {"init_r": 3, "target_r": 2, "total_step": 10, "r": 2}),
    ("LoHaConfig", {"r": 2, "alpha": 3}),
    ("IA3Config", {}),
    ("VeraConfig", {"r": 6}),
)
MAPS = {
    "bert": ["query", "value", "output.dense"],
    "gpt2": ["c_attn", "mlp.c_proj"],
    "neox": ["query_key_value", "dense_4h_to_h"],
    "llama": ["q_proj", "v_proj", "down_proj"],
    "t5": ["q", "v", "wo"],
}
DOWN = {"bert": ["intermediate.dense"], "gpt2": ["mlp.c_proj"], "neox": ["dense_4h_to_h"], "llama": ["down_proj"]}


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(tmp_path_factory)


def test_every_page_is_walked() -> None:
    assert PAGES.keys() == {"LORA", "ADALORA", "LOHA", "LOKR", "IA3", "VERA"}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("kind", "fields"), OURS, ids=[f"{k}-{n}" for n, (k, _) in enumerate(OURS)])
def test_peft_opens_ours(bases: Any, tmp_path: Path, base: str, kind: str, fields: dict[str, Any]) -> None:
    pytest.importorskip("peft")
    if base == "gpt2" and kind in ("loha", "lokr"):
        pytest.skip("peft has neither on GPT-2's maps (Conv1D)")
    folder = bases(base)
    model = adapted(open_model(folder), kind, **fields)
    plain, told = our_scores(base, open_model(folder)), our_scores(base, model)
    assert (plain - told).abs().max() > 1e-3, "the adapter changes nothing"
    save_adapter(model, tmp_path, base=folder)
    assert (our_scores(base, open_model(tmp_path, quiet)) - told).abs().max() <= CLOSE
    assert (their_scores(base, peft_opened(base, folder, tmp_path)) - told).abs().max() <= CLOSE


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("config", "fields"), THEIRS, ids=[f"{k}-{n}" for n, (k, _) in enumerate(THEIRS)])
def test_ours_opens_pefts_and_gives_it_back(
    bases: Any, tmp_path: Path, base: str, config: str, fields: dict[str, Any]
) -> None:
    if base == "gpt2" and config == "LoHaConfig":
        pytest.skip("peft has it not on GPT-2's maps (Conv1D)")
    folder = bases(base)
    if config == "IA3Config":
        fields = {"feedforward_modules": [m for m in MAPS[base] if m in (*DOWN.get(base, ()), "wo", "output.dense")]}
    reference = peft_adapted(base, folder, config, target_modules=MAPS[base], **fields)
    told = their_scores(base, reference)
    reference.save_pretrained(tmp_path / "theirs")
    model = open_model(tmp_path / "theirs", quiet)
    assert (our_scores(base, model) - told).abs().max() <= CLOSE
    save_adapter(model, tmp_path / "ours", base=folder)
    before = load_file(tmp_path / "theirs" / "adapter_model.safetensors")
    after = load_file(tmp_path / "ours" / "adapter_model.safetensors")
    assert before.keys() <= after.keys() | {n for n in before if "classifier" in n}
    assert all(torch.equal(before[n], after[n]) for n in before.keys() & after.keys()), "numbers have changed"
    assert (their_scores(base, peft_opened(base, folder, tmp_path / "ours")) - told).abs().max() <= CLOSE


def test_lokr_of_pefts(bases: Any, tmp_path: Path) -> None:
    for fields in ({"r": 2}, {"r": 1, "decompose_both": True, "decompose_factor": 4}):
        reference = peft_adapted("llama", bases("llama"), "LoKrConfig", target_modules=MAPS["llama"], alpha=3, **fields)
        reference.save_pretrained(tmp_path / str(fields["r"]))
        model = open_model(tmp_path / str(fields["r"]), quiet)
        assert (our_scores("llama", model) - their_scores("llama", reference)).abs().max() <= CLOSE


@pytest.mark.parametrize("kind", ["lokr"])
def test_what_a_map_cannot_hold_is_refused(bases: Any, tmp_path: Path, kind: str) -> None:
    model = adapted(open_model(bases("neox")), kind, rank=2, sites="value")
    assert "cannot be cut" in refusal("E-ADAPTER", save_adapter, model, tmp_path, base=bases("neox"))


def test_round_trip_is_bitwise(bases: Any, tmp_path: Path) -> None:
    """What is read is what was written, also where three sites were one product in the file."""
    for base in ("gpt2", "llama"):
        model = adapted(open_model(bases(base)), "lora", rank=2)
        save_adapter(model, tmp_path / base, base=bases(base))
        again, before = dict(open_model(tmp_path / base).named_parameters()), dict(model.named_parameters())
        assert again.keys() == before.keys()
        assert all(torch.equal(again[name], before[name]) for name in before)


def test_trained_heads_are_never_lost(bases: Any, tmp_path: Path) -> None:
    model = adapted(open_model(bases("bert")), "lora", rank=2)
    shaken((n, p) for n, p in model.named_parameters() if n.startswith("heads."))
    shaken((n, p) for n, p in model.named_parameters() if n == "tower.blocks.1.attention_norm.weight")
    told = our_scores("bert", model)
    save_adapter(model, tmp_path, base=bases("bert"))
    assert (our_scores("bert", open_model(tmp_path)) - told).abs().max() <= CLOSE
    said = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {"classifier", "bert.pooler.dense"} <= set(said["modules_to_save"])
    pytest.importorskip("peft")
    assert (their_scores("bert", peft_opened("bert", bases("bert"), tmp_path)) - told).abs().max() <= CLOSE


def test_a_head_of_pefts_comes_along(bases: Any, tmp_path: Path) -> None:
    hf = pytest.importorskip("transformers")
    bare = theirs("bert", bases("bert")).bert
    bare.save_pretrained(tmp_path / "bare")
    for labels in (4, 2):
        peft = pytest.importorskip("peft")
        reference = hf.BertForSequenceClassification.from_pretrained(tmp_path / "bare", num_labels=labels)
        reference = peft.get_peft_model(reference, peft.LoraConfig(task_type="SEQ_CLS", r=2)).eval()
        shaken((n, p) for n, p in reference.named_parameters() if p.requires_grad)
        reference.save_pretrained(tmp_path / str(labels))
        model = open_model(tmp_path / str(labels), quiet)
        told = their_scores("bert", reference)
        assert told.shape[1] == labels
        assert (our_scores("bert", model) - told).abs().max() <= CLOSE


# ---- what does not fit


@pytest.fixture
def spoilt(bases: Any, tmp_path: Path) -> Callable[..., Path]:
    model = adapted(open_model(bases("llama")), "lora", rank=2, sites="query,down")
    save_adapter(model, tmp_path, base=bases("llama"))
    path = tmp_path / "adapter_config.json"

    def spoil(change: Callable[[dict[str, Any]], Any] | None = None, **said: Any) -> Path:
        path.write_text(json.dumps({**json.loads(path.read_text()), **said}))
        if change is not None:
            from safetensors import safe_open

            with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
                notes = file.metadata()
            tensors = load_file(tmp_path / "adapter_model.safetensors")
            change(tensors)
            save_file(tensors, tmp_path / "adapter_model.safetensors", notes)
        return tmp_path

    return spoil


def test_an_adapter_of_another_base_names_both_hashes(bases: Any, spoilt: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    model = theirs("llama", bases("llama"))
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    model.save_pretrained(other)
    told = refusal("E-BASE", open_model, spoilt(base_model_name_or_path=str(other)), quiet)
    assert told.count("SHA-256") == 1
    assert len([word for word in told.replace(";", " ").split() if re.fullmatch("[0-9a-f]{64}", word)]) == 2


def test_a_base_that_is_gone_is_named(spoilt: Any) -> None:
    assert "nowhere" in refusal("E-BASE", open_model, spoilt(base_model_name_or_path="/nowhere/at/all"), quiet)
    refusal("E-BASE", open_model, spoilt(base_model_name_or_path=None), quiet)


PLACE = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop(f"{PLACE}.lora_B.weight"),
        lambda t: [t.pop(f"{PLACE}.lora_{x}.weight") for x in "AB"],
        lambda t: t.update({f"{PLACE}.lora_C.weight": torch.ones(2)}),
        lambda t: t.update({"base_model.model.model.nothing.weight": torch.ones(2)}),
        lambda t: t.update({"stray": torch.ones(2)}),
        lambda t: t.update({f"{PLACE}.lora_A.weight": torch.ones(2, 9)}),
        lambda t: t.update({f"{PLACE}.lora_A.weight": torch.ones(2, 16, dtype=torch.int32)}),
        lambda t: t.update({"base_model.model.lm_head.weight": torch.ones(2, 9)}),
        lambda t: t.clear(),
    ],
    ids=["one", "both", "third", "stranger", "stray", "shape", "integers", "head", "none"],
)
def test_tensors_that_do_not_fit(spoilt: Any, change: Any) -> None:
    refusal("E-KEYS", open_model, spoilt(change), quiet)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("E-ADAPTER", {"peft_type": "XLORA"}),
        ("E-ADAPTER", {"peft_type": 3}),
        ("E-ADAPTER", {"bias": "all"}),
        ("E-ADAPTER", {"init_lora_weights": "pissa"}),
        ("E-CONFIG-KEY", {"use_qalora": True}),
        ("E-CONFIG-KEY", {"alora_invocation_tokens": [1, 2]}),
        ("E-CONFIG-KEY", {"layer_replication": [[0, 1]]}),
        ("E-CONFIG-KEY", {"what_is_this": 1}),
        ("E-CONFIG-VALUE", {"r": -1}),
        ("E-CONFIG-VALUE", {"r": "two"}),
        ("E-CONFIG-VALUE", {"target_modules": "*(("}),
        ("E-CONFIG-VALUE", {"target_modules": 3}),
        ("E-CONFIG-UNSAFE", {"auto_mapping": {"base_model_class": "X", "parent_library": "os"}}),
        ("E-CONFIG-UNSAFE", {"auto_map": {"AutoModel": "evil.Model"}}),
        ("E-KEYS", {"r": 5}),
        ("E-KEYS", {"target_modules": ["q_proj", "down_proj", "v_proj"]}),
    ],
)
def test_configurations_that_ask_for_what_is_not_done(spoilt: Any, code: str, said: dict[str, Any]) -> None:
    refusal(code, open_model, spoilt(**said), quiet)


def test_files_that_are_cut_or_pickled(spoilt: Any) -> None:
    folder = spoilt()
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    refusal("E-SAFETENSORS", open_model, folder, quiet)
    path.unlink()
    refusal("E-NO-FILE", open_model, folder, quiet)
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04")
    assert "safetensors" in refusal("E-UNSAFE-FORMAT", open_model, folder, quiet)


def test_an_unknown_key_that_asks_for_nothing_passes(spoilt: Any) -> None:
    open_model(spoilt(some_new_switch=False, another=None, a_list=[]), quiet)


def test_a_body_with_more_than_its_base_is_refused(bases: Any, tmp_path: Path) -> None:
    from modeledge.adapt import STRATEGIES
    from modeledge.seed import Noise

    model = adapted(open_model(bases("llama")), "lora", rank=2)
    STRATEGIES["layers"]().attach(model, Noise(0))
    with pytest.raises(ModeledgeError) as caught:
        save_adapter(model, tmp_path, base=bases("llama"))
    assert caught.value.code in ("E-ADAPTER", "E-OUTSIDE-FAMILY")
    assert model.config.table.vocab == VOCAB
