"""A model that was never fine-tuned, asked on the command line and marked as one that was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_pretrain import quiet
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, LMHead, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.prompt import prompt
from modeledge.recipes.pretraining.writing import note_of
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.seed import Noise
from modeledge.tasks import prompted
from modeledge.tokens import train_tokenizer

ROWS = [{"text": f"a text of {n} words", "label": ("good", "bad")[n % 2]} for n in range(12)]


@pytest.fixture(scope="module", params=["decoder", "encoder"])
def model(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = train_tokenizer([row["text"] + row["label"] for row in ROWS] * 4, vocab_size=280)
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Rotary())
    shape = TransformerConfig(width=8, embed=Tokens(vocab=tokenizer.vocab_size), **{request.param: stack})
    made = Transformer(shape, seed=1)
    made.add_heads({"lm": LMHead()}, Noise(0))
    save_model(made, folder)
    tokenizer.save(folder)
    return request.param, folder


def test_a_decoder_is_asked_and_an_encoder_is_refused(model: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = model
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    asked = FinetuneRecipe(model=str(folder), data=str(data))
    if kind == "encoder":
        with pytest.raises(ModeledgeError, match="E-USAGE"):
            prompt(asked, say=lambda line: None)
        return
    told = prompt(asked, say=lambda line: None)["scores"]
    assert told["accuracy"]["n"] == 12
    words = ["prompt", str(folder), str(data), "--limit", "5", "--template", "{text} is", "--word", " good"]
    done = CliRunner().invoke(app, [*words, "--word", " bad"])
    assert done.exit_code == 0, done.output
    assert "n = 5" in done.stdout


def test_a_limit_asks_fewer_rows_of_the_same_classes(model: tuple[str, Path], tmp_path: Path) -> None:
    """The first rows are all good; the answers to choose from are those of the whole file."""
    kind, folder = model
    if kind == "encoder":
        return
    data, said = tmp_path / "rows.jsonl", list[str]()
    data.write_text("".join(json.dumps(row) + "\n" for row in sorted(ROWS, key=lambda row: -len(row["label"]))))
    told = prompt(FinetuneRecipe(model=str(folder), data=str(data)), limit=3, say=said.append)["scores"]
    assert told["accuracy"]["n"] == 3
    assert any("2 classes: bad, good" in line for line in said)
    for limit in (0, -3):  # a slice of Python's would take all but the last three
        with pytest.raises(ModeledgeError, match=f"E-USAGE: --limit: the limit is {limit} rows"):
            prompt(FinetuneRecipe(model=str(folder), data=str(data)), limit=limit, say=said.append)
    blind = FinetuneRecipe(model=str(folder), data=str(data), options={"template": "It was"})
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: options.template: 'It was' holds no text of a row"):
        prompt(blind, say=said.append)


def test_answers_that_are_written_are_marked_without_a_loss(model: tuple[str, Path], tmp_path: Path) -> None:
    """A prompted model gives texts and no nats: every other metric of the task stands."""
    kind, folder = model
    if kind == "encoder":
        return
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"source": row["text"], "target": row["label"]}) + "\n" for row in ROWS[:4]))
    done = CliRunner().invoke(app, ["prompt", str(folder), str(data), "--task", "write", "--limit", "3"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "n = 3" in done.stdout
    assert "nats_per_token" not in done.stdout


@pytest.mark.parametrize("task", ["classification", "write"])
def test_a_prefix_lm_is_prompted_as_it_learned(
    model: tuple[str, Path], tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, folder = model
    if kind == "encoder":
        return
    copied, asked, seen = (
        tmp_path / "prefix",
        {"classification": "score_choices", "write": "continue_text"},
        list[Any](),
    )
    shutil.copytree(folder, copied)
    whole = getattr(prompted, asked[task])
    monkeypatch.setattr(prompted, asked[task], lambda *a, **k: (seen.append(k["both_ways"]), whole(*a, **k))[1])
    data = tmp_path / "rows.jsonl"
    named = {"classification": ("text", "label"), "write": ("source", "target")}[task]
    rows = [dict(zip(named, row.values(), strict=True)) for row in ROWS[:4]]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for way, ways in ((None, False), ("prefix", True)):
        for name, note in note_of(way).items():
            (copied / name).write_text(json.dumps(note))
        prompt(FinetuneRecipe(model=str(copied), data=str(data), task=task), say=quiet)
        assert set(seen) == {ways}
        seen.clear()
    for name, note in note_of("sequence").items():
        (copied / name).write_text(json.dumps(note))
    with pytest.raises(ModeledgeError, match="E-USAGE: this model writes where a token is hidden"):
        prompt(FinetuneRecipe(model=str(copied), data=str(data), task=task), say=quiet)
