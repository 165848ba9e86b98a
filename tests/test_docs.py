"""What the README and the shipped recipes say is what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config, read_toml
from modeledge.recipes.compare import load_study
from modeledge.recipes.corpora.corpus_file import CorpusFile
from modeledge.recipes.objectives import AIMS
from modeledge.recipes.recipe import PretrainRecipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_shipped_recipes_are_recipes(path: Path) -> None:
    if "cells" in read_toml(path):
        assert len(load_study(path).cells) > 1
    elif read_toml(path).get("kind") == "corpus":
        assert load_config(CorpusFile, path).recipe().tokenizer.vocab_size > 0
    else:
        assert load_config(PretrainRecipe, path).train.steps > 0


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_shipped_recipes_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file as it is, but for two small steps; on sentences, which some objectives need."""
    (tmp_path / "texts").mkdir()
    lines = [
        f"The {a} dog saw {b} red houses. It slept near the {a} river." for a in ("old", "lazy") for b in range(60)
    ]
    (tmp_path / "texts" / "a.txt").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    path = ROOT / "recipes" / f"{name}.toml"
    small = ["train.steps=2", "train.batch=2", "train.length=64"]
    done = CliRunner().invoke(app, ["pretrain", str(path), "--out", "run", *small])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_the_recipe_in_the_readme_is_the_shipped_one() -> None:
    shipped = (ROOT / "recipes" / "causal.toml").read_text(encoding="utf-8")
    assert blocks("toml") == [shipped.split("\n", 1)[1]]


def test_every_verb_in_the_readme_exists() -> None:
    verbs = set(re.findall(r"^modeledge ([\w-]+)", README, re.MULTILINE)) - {"tokenizer", "corpus"}
    assert verbs >= {"pretrain", "finetune", "predict", "evaluate", "embed", "generate", "resume", "report"}
    for verb in verbs:
        assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0, verb


def test_python_in_the_readme_runs(tmp_path: Path) -> None:
    """The block itself, on a small recipe and a few rows."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("one two three four five six seven. " * 200)
    tiny = "layers = 1\nattention = { heads = 2 }\nfeedforward = { width = 16 }\n"
    (tmp_path / "recipe.toml").write_text(
        f'[corpus]\npaths = ["texts/*.txt"]\n[tokenizer]\nvocab_size = 270\n[model.shape]\nwidth = 8\n'
        f"[model.shape.decoder]\n{tiny}[train]\nsteps = 2\nbatch = 2\nlength = 16\n"
    )
    rows = "rows = [{'review': f'text {i}', 'stars': 'ab'[i % 2]} for i in range(40)]\n"
    code = rows + blocks("python")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_and_import_stay_light() -> None:
    code = "import sys, modeledge, modeledge.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_family_is_in_the_table_of_the_readme() -> None:
    from modeledge.families import FAMILIES

    table = README[README.index("| family (`model_type`)") :]
    assert [name for name in FAMILIES if name != "modeledge" and f"`{name}`" not in table] == []


def test_every_kind_of_pretraining_is_in_its_page() -> None:
    page = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (?:encoder|decoder|that of its parts)", page, re.M)
    assert set(rows) == set(AIMS)
    assert len(AIMS) == 16, "the README says sixteen"
