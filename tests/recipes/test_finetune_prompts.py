"""Prompts and prefixes through a recipe: rows of a length, what moves, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_finetune import model, recipe, rows, texts  # noqa: F401

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.recipe import FinetuneRecipe, StrategyRecipe
from modeledge.recipes.store.hub import find_model
from modeledge.recipes.tuning.finetune import make_ready
from modeledge.recipes.tuning.rows import split_rows
from modeledge.tasks import answers
from modeledge.tokens import Tokenizer

KINDS = {
    "prompt": {"length": 4},
    "prompt text": {"length": 4, "start": "text", "text": "red or green"},
    "prompt labels": {"length": 4, "start": "labels"},
    "p-tuning": {"length": 4},
    "prefix": {"length": 4},
    "adapter": {"reduction": 4},
    "mpt": {"length": 4},
}


def ready_of(asked: FinetuneRecipe, data: list[dict[str, object]]):
    parts = split_rows(asked, data, None, say=lambda line: None)
    return make_ready(asked, parts, find_model(asked.model, None, None), lambda line: None)


@pytest.fixture(scope="module")
def learned(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A model that knows 40 positions."""
    folder, tokenizer = tmp_path_factory.mktemp("learned"), Tokenizer.load(model)
    stack = Stack(
        layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Learned(length=40)
    )
    table = Tokens(vocab=tokenizer.vocab_size)
    save_model(Transformer(TransformerConfig(width=16, embed=table, encoder=stack)), folder)
    tokenizer.save(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_was_added_and_the_head_move(learned: Path, kind: str) -> None:
    strategy = StrategyRecipe(kind=kind.split()[0], options=KINDS[kind])
    asked = recipe(learned, strategies=(strategy,), train={"length": 36})
    data = [{"text": " ".join(texts(1) * 9), "label": "red"}, *rows(["red", "green"] * 20)]  # the first fills a row
    ready = ready_of(asked, data)
    before = {name: p.detach().clone() for name, p in ready.model.named_parameters()}
    for _ in range(3):
        record = ready.trainer.step()
    assert record.loss == record.loss
    moved = {name for name, p in ready.model.named_parameters() if not torch.equal(before[name], p)}
    assert any("leads." in name or "grafts." in name for name in moved)
    assert all("leads." in name or "grafts." in name or name.startswith("heads.class") for name in moved)
    ready.model.eval()
    assert len(answers(ready.task, ready.model, ready.held)) == len(ready.held)


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_no_room_is_said_before_the_first_step(learned: Path, kind: str) -> None:
    strategy = StrategyRecipe(kind=kind, options={"length": 5})
    with pytest.raises(ModeledgeError, match=r"E-POSITION.*36.*40.*5 of which") as caught:
        ready_of(recipe(learned, strategies=(strategy,), train={"length": 36}), rows(["a", "b"] * 20))
    assert "35" in str(caught.value)
    strategy = StrategyRecipe(kind=kind, options={"length": 40})
    with pytest.raises(ModeledgeError, match=r"E-POSITION.*at most 39"):
        ready_of(recipe(learned, strategies=(strategy,)), rows(["a", "b"] * 20))


def test_a_prompt_begins_with_the_words_of_its_recipe(learned: Path) -> None:
    table = load_model(learned).tokens.detach()
    tokenizer = Tokenizer.load(learned)
    for options, words in (({"start": "labels"}, "green red"), ({"start": "text", "text": "green red"}, "green red")):
        strategy = StrategyRecipe(kind="prompt", options={"length": 2, **options})
        ready = ready_of(recipe(learned, strategies=(strategy,)), rows(["red", "green"] * 20))
        first = tokenizer.encode("green" if options["start"] == "labels" else words).tolist()
        told = table[first].mean(0) if options["start"] == "labels" else table[first[0]]
        assert torch.allclose(ready.model.leads["default"].embedding.weight[0], told)
    for options in ({"start": "text"}, {"start": "labels"}):
        data = rows([0.5, 1.5] * 20) if options["start"] == "labels" else rows(["red", "green"] * 20)
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            ready_of(recipe(learned, strategies=(StrategyRecipe(kind="prompt", options=options),)), data)
