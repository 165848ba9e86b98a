"""Prompts and prefixes in files: peft opens ours, ours opens peft's, with the same scores at every token; where peft
would compute something else it refuses the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapt_small import refusal
from peft_small import IDS, TASKS, library, our_scores, peft_opened, quiet, shaken, theirs, written_once

from modeledge.adapt import STRATEGIES
from modeledge.model.backbone import Backbone
from modeledge.recipes.adapters.fold import merge
from modeledge.recipes.adapters.shelf import Adapters
from modeledge.recipes.adapters.write import save_adapter
from modeledge.recipes.store.open import open_model
from modeledge.seed import Noise

CLOSE = 2e-5  # fp32, scores of order 10
BASES = ("bert", "gpt2", "neox", "llama", "t5")
OURS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("prompt", {"length": 3}),
    ("p-tuning", {"length": 2, "hidden": 5}),
    ("p-tuning", {"length": 2, "hidden": 5, "encoder": "mlp"}),
    ("prefix", {"length": 3}),
    ("prefix", {"length": 2, "projection": True, "hidden": 6}),
    ("mpt", {"length": 2, "tasks": 3, "ranks": 2, "task": 1}),
)
THEIRS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PromptTuningConfig", {}),
    ("PromptEncoderConfig", {"encoder_hidden_size": 5, "encoder_reparameterization_type": "LSTM"}),
    ("PromptEncoderConfig", {"encoder_hidden_size": 5, "encoder_reparameterization_type": "MLP"}),
    ("PrefixTuningConfig", {}),
    ("PrefixTuningConfig", {"prefix_projection": True, "encoder_hidden_size": 6}),
    ("MultitaskPromptTuningConfig", {"num_tasks": 3, "num_ranks": 2}),
)


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(tmp_path_factory)


def led(base: str, folder: Path, kind: str, **fields: Any) -> Backbone:
    """A model with prompts or prefixes whose numbers are all drawn."""
    if kind != "prefix" and base == "bert":
        fields = {"pooled": "prompt", **fields}
    model = open_model(folder)
    STRATEGIES[kind](**fields).attach(model, Noise(1))
    shaken((n, p) for n, p in model.named_parameters() if n.startswith("leads."))
    return model


def their_scores(base: str, model: Any) -> torch.Tensor:
    """Their logits of the tokens alone: a decoder's begin with those of a prompt's vectors."""
    more: dict[str, Any] = {"decoder_input_ids": IDS[:, :4]} if base == "t5" else {}
    if "MULTITASK" in str(model.active_peft_config.peft_type):
        more = {"task_ids": torch.full((len(IDS),), 1)}
        if base == "t5":  # theirs shifts the answer itself here, and leaves decoder_input_ids out
            more["labels"] = torch.cat([IDS[:, 1:4], IDS[:, :1]], 1)
            more["decoder_input_ids"] = None
    with torch.no_grad():
        logits = model(input_ids=IDS, attention_mask=torch.ones_like(IDS), **more).logits
    return logits if base in ("bert", "t5") else logits[:, -IDS.shape[1] :]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("kind", "fields"), OURS, ids=[f"{k}-{n}" for n, (k, _) in enumerate(OURS)])
def test_peft_opens_ours(bases: Any, tmp_path: Path, base: str, kind: str, fields: dict[str, Any]) -> None:
    pytest.importorskip("peft")
    folder = bases(base)
    model = led(base, folder, kind, **fields)
    plain, told = our_scores(base, open_model(folder)), our_scores(base, model)
    assert (plain - told).abs().max() > 1e-3, "it changes nothing"
    save_adapter(model, tmp_path, base=folder)
    again = open_model(tmp_path, quiet)
    assert (our_scores(base, again) - told).abs().max() <= CLOSE
    save_adapter(again, tmp_path / "twice", base=folder)
    assert (our_scores(base, open_model(tmp_path / "twice", quiet)) - told).abs().max() <= CLOSE
    if base == "t5" and kind in ("prefix", "mpt"):
        return  # a prefix has three sets, which peft refuses (below); its multitask prompts read no decoder_input_ids
    assert (their_scores(base, peft_opened(base, folder, tmp_path)) - told).abs().max() <= CLOSE


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("config", "fields"), THEIRS, ids=[f"{k}-{n}" for n, (k, _) in enumerate(THEIRS)])
def test_ours_opens_pefts(bases: Any, tmp_path: Path, base: str, config: str, fields: dict[str, Any]) -> None:
    peft, folder = library("peft"), bases(base)
    if base == "t5" and config == "MultitaskPromptTuningConfig":
        fields = {**fields, "num_transformer_submodules": 1}
    made = getattr(peft, config)(task_type=TASKS.get(base, "CAUSAL_LM"), num_virtual_tokens=3, **fields)
    reference = peft.get_peft_model(theirs(base, folder), made).eval()
    shaken((n, p) for n, p in reference.named_parameters() if p.requires_grad)
    reference.save_pretrained(tmp_path)
    if base == "t5" and config == "PrefixTuningConfig":
        assert "one an attention" in refusal("E-ADAPTER", open_model, tmp_path, quiet)
        return
    model = open_model(tmp_path, quiet)
    if config == "MultitaskPromptTuningConfig":
        model.leads["default"].task = 1
        if base == "t5":
            return
    told = their_scores(base, reference)
    assert (our_scores(base, model) - told).abs().max() <= CLOSE
    save_adapter(model, tmp_path / "ours", base=folder)
    assert (their_scores(base, peft_opened(base, folder, tmp_path / "ours")) - told).abs().max() <= CLOSE


@pytest.mark.parametrize(
    ("base", "kind", "fields"),
    [
        ("t5", "prefix", {"length": 2}),
        ("bert", "prompt", {"length": 2, "pooled": "token"}),
        ("gpt2", "prompt", {"length": 2, "pooled": "prompt"}),
        ("bert", "adapter", {"size": 4}),
    ],
)
def test_peft_refuses_what_it_has_not_and_says_what_to_do(
    bases: Any, tmp_path: Path, base: str, kind: str, fields: dict[str, Any]
) -> None:
    pytest.importorskip("peft")
    folder = bases(base)
    model = open_model(folder)
    STRATEGIES[kind](**fields).attach(model, Noise(1))
    shaken((n, p) for n, p in model.named_parameters() if ".default" in n)
    told = our_scores(base, model)
    save_adapter(model, tmp_path, base=folder)
    with pytest.raises(KeyError, match="a method that PEFT does not have: open it with modeledge"):
        peft_opened(base, folder, tmp_path)
    assert torch.equal(our_scores(base, open_model(tmp_path, quiet)), told)


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("base", ["bert", "gpt2", "t5"])
def test_bottleneck_adapters_are_written_and_read(bases: Any, tmp_path: Path, base: str, placement: str) -> None:
    model = open_model(bases(base))
    STRATEGIES["adapter"](placement=placement, size=4, activation="relu", scale=2.0).attach(model, Noise(1))
    shaken((n, p) for n, p in model.named_parameters() if ".grafts." in n)
    told = our_scores(base, model)
    assert (told - our_scores(base, open_model(bases(base)))).abs().max() > 1e-3
    save_adapter(model, tmp_path, base=bases(base))
    assert torch.equal(our_scores(base, open_model(tmp_path, quiet)), told)


def test_a_shelf_holds_all_kinds(bases: Any, tmp_path: Path) -> None:
    folder, told = bases("llama"), {}
    asked = {"prompt": {"length": 2}, "prefix": {"length": 3}, "lora": {"rank": 2}, "adapter": {"size": 4}}
    for kind, fields in asked.items():
        model = open_model(folder)
        STRATEGIES[kind](**fields).attach(model, Noise(1))
        shaken((n, p) for n, p in model.named_parameters() if ".default" in n)
        save_adapter(model, tmp_path / kind, base=folder)
        told[kind] = our_scores("llama", model)
    model = open_model(folder)
    plain = our_scores("llama", model)
    shelf = Adapters(model)
    for kind in asked:
        shelf.load(tmp_path / kind, kind, say=quiet)
    for kind in (*asked, *reversed(asked)):
        shelf.use(kind)
        assert torch.equal(our_scores("llama", model), told[kind]), kind
    shelf.use()
    assert torch.equal(our_scores("llama", model), plain)
    shelf.drop("prefix")
    shelf.drop("prompt")
    assert not len(model.leads)
    shelf.use("lora")
    assert torch.equal(our_scores("llama", model), told["lora"])
    assert "only LoRAs" in refusal("E-ADAPTER", shelf.blend, "sum", {"lora": 1.0, "adapter": 1.0})


def test_what_is_wrong_is_refused(bases: Any, tmp_path: Path) -> None:
    folder = bases("gpt2")
    save_adapter(led("gpt2", folder, "prompt", length=3), tmp_path, base=folder)
    refusal("E-MERGE", merge, tmp_path, tmp_path / "out", say=quiet)
    path = tmp_path / "adapter_config.json"
    said = json.loads(path.read_text())
    for change, code in (
        ({"num_virtual_tokens": 4}, "E-KEYS"),
        ({"num_virtual_tokens": 0}, "E-CONFIG-VALUE"),
        ({"num_virtual_tokens": 40}, "E-POSITION"),
        ({"peft_type": "CPT"}, "E-ADAPTER"),
        ({"cpt_mask": [1]}, "E-CONFIG-KEY"),
    ):
        path.write_text(json.dumps({**said, **change}))
        refusal(code, open_model, tmp_path, quiet)
