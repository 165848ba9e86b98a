"""Stages as a user runs them: the pre-flight of each, the same classes twice, and the report."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.errors import ModeledgeError

TRAIN = 'train = {batch = 8, length = 16, precision = "fp32"}\nepochs = 0.1\n'


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stage of one task, one of two, one of the classes of the first; a model of nothing."""
    monkeypatch.chdir(tmp_path)
    for name, words in (("one", "ab"), ("two", "cde")):
        rows = [{"text": f"{words[n % len(words)]} {n}", "label": words[n % len(words)]} for n in range(60)]
        with open(f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ("text", "label"))
            writer.writeheader()
            writer.writerows(rows)
    (tmp_path / "texts.txt").write_text("a b c d e one two three. " * 100)
    shape = "layers = 1\nattention = { heads = 2 }\nfeedforward = { width = 16 }\n"
    (tmp_path / "start.toml").write_text(
        '[corpus]\npaths = ["texts.txt"]\n[tokenizer]\nvocab_size = 270\n[model.shape]\nwidth = 8\n'
        f"[model.shape.decoder]\n{shape}[train]\nsteps = 1\nbatch = 2\nlength = 16\n"
    )
    done = CliRunner().invoke(app, ["pretrain", "start.toml", "--out", "start"])
    assert done.exit_code == 0, done.output
    one, two = (f'data = "{name}.csv"\n' for name in ("one", "two"))
    both = f"[stages.tasks.x]\n{one}[stages.tasks.y]\n{two}"
    tables = (("first", one), ("again", one), ("both", both), ("last", one))
    path = tmp_path / "stages.toml"
    path.write_text('model = "start"\n' + "".join(f'[[stages]]\nname = "{name}"\n{TRAIN}{own}' for name, own in tables))
    return path


def test_stages_of_the_same_classes_each_draw_their_own_head(recipe: Path, tmp_path: Path) -> None:
    """Every stage has a head of its own, so a head of this shape in the model before is no reason to refuse."""
    done = CliRunner().invoke(app, ["finetune", str(recipe), "--out", "run"])
    assert done.exit_code == 0, done.output
    assert "stage 4 of 4: last" in done.output
    assert (tmp_path / "run" / "report.html").exists()
    assert "report: run/report.html" in done.output
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "No training step was recorded" not in page
    places = [page.index(f">{name}<", page.index(">Stage<")) for name in ("first", "again", "both", "last")]
    assert places == sorted(places)


def test_check_looks_at_every_stage(recipe: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(recipe)])
    assert done.exit_code == 0, done.output
    verdicts = [line.partition(": checked")[0] for line in done.stdout.splitlines() if ": checked" in line]
    assert verdicts == ["first", "again", "both: x", "both: y", "last"]
    assert done.output.count("checked 4") == 5, "a verdict is told once"
    recipe.write_text(recipe.read_text().replace('data = "two.csv"', 'data = "two.csv"\nlabel = "absent"'))
    with pytest.raises(ModeledgeError, match="absent"):
        CliRunner().invoke(app, ["check", str(recipe)], catch_exceptions=False)


def following(tmp_path: Path, first: str, second: str) -> Path:
    """Two stages with these lines."""
    path = tmp_path / "two.toml"
    text = 'model = "start"\n'
    for name, own in (("one", first), ("two", second)):
        data = "" if "tasks" in own else 'data = "one.csv"\n'
        text += f'[[stages]]\nname = "{name}"\n{data}{TRAIN}{own}\n'
    path.write_text(text)
    return path


def strategy(kind: str, options: str = "") -> str:
    return f'strategies = [{{kind = "{kind}", options = {{{options}}}}}]'


MERGE = "merge = true in stage 'one'"
ON = "strategies = [{{kind = \"{}\"}}] in stage 'two' goes on with it"


@pytest.mark.parametrize(
    ("first", "second", "remedy"),
    [
        (strategy("lora"), "", f"{MERGE}; or {ON.format('lora')}"),
        (strategy("lora"), strategy("ia3"), f"{MERGE}; or {ON.format('lora')}"),
        (strategy("lora"), strategy("lora", "rank = 4"), f"{MERGE}; or {ON.format('lora')}"),
        (strategy("lora"), f"merge = true\n{strategy('lora')}", MERGE),
        (strategy("adalora"), strategy("adalora"), MERGE),
        (strategy("prompt"), strategy("lora"), ON.format("prompt")),
        (strategy("p-tuning"), strategy("p-tuning"), ON.format("prompt")),
        (strategy("adapter"), "", f"adapter cannot be folded into the weights; {ON.format('adapter')}"),
        (strategy("lora"), '[stages.tasks.x]\ndata = "one.csv"\n[stages.tasks.y]\ndata = "one.csv"', MERGE),
        ("", strategy("loar"), "stages.two: strategies: there is no strategy 'loar'; did you mean 'lora'"),
    ],
)
def test_stages_that_cannot_follow_are_refused_before_the_first(
    recipe: Path, tmp_path: Path, first: str, second: str, remedy: str
) -> None:
    path = following(tmp_path, first, second)
    for words in (["check", str(path)], ["finetune", str(path), "--out", "run"]):
        with pytest.raises(ModeledgeError, match=r"stages\.two") as caught:
            CliRunner().invoke(app, words, catch_exceptions=False)
        assert caught.value.code in ("E-CONFIG", "E-CONFIG-VALUE")
        assert remedy in str(caught.value)
        assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (strategy("lora"), strategy("lora")),
        (f"merge = true\n{strategy('lora')}", ""),
        (strategy("p-tuning", "length = 2"), strategy("prompt")),
        (strategy("lora"), "fresh = true"),
    ],
)
def test_the_remedies_for_stages_work(recipe: Path, tmp_path: Path, first: str, second: str) -> None:
    path = following(tmp_path, first, second)
    done = CliRunner().invoke(app, ["finetune", str(path), "--out", "run"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
