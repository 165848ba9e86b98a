"""Whole runs of tasks that write or rank: trained, saved, loaded, asked and marked again with the same figures."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modeledge.families import load_model, save_model
from modeledge.model import (
    Attention,
    FeedForward,
    Learned,
    LMHead,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.seed import Noise
from modeledge.tokens import train_tokenizer

SIDES = {"decoder": ("decoder",), "both": ("encoder", "decoder"), "encoder": ("encoder",)}


def saved(folder: Path, shape: str) -> Path:
    tokenizer = train_tokenizer(["a b c d e f g h"] * 4, vocab_size=270)
    stack = Stack(
        layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Learned(length=32)
    )
    model = Transformer(
        TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), **dict.fromkeys(SIDES[shape], stack))
    )
    if shape != "encoder":
        model.add_heads({"lm": LMHead(tie=False)}, Noise(3))
    save_model(model, folder)
    tokenizer.save(folder)
    return folder


def rows(count: int) -> list[dict[str, Any]]:
    lots = random.Random(0)
    words = sorted({"".join(lots.choices("abcdefgh", k=4)) for _ in range(2 * count)})[:count]
    return [{"text": word, "other": word[::-1]} for word in words]


def run(
    model: Path, folder: Path, task: str, rate: float = 3e-3, say: Callable[[str], None] | None = None, **more: Any
) -> dict[str, Any]:
    numbers = {"batch": 8, "length": 24, "threads": 1, "precision": "fp32", "learning_rate": rate, "judge_every": 5}
    asked = FinetuneRecipe(
        model=str(model), data="rows from memory", task=task, epochs=1.0, train=FinetuneTrain(**numbers), **more
    )
    return finetune(asked, folder, rows=rows(40), say=say or (lambda line: None))


@pytest.mark.parametrize("shape", ["decoder", "both"])
def test_a_text_task_from_rows_to_answers(shape: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", shape)
    options = {"max_target": 8, "beams": 2}
    results = run(model, tmp_path / "run", "translate", text="text", label="other", options=options)
    loss = results["scores"]["nats_per_token"]
    assert loss["low"] <= loss["value"] <= loss["high"]
    assert not loss["greater_is_better"]
    asked = Model.load(tmp_path / "run")
    told = asked.predict([{"text": "abcd"}, {"text": "hg"}], say=lambda line: None)
    assert [set(row) for row in told] == [{"prediction"}] * 2
    assert asked.predict(["abcd"], say=lambda line: None) == told[:1]
    again = asked.evaluate(rows(40), say=lambda line: None)["scores"]["nats_per_token"]
    assert again["n"] == 40


def test_the_head_of_a_language_model_is_kept(tmp_path: Path) -> None:
    """A text task goes on with the head that pre-training made; a head of classes would start afresh."""
    model = saved(tmp_path / "model", "decoder")
    said: list[str] = []
    more: dict[str, Any] = {"options": {"max_target": 8}, "allow": ("rate",), "say": said.append}
    run(model, tmp_path / "run", "write", rate=1e-9, text="text", label="other", **more)
    assert "head 'lm': as the model brings it" in said
    before, after = (load_model(f).heads["lm"].weight for f in (model, tmp_path / "run" / "model"))
    assert torch.allclose(before, after, atol=1e-6)  # type: ignore[arg-type]


def test_pairs_are_ranked(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "encoder")
    asked = {"columns": {"label": "grade"}, "text": "text", "label": "other"}
    numbers = {"batch": 8, "length": 12, "threads": 1, "precision": "fp32", "learning_rate": 1e-3}
    recipe = FinetuneRecipe(
        model=str(model), data="rows from memory", task="rank", epochs=1.0, train=FinetuneTrain(**numbers), **asked
    )
    data = [{**row, "grade": n % 6} for n, row in enumerate(rows(40))]
    results = finetune(recipe, tmp_path / "run", rows=data, say=lambda line: None)
    assert set(results["scores"]) == {"spearman", "pearson"}
    told = Model.load(tmp_path / "run").predict(data[:2], say=lambda line: None)
    assert [set(row) for row in told] == [{"similarity"}] * 2
