"""What is wrong with the rows of a run is told with its place: file and column, or the key that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.compare.quick import quick_study
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tokens import train_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of 16 positions, and two tables: of two classes, and of one."""
    tokenizer = train_tokenizer(["one two three four"] * 9, vocab_size=280)
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=8), position=Learned(length=16))
    config = TransformerConfig(width=8, embed=Tokens(vocab=tokenizer.vocab_size), encoder=stack)
    save_model(Transformer(config), tmp_path / "model")
    tokenizer.save(tmp_path / "model")
    for name, labels in (("two", "ab"), ("one", "aa")):
        lines = [f"{n} one two,{labels[n % 2]}" for n in range(40)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,tone", *lines]) + "\n")
    return tmp_path / "model"


def refusal(model: Path, data: str, length: int, **fields: Any) -> str:
    train = FinetuneTrain(length=length, threads=1)
    recipe = FinetuneRecipe(model=str(model), data=str(model.parent / data), label="tone", train=train, **fields)
    with pytest.raises(ModeledgeError) as caught:
        finetune(recipe, model.parent / "run", say=lambda line: None)
    return str(caught.value)


def test_too_long_a_row_names_the_key_and_the_most_that_it_may_be(model: Path) -> None:
    told = "E-POSITION: train.length: length 128 is beyond the model's 16 positions; train.length=16, or less"
    assert refusal(model, "two.csv", 128) == told
    assert refusal(model, "two.csv", 128, task="classification") == told


def test_one_class_names_the_file_and_the_column(model: Path) -> None:
    file = model.parent / "one.csv"
    told = f"E-ONE-CLASS: {file}: column 'tone': all 32 rows are 'a'; add another class"
    assert refusal(model, "one.csv", 16) == told
    with pytest.raises(ModeledgeError, match=f"E-ONE-CLASS: {file}: column 'tone'"):
        quick_study(str(model), str(file), {"full": []}, finetune={"label": "tone"})
