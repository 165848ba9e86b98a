"""The folder of an adapter that PEFT wrote, as the verbs take it: without tokenizer, task and hash of its base."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from adapt_small import refusal
from peft_small import library, shaken
from test_adapter_runs import ROWS, quiet, recipe, run, texts
from typer.testing import CliRunner

from modeledge.adapt.graft import adapters_on
from modeledge.cli import app
from modeledge.recipes.adapters.fold import merge
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import StrategyRecipe
from modeledge.recipes.store.open import open_plain, tokenizer_of
from modeledge.tokens import train_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of PEFT over a tiny classifier, which has its tokenizer beside it."""
    peft, hf, folder = library("peft"), library("transformers"), tmp_path_factory.mktemp("theirs")
    tokenizer = train_tokenizer(texts(200), kind="wordpiece", vocab_size=320)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    torch.manual_seed(0)
    model = hf.BertForSequenceClassification(hf.BertConfig(vocab_size=tokenizer.vocab_size, **sizes))
    model.save_pretrained(folder / "base")
    tokenizer.save(folder / "base")
    model = hf.BertForSequenceClassification.from_pretrained(folder / "base")
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=2))
    shaken((n, p) for n, p in model.named_parameters() if p.requires_grad)
    model.save_pretrained(folder / "adapter")
    assert not list((folder / "adapter").glob("*token*"))
    return folder / "adapter"


def test_its_tokenizer_is_that_of_its_base(theirs: Path, tmp_path: Path) -> None:
    base = theirs.parent / "base"
    assert tokenizer_of(theirs).fingerprint == tokenizer_of(base).fingerprint
    refusal("E-NO-FILE", tokenizer_of, tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/nowhere/at/all"}')
    refusal("E-BASE", tokenizer_of, tmp_path)
    assert tokenizer_of(tmp_path, base).fingerprint == tokenizer_of(base).fingerprint


def test_it_is_trained_on(theirs: Path, tmp_path: Path) -> None:
    asked = recipe(theirs).model_copy(update={"strategies": (StrategyRecipe(kind="lora"),)})
    run(asked, tmp_path / "run")
    model = Model.load(tmp_path / "run", say=quiet)
    assert adapters_on(model.transformer) == ["default"]
    assert len(model.predict(ROWS[:4], say=quiet)) == 4


def test_it_is_folded_and_asked(theirs: Path, tmp_path: Path) -> None:
    model = Model.load(theirs, say=quiet)
    whole = Model.load(merge(theirs, tmp_path / "whole", say=quiet), say=quiet)
    both = [one.embed(["red one", "two blue"], say=quiet) for one in (model, whole)]
    assert abs(both[0] - both[1]).max() < 1e-5
    refusal("E-USAGE", model.predict, ROWS[:4], say=quiet)


def test_what_stands_at_the_head_is_not_lost_under_a_fresh_one(theirs: Path, tmp_path: Path) -> None:
    peft, hf, base = library("peft"), library("transformers"), theirs.parent / "base"
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "dense"])
    model = peft.get_peft_model(hf.BertForSequenceClassification.from_pretrained(base), config)
    shaken((n, p) for n, p in model.named_parameters() if p.requires_grad)
    model.save_pretrained(tmp_path / "adapter")
    asked = recipe(tmp_path / "adapter").model_copy(update={"strategies": (StrategyRecipe(kind="lora"),)})
    assert "merge" in refusal("E-USAGE", run, asked, tmp_path / "run")
    whole = Model.load(merge(tmp_path / "adapter", tmp_path / "whole", say=quiet), say=quiet).transformer
    one, two = (m.heads["class"].dense.weight for m in (whole, open_plain(base)))
    assert not torch.equal(one, two), "the pooler has taken its adapter in"
    run(recipe(tmp_path / "whole", allow=("fresh-heads",)), tmp_path / "run")


def test_the_command_line_takes_it(theirs: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    with rows.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(ROWS)
    options = ["epochs=1", "train.threads=1", "train.length=32", "train.precision=fp32"]
    words = ["finetune", str(theirs), str(rows), "--strategy", "lora", "--out", str(tmp_path / "run"), *options]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
