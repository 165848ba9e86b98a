"""The verbs that look at answers, on tiny models: errors, ensemble, curve, submit; and what they refuse."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.mistakes import check_same, run_ensemble, write_errors
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.curve import learning_curve
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tokens import train_tokenizer

WORDS = "red green blue one two three four five old new big small".split()  # noqa: SIM905


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    lots = random.Random(seed)
    texts = [f"{seed} {n} " + " ".join(lots.choices(WORDS, k=5)) for n in range(count)]
    return [{"text": text, "label": "red" if "red" in text else "none"} for text in texts]


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer([row["text"] for row in rows(200, 0)], vocab_size=320)
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Rotary())
    save_model(
        Transformer(TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), encoder=stack)), folder
    )
    tokenizer.save(folder)
    return folder


def recipe(base: Path, **fields: Any) -> FinetuneRecipe:
    numbers = {"batch": 8, "length": 32, "threads": 1, "precision": "fp32", "learning_rate": 3e-3}
    train = FinetuneTrain(**numbers)
    return FinetuneRecipe(model=str(base), data="rows from memory", train=train, epochs=1.0, **fields)


@pytest.fixture(scope="module")
def runs(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp("runs") / f"seed-{seed}" for seed in range(2)]
    for seed, folder in enumerate(folders):
        finetune(recipe(base, seed=seed), folder, rows=rows(60, 1), test_rows=rows(20, 2), say=quiet)
    return folders


def test_a_run_says_where_it_was_wrong(runs: list[Path]) -> None:
    told = json.loads((runs[0] / "results.json").read_text())["analysis"]
    assert sum(map(sum, told["confusion"])) == 20
    assert not any("text" in mistake for mistake in told["mistakes"])


def test_a_page_of_errors_shows_the_texts(runs: list[Path], tmp_path: Path) -> None:
    model, data = Model.load(runs[0]), rows(40, 3)
    write_errors(model, data, tmp_path / "errors.html", say=quiet)
    page = (tmp_path / "errors.html").read_text()
    told = model.predict(data, say=quiet)
    wrong = [row["text"] for row, answer in zip(data, told, strict=True) if answer["prediction"] != row["label"]]
    assert wrong
    assert sum(text in page for text in wrong) == min(len(wrong), 20)
    with pytest.raises(ModeledgeError, match="E-OUTPUT"):
        write_errors(model, data, tmp_path / "errors.html", say=quiet)


def test_an_ensemble_stands_beside_its_members(runs: list[Path], tmp_path: Path) -> None:
    data = rows(30, 4)
    scores = run_ensemble(runs, data, tmp_path / "both", say=quiet)
    assert list(scores) == [*map(str, runs), "ensemble"]
    alone = run_ensemble(runs[:1], data, tmp_path / "one", say=quiet)
    assert alone["ensemble"] == alone[str(runs[0])] == scores[str(runs[0])]
    lines = [json.loads(line) for line in (tmp_path / "both" / "predictions.jsonl").read_text().splitlines()]
    shares = [[row["p(red)"] for row in Model.load(run).predict(data, say=quiet)] for run in runs]
    for n, line in enumerate(lines):
        assert line["p(red)"] == pytest.approx((shares[0][n] + shares[1][n]) / 2, abs=1e-6)
        assert line["label"] == data[n]["label"]
    assert "ensemble" in (tmp_path / "both" / "report.html").read_text()


def test_one_model_is_no_ensemble_of_two(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*named twice"):
        run_ensemble([runs[0], runs[0] / ".." / runs[0].name], rows(10, 5), tmp_path / "out", say=quiet)


def test_a_damaged_task_file_is_named(runs: list[Path], tmp_path: Path) -> None:
    """What does not state the task of these weights is named, whatever is wrong with it."""
    folder = tmp_path / "model"
    shutil.copytree(runs[0] / "model", folder)
    path = folder / "task.json"
    whole = json.loads(path.read_text())
    lacking = {key: value for key, value in whole.items() if key != "names"}
    wrong: dict[str, Any] = {
        "": "E-RUN-FOLDER",
        path.read_text()[:50]: "E-RUN-FOLDER",
        "[]": "E-RUN-FOLDER",
        json.dumps(lacking): "E-RUN-FOLDER.*'names'",
        json.dumps({**whole, "scaling": {"heat": 1}}): "E-RUN-FOLDER",
        json.dumps({**whole, "scaling": {"temperature": 0, "rows": 3}}): "E-CONFIG-VALUE.*temperature is 0",
        json.dumps({**whole, "length": "many"}): "E-CONFIG-VALUE: task.json: length is 'many'",
        json.dumps({**whole, "names": ["a", "b", "c"]}): "E-CONFIG-VALUE: task.json: it names 3 classes.* scores 2",
    }
    for text, code in wrong.items():
        path.write_text(text)
        with pytest.raises(ModeledgeError, match=code):
            Model.load(folder)
    path.write_text(json.dumps(whole))
    assert Model.load(folder).task is not None


def test_models_of_two_tasks_make_no_ensemble(base: Path, runs: list[Path], tmp_path: Path) -> None:
    other = [{"text": row["text"], "label": f"{len(row['text']) / 8}"} for row in rows(40, 1)]
    finetune(
        recipe(base, task="regression", allow_leak=True), tmp_path / "run", rows=other, test_rows=other[:9], say=quiet
    )
    with pytest.raises(ModeledgeError, match=r"E-KEYS.*join models that learned one task"):
        run_ensemble([runs[0], tmp_path / "run"], rows(10, 5), tmp_path / "out", say=quiet)
    assert not (tmp_path / "out").exists()


def test_a_curve_is_one_run_a_budget_and_seed(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(60, 1)))
    asked = recipe(base).model_copy(update={"data": str(data)})
    told = learning_curve(asked, [16, 40], tmp_path / "curve", seeds=2, say=quiet)
    accuracy = [(t["labels"], t["seed"]) for t in told if t["metric"] == "accuracy"]
    assert accuracy == [(16, 0), (40, 0), (16, 1), (40, 1)]
    assert "40" in (tmp_path / "curve" / "report.html").read_text()
    counts = [json.loads((tmp_path / "curve" / f"{n}-seed-1" / "results.json").read_text())["rows"] for n in (16, 40)]
    assert [c["train"] for c in counts] == [16, 40]
    assert {c["test"] for c in counts} == {12}
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        learning_curve(asked, [1000], tmp_path / "more", say=quiet)
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE: seeds: 0 seeds"):
        learning_curve(asked, [16], tmp_path / "none", seeds=0, say=quiet)


def test_models_of_different_tasks_are_told_apart_by_what_they_answer() -> None:
    """A ranker has no classes: that it has others is no help."""
    labels = SimpleNamespace(names=("bad", "good"))
    first: Any = SimpleNamespace(kind="label", answered=("prediction",), columns={"text": "review"}, labels=labels)
    ranker: Any = SimpleNamespace(kind="rank", answered=("similarity",), columns={"text": "text"})
    with pytest.raises(ModeledgeError, match=r"it answers similarity from .*the first model answers prediction"):
        check_same(first, ranker, Path("other"))


@pytest.mark.parametrize(
    ("table", "verbs", "said"),
    [
        ("cells", ("pretrain", "finetune", "check", "plan", "lr-range", "curve --budgets 3"), "a study"),
        ("stages", ("pretrain", "plan", "lr-range", "curve --budgets 3"), "several stages"),
        ("tasks", ("pretrain", "plan", "lr-range", "curve --budgets 3"), "several tasks"),
    ],
)
def test_a_recipe_of_several_runs_is_named_as_such(
    table: str, verbs: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    """A verb that reads one run says so, and does not call the table an unknown key."""
    path = tmp_path / "recipe.toml"
    path.write_text(f"[{table}.one]\n" if table != "stages" else "[[stages]]\n")
    for verb in verbs:
        done = CliRunner().invoke(app, [(words := verb.split())[0], str(path), *words[1:]])
        assert isinstance(done.exception, ModeledgeError)
        assert done.exception.code == "E-USAGE"
        assert said in done.exception.what
