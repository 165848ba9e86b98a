"""ELECTRA goes on with its generator: from the run's folder, grown with the vocabulary, and never with another's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from stopping import same_when_stopped
from test_pretrain_sentences import quiet, recipe, texts

from modeledge.families import load_model
from modeledge.objectives import Replaced
from modeledge.recipes.pretraining.pretrain import prepare_corpus, pretrain, ready
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.tokens import Tokenizer
from modeledge.tokens.extend import replaced
from modeledge.train import Trainer

FRESH = "a fresh generator begins: that in "


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and its texts as a file."""
    folder = tmp_path_factory.mktemp("electra")
    lines = "".join(json.dumps({"id": d.id, "text": d.text}) + "\n" for d in texts())
    (folder / "texts.jsonl").write_text(lines)
    pretrain(asked(folder, None), folder / "run", say=quiet)
    return folder


def asked(ground: Path, start: Path | None, **changes: Any) -> PretrainRecipe:
    values: dict[str, Any] = {"corpus": {"paths": [str(ground / "texts.jsonl")]}}
    if start is not None:
        values |= {"model": {"start": str(start)}, "tokenizer": {}}
    return recipe("electra", **{**values, **changes})


def begun(wanted: PretrainRecipe, folder: Path) -> tuple[Trainer, list[str], Tokenizer]:
    """The run before its first step, and what it says."""
    tokenizer, shards = prepare_corpus(wanted, folder, None, quiet)
    said: list[str] = []
    trainer, _ = ready(wanted, tokenizer, shards, None, said.append)
    return trainer, [line.removeprefix("note: ") for line in said], tokenizer


def generator(trainer: Trainer) -> dict[str, torch.Tensor]:
    objective = trainer.module.objective
    assert isinstance(objective, Replaced)
    return objective.generator.state_dict()


@pytest.mark.parametrize("place", ["run", "run/model"])
def test_the_generator_goes_on(ground: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "run").mkdir()
    trainer, notes, _ = begun(asked(ground, ground / place), tmp_path / "run")
    assert notes == [f"the generator goes on from {ground / 'run' / 'generator'}"]
    theirs, ours = load_model(ground / "run" / "generator").state_dict(), generator(trainer)
    assert "tokens" not in ours  # it reads the model's own
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert any("tower.blocks" in name for name in ours)


def test_a_stop_changes_nothing_of_it(ground: Path, tmp_path: Path) -> None:
    said = list[str]()
    names = ("metrics.jsonl", "model/model.safetensors", "generator/model.safetensors")
    same_when_stopped(asked(ground, ground / "run"), tmp_path, names, said.append)
    assert [line for line in said if line.startswith("note: the generator goes on from ")]


def test_it_grows_with_the_vocabulary(ground: Path, tmp_path: Path) -> None:
    (tmp_path / "domain.txt").write_text("The thorax and the pelvis are old anatomy. " * 60)
    changes = {"tokenizer": {"sentinels": 3, "extend": 3}, "corpus": {"paths": [str(tmp_path / "domain.txt")]}}
    wanted = asked(ground, ground / "run", held_out=0.0, **changes)
    (tmp_path / "looked").mkdir()
    trainer, notes, new = begun(wanted, tmp_path / "looked")
    assert notes == [f"the generator goes on from {ground / 'run' / 'generator'}"]
    old = Tokenizer.load(ground / "run" / "model")
    before = load_model(ground / "run" / "generator").state_dict()["heads.lm.bias"]
    after, rows = generator(trainer)["heads.lm.bias"], replaced(old, new)
    assert len(after) == new.vocab_size > old.vocab_size + 3
    assert torch.equal(after[: old.vocab_size], before)
    for number, ids in enumerate(rows, old.vocab_size):
        torch.testing.assert_close(after[number], before[ids].mean(), rtol=0, atol=1e-6)
    folder = pretrain(wanted, tmp_path / "run", say=quiet).parent
    written = load_model(folder / "generator")
    assert written.config.table.vocab == Tokenizer.load(folder / "generator").vocab_size == new.vocab_size
    assert written.tokens.equal(load_model(folder / "model").tokens)


def test_another_generator_is_none(ground: Path, tmp_path: Path) -> None:
    """Where there is none, its shape differs, or it reads other tables, the run says so and draws one."""
    (tmp_path / "run").mkdir()
    alone = shutil.copytree(ground / "run" / "model", tmp_path / "alone" / "model")
    trainer, notes, _ = begun(asked(ground, alone), tmp_path / "run")
    assert notes == ["no generator lies beside the model to start from: a fresh one begins"]
    fresh = generator(trainer)
    other = recipe("electra", corpus=asked(ground, None).corpus.model_dump(exclude_none=True), seed=1)
    pretrain(other, tmp_path / "other", say=quiet)
    place = shutil.copytree(tmp_path / "other" / "generator", alone.parent / "generator")
    trainer, notes, _ = begun(asked(ground, alone), tmp_path / "run")
    assert notes == [f"{FRESH}{place} reads the tables of another model"]
    assert all(torch.equal(value, fresh[name]) for name, value in generator(trainer).items())
    smaller = {"objective": {"kind": "electra", "generator": 1.0}}
    trainer, notes, _ = begun(asked(ground, ground / "run", **smaller), tmp_path / "run")
    assert notes == [f"{FRESH}{ground / 'run' / 'generator'} has another shape than is asked for"]


def test_a_run_from_nothing_says_nothing(ground: Path, tmp_path: Path) -> None:
    assert begun(asked(ground, None), tmp_path)[1] == []
