"""The column end to end on a few kilobytes of text, through the command line as a user would go."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.errors import ModeledgeError

WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
GOOD, BAD = ("good", "great", "lovely"), ("bad", "awful", "poor")
TUNE = ["finetune", "{g}/causal"]
COLUMNS = ["--text", "review", "--label", "stars"]


def run(*words: str | Path) -> str:
    """One command; its standard output. Errors come through as they are."""
    result = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def recipe(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.toml"
    preset = {"causal": "decoder-small", "masked": "encoder-small"}[kind]
    path.write_text(
        f'[corpus]\npaths = ["{folder}/texts/*.txt"]\n[tokenizer]\nvocab_size = 320\n[model]\npreset = "{preset}"\n'
        f'[model.shape]\n{SHAPES[kind]}\n[objective]\nkind = "{kind}"\n'
        "[train]\nsteps = 6\nbatch = 4\nlength = 32\nsave_every = 2\n"
    )
    return path


_STACK = """layers = 1
attention = { heads = 2, qk_norm = "head" }
feedforward = { width = 32 }
position = { kind = "rotary" }
"""
SHAPES = {
    "causal": f"width = 16\n[model.shape.decoder]\n{_STACK}",
    "masked": f"width = 16\n[model.shape.encoder]\n{_STACK}",
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, labelled rows, and a pre-trained model of each kind."""
    folder = tmp_path_factory.mktemp("column")
    lots = random.Random(0)
    (folder / "texts").mkdir()
    for n in range(4):
        lines = (" ".join(lots.choices(WORDS, k=12)) for _ in range(60))
        (folder / "texts" / f"{n}.txt").write_text("\n".join(lines) + "\n")
    with (folder / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "stars"])
        for n in range(80):
            words = (GOOD, BAD)[n % 2]
            rows.writerow([f"number {n} was {lots.choice(words)} and {lots.choice(words)}", ("up", "down")[n % 2]])
    for kind in ("causal", "masked"):
        run("pretrain", recipe(folder, kind), "--out", folder / kind)
    return folder


def finetuned(ground: Path, kind: str, out: Path, *more: str) -> str:
    rows = ground / "rows.csv"
    return run(
        "finetune", ground / kind, rows, "train.batch=8", "train.length=32",
        "--text", "review", "--label", "stars", "--epochs", "2", "--out", out, *more,
    )  # fmt: skip


def test_the_run_folder_holds_what_the_design_says(ground: Path) -> None:
    run_folder = ground / "causal"
    for name in ("run.toml", "environment.json", "ledger.json", "metrics.jsonl", "report.html"):
        assert (run_folder / name).is_file(), name
    steps = [json.loads(line)["step"] for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]
    ledger = json.loads((run_folder / "ledger.json").read_text())
    assert ledger["read"]["records"] == ledger["kept"]["records"] == 4


def test_the_same_recipe_gives_the_same_bytes(ground: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    run("pretrain", ground / "causal" / "run.toml", "--out", again)
    for name in ("run.toml", "metrics.jsonl", "model/model.safetensors", "model/tokenizer.json"):
        assert (again / name).read_bytes() == (ground / "causal" / name).read_bytes(), name


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_from_rows_to_answers(ground: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "tuned"
    assert "accuracy" in finetuned(ground, kind, out)
    run("predict", out, ground / "rows.csv", "-o", tmp_path / "answers.csv")
    answers = list(csv.DictReader((tmp_path / "answers.csv").open()))
    assert len(answers) == 80
    assert list(answers[0]) == ["review", "stars", "prediction", "confidence", "p(down)", "p(up)"]
    shares = [float(a["p(down)"]) + float(a["p(up)"]) for a in answers]
    assert shares == pytest.approx([1.0] * 80, abs=1e-5)
    marked = float(re.search(r"accuracy\s+([\d.]+)", run("evaluate", out, ground / "rows.csv")).group(1))
    labels = [row["stars"] for row in csv.DictReader((ground / "rows.csv").open())]
    assert marked == pytest.approx(
        np.mean([a["prediction"] == b for a, b in zip(answers, labels, strict=True)]), abs=1e-4
    )


@pytest.mark.parametrize("strategy", ["probe", "freeze:first=1", "rates:body=0.5,head=2.0"])
def test_each_strategy_from_the_command_line(ground: Path, tmp_path: Path, strategy: str) -> None:
    assert "accuracy" in finetuned(ground, "masked", tmp_path / "tuned", "--strategy", strategy)


def test_progress_knows_the_steps_and_says_about_ten_lines(ground: Path, tmp_path: Path) -> None:
    words = ["finetune", ground / "causal", ground / "rows.csv", *COLUMNS, "--epochs", "3", "--out", tmp_path / "tuned"]
    words += ["train.batch=8", "train.length=32", "train.save_every=10"]
    told = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False).stderr
    steps = [tuple(map(int, pair)) for pair in re.findall(r"step (\d+)/(\d+)", told)]
    assert {total for _, total in steps} == {24}
    assert 8 <= len(steps) <= 14
    assert steps[-1] == (24, 24)
    shutil.rmtree(tmp_path / "tuned" / "model")
    shutil.rmtree(tmp_path / "tuned" / "checkpoints" / "step-24")
    told = CliRunner().invoke(app, ["resume", str(tmp_path / "tuned")], catch_exceptions=False).stderr
    assert re.findall(r"step (\d+)/24", told)[-1] == "24"
    assert len(re.findall(r"step \d+/24", told)) < 7


def test_what_is_there_is_not_written_over(ground: Path, tmp_path: Path) -> None:
    """Said before the model is looked for."""
    for verb, name in (("predict", "a.csv"), ("embed", "v.npy")):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ModeledgeError) as caught:
            run(verb, tmp_path / "no model", ground / "rows.csv", "-o", tmp_path / name)
        assert caught.value.code == "E-OUTPUT"
        assert (tmp_path / name).read_text() == "mine"


def test_texts_that_are_cut_are_counted_on_standard_error(ground: Path, tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("text\nfox\n" + "fox " * 300 + "\n")
    words = ["embed", str(ground / "masked"), str(tmp_path / "long.csv"), "-o", str(tmp_path / "v.npy")]
    assert "1 of 2 texts were cut to 256 tokens" in CliRunner().invoke(app, words, catch_exceptions=False).stderr


def test_the_quickstart_prints_its_comparison(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = {"table": "task  accuracy", "findings": ["Pre-training helped."]}
    monkeypatch.setattr("modeledge.recipes.quickstart.run.quickstart", lambda *a, **k: results)
    told = run("quickstart", "--out", tmp_path)
    for words in ("task  accuracy", "Pre-training helped.", str(tmp_path / "report.html")):
        assert words in told


def test_vectors_and_text(ground: Path, tmp_path: Path) -> None:
    run("embed", ground / "masked", ground / "rows.csv", "--text", "review", "-o", tmp_path / "v.npy")
    vectors = np.load(tmp_path / "v.npy", allow_pickle=False)
    assert vectors.shape == (80, 16)
    assert np.isfinite(vectors).all()
    assert run("generate", ground / "causal", "the quick", "--max-new-tokens", "5").startswith("the quick")
    assert len(run("generate", ground / "masked", "the [MASK] fox").split("  ")) == 5


def test_a_run_that_was_cut_off_goes_on_to_the_same_bytes(ground: Path, tmp_path: Path) -> None:
    """What a kill after the checkpoint of step 4 leaves behind: no model, metrics of later steps."""
    cut = tmp_path / "cut"
    shutil.copytree(ground / "causal", cut)
    shutil.rmtree(cut / "model")
    shutil.rmtree(cut / "checkpoints" / "step-6")
    run("resume", cut)
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (cut / name).read_bytes() == (ground / "causal" / name).read_bytes(), name


def test_a_damaged_checkpoint_is_passed_over_aloud(
    ground: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(ground / "causal", cut)
    shutil.rmtree(cut / "model")
    damaged = cut / "checkpoints" / "step-6" / "state.safetensors"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(bytes(data))
    result = CliRunner().invoke(app, ["resume", str(cut)], catch_exceptions=False)
    assert "E-CHECKPOINT" in result.stderr
    assert "resumed after step 4" in result.stderr
    assert (cut / "model/model.safetensors").read_bytes() == (ground / "causal/model/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("E-OUTPUT", [*TUNE, "{g}/rows.csv", *COLUMNS, "--out", "{g}/masked"]),
        ("E-MISSING-FIELD", [*TUNE, "{g}/rows.csv", "--text", "revew", "--label", "stars", "--out", "{t}/x"]),
        ("E-CONFIG-KEY", ["pretrain", "{g}/causal.toml", "train.learing_rate=1", "--out", "{t}/x"]),
        ("E-CONFIG-VALUE", ["pretrain", "{g}/causal.toml", "train.learning_rate=-1", "--out", "{t}/x"]),
        ("E-CONFIG-UNSAFE", ["pretrain", "{g}/causal.yaml", "--out", "{t}/x"]),
        ("E-NO-FILE", ["predict", "{g}/nothing", "{g}/rows.csv", "-o", "{t}/x.csv"]),
        ("E-USAGE", ["predict", "{g}/causal", "{g}/rows.csv", "-o", "{t}/x.csv"]),
        ("E-USAGE", ["generate", "{g}/masked", "no gap here"]),
        ("E-SITE", [*TUNE, "{g}/rows.csv", *COLUMNS, "--strategy", "freeze:first=9", "--out", "{t}/x"]),
        ("E-RUN-FOLDER", ["resume", "{g}/texts"]),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_error(ground: Path, tmp_path: Path, code: str, words: list[str]) -> None:
    (ground / "causal.yaml").write_text("a: 1\n")
    with pytest.raises(ModeledgeError) as caught:
        run(*(w.format(g=ground, t=tmp_path) for w in words))
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy
    assert not any(p.name != ".lock" for p in (tmp_path / "x").glob("*"))
    assert not (tmp_path / "x.csv").exists()
