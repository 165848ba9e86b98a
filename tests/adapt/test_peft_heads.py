"""Files of PEFT with something at the head: LoRA at the pooler, a head without a task, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapt_small import refusal
from peft_small import library, our_scores, peft_opened, quiet, shaken, their_scores, theirs, written_once

from modeledge.adapt.blend import blend
from modeledge.adapt.graft import all_grafts
from modeledge.adapt.lora import Lora
from modeledge.adapt.parts import head_names
from modeledge.adapt.route import routed
from modeledge.model import Batch, Side
from modeledge.recipes.adapters.shelf import Adapters
from modeledge.recipes.adapters.write import save_adapter
from modeledge.recipes.store.open import open_model, open_plain

CLOSE = 2e-5  # fp32, scores of order 10
POOLER = "heads.class.dense"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(tmp_path_factory)


def made(base: str, folder: Path, config: str = "LoraConfig", seed: int = 0, **fields: Any) -> Any:
    """A model of transformers with an adapter of PEFT, every trained number drawn."""
    peft = library("peft")
    model = peft.get_peft_model(theirs(base, folder), getattr(peft, config)(**fields))
    for _ in range(seed + 1):
        shaken((n, p) for n, p in model.named_parameters() if p.requires_grad)
    return model.eval()


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ("LoraConfig", {"r": 2, "target_modules": "all-linear"}),
        ("LoraConfig", {"r": 2, "target_modules": ["query", "value", "dense"]}),
        ("LoraConfig", {"r": 2, "target_modules": ["query", "dense"], "use_dora": True}),
        ("LoraConfig", {"r": 2, "target_modules": ["pooler.dense"]}),
        ("LoHaConfig", {"r": 2, "target_modules": ["query", "pooler.dense"]}),
        (
            "IA3Config",
            {"target_modules": ["query", "pooler.dense", "output.dense"], "feedforward_modules": ["output.dense"]},
        ),
        ("VeraConfig", {"r": 4, "target_modules": ["pooler.dense"]}),
    ],
)
def test_what_stands_at_the_pooler_is_read_folded_and_given_back(
    bases: Any, tmp_path: Path, config: str, fields: dict[str, Any]
) -> None:
    folder = bases("bert")
    reference = made("bert", folder, config, task_type="SEQ_CLS", **fields)
    told = their_scores("bert", reference)
    reference.save_pretrained(tmp_path / "theirs")
    model = open_model(tmp_path / "theirs", quiet)
    assert POOLER in {path for path, _ in all_grafts(model)}
    assert (our_scores("bert", model) - told).abs().max() <= CLOSE
    assert not any(name.startswith(POOLER) for name in head_names(model)), "the adapter moves in its place"
    save_adapter(model, tmp_path / "ours", base=folder)
    assert (their_scores("bert", peft_opened("bert", folder, tmp_path / "ours")) - told).abs().max() <= CLOSE
    Lora().merge(model)
    assert not list(all_grafts(model))
    assert (our_scores("bert", model) - told).abs().max() <= CLOSE


def test_a_pooler_that_is_saved_whole_is_not_asked_for_an_adapter(bases: Any, tmp_path: Path) -> None:
    fields = {"r": 2, "target_modules": ["query", "dense"], "modules_to_save": ["pooler"]}
    reference = made("bert", bases("bert"), task_type="SEQ_CLS", **fields)
    reference.save_pretrained(tmp_path)
    model = open_model(tmp_path, quiet)
    assert (our_scores("bert", model) - their_scores("bert", reference)).abs().max() <= CLOSE


def test_a_shelf_swaps_what_stands_at_the_pooler(bases: Any, tmp_path: Path) -> None:
    told, model = {}, open_model(bases("bert"))
    shelf = Adapters(model)
    for number, (name, targets) in enumerate({"a": ["dense"], "b": ["dense", "query"], "c": ["query"]}.items()):
        reference = made("bert", bases("bert"), seed=number, task_type="SEQ_CLS", r=2, target_modules=targets)
        reference.save_pretrained(tmp_path / name)
        told[name] = their_scores("bert", reference)
        shelf.load(tmp_path / name, name, say=quiet)
    for name in "abcacba":
        shelf.use(name)
        assert (our_scores("bert", model) - told[name]).abs().max() <= CLOSE, name
    shelf.use()
    assert torch.equal(our_scores("bert", model), our_scores("bert", open_model(bases("bert"))))
    refusal("E-ADAPTER", shelf.blend, "sum", {"c": 1.0, "a": 1.0})
    shelf.use("a")
    refusal("E-ADAPTER", blend, model, "sum", {"a": 1.0})
    ids = torch.arange(2, 8)[None]
    batch = Batch(source=Side.of(ids), spans=torch.tensor([[0, 0, 6]]), indices=torch.tensor([0]))
    with torch.no_grad(), routed(model, batch, {0: "a"}):
        states = model(batch).last
        refusal("E-USAGE", model.heads["class"], states, batch)
    with torch.no_grad():
        assert (model(batch).last - states).abs().max() <= CLOSE


def test_a_head_without_a_task_is_that_of_the_class_that_it_stood_on(bases: Any, tmp_path: Path) -> None:
    hf, bare = library("transformers"), tmp_path / "bare"
    theirs("bert", bases("bert")).bert.save_pretrained(bare)
    for name, head in (("BertForSequenceClassification", "class"), ("BertForTokenClassification", "tags")):
        peft = library("peft")
        reference = getattr(hf, name).from_pretrained(bare, num_labels=4)
        config = peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=["classifier"])
        reference = peft.get_peft_model(reference, config).eval()
        shaken((n, p) for n, p in reference.named_parameters() if p.requires_grad)
        reference.save_pretrained(tmp_path / head)
        model = open_model(tmp_path / head, quiet)
        assert list(model.heads) == [head]
        if head == "class":
            assert (our_scores("bert", model) - their_scores("bert", reference)).abs().max() <= CLOSE


@pytest.mark.parametrize(
    ("base", "said", "fields"),
    [
        ("bert", "word_embeddings", {"task_type": "SEQ_CLS", "target_modules": ["query", "word_embeddings"]}),
        ("llama", "lm_head", {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "lm_head"]}),
        ("bert", "bias", {"task_type": "SEQ_CLS", "target_modules": ["query"], "bias": "all"}),
        ("bert", "bias", {"task_type": "SEQ_CLS", "target_modules": ["query"], "bias": "lora_only"}),
    ],
)
def test_what_no_adapter_of_ours_does_is_named(
    bases: Any, tmp_path: Path, base: str, said: str, fields: dict[str, Any]
) -> None:
    made(base, bases(base), r=2, **fields).save_pretrained(tmp_path)
    told = refusal("E-ADAPTER", open_model, tmp_path, quiet)
    assert said in told
    assert "merge it with the library that wrote it" in told
    assert isinstance(open_plain(bases(base)), torch.nn.Module)
