"""Runs without training: a frozen body, a classical head on its states, a folder like others'."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config, to_toml
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, Learned, Norm, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.use import Model
from modeledge.recipes.compare.engine import compare
from modeledge.recipes.compare.quick import quick_study
from modeledge.recipes.compare.results import collect
from modeledge.recipes.features import run as features_run
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tokens import train_tokenizer

COLOURS, NUMBERS = "red green blue white pink grey".split(), "one two three four five six".split()  # noqa: SIM905
OTHERS = "old new big small the a of and".split()  # noqa: SIM905
SHAPES = ("encoder", "decoder", "both")


def texts(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Texts of colours or of numbers: what a mean of embeddings tells apart, whatever the body's weights."""
    lots, out = random.Random(seed), list[dict[str, Any]]()
    for i in range(count):
        words = lots.choices((COLOURS, NUMBERS)[i % 2], k=6) + lots.choices(OTHERS, k=1)
        lots.shuffle(words)
        out.append({"text": " ".join(words), "label": ("colour", "number")[i % 2]})
    return out


def body(shape: str, vocab: int) -> Transformer:
    rotary = {"attention": Attention(heads=2), "feedforward": FeedForward(width=32), "position": Rotary()}
    if shape == "encoder":
        stack = Stack(
            layers=3,
            attention=Attention(heads=2),
            feedforward=FeedForward(width=32),
            norm=Norm(place="post"),
            position=Learned(length=48),
        )
        config = TransformerConfig(width=16, embed=Tokens(vocab=vocab, types=2, norm=True), encoder=stack, init=0.3)
    elif shape == "decoder":
        config = TransformerConfig(width=16, embed=Tokens(vocab=vocab), decoder=Stack(layers=3, **rotary), init=0.3)
    else:
        encoder, decoder = Stack(layers=3, **rotary), Stack(layers=1, **rotary)
        config = TransformerConfig(width=16, embed=Tokens(vocab=vocab), encoder=encoder, decoder=decoder, init=0.3)
    return Transformer(config, seed=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer([row["text"] for row in texts(200)], kind="wordpiece", vocab_size=200)
    for shape in SHAPES:
        save_model(body(shape, tokenizer.vocab_size), folder / shape)
        tokenizer.save(folder / shape)
    return {shape: folder / shape for shape in SHAPES}


def recipe(model: Path, **features: Any) -> FinetuneRecipe:
    more = {key: features.pop(key) for key in list(features) if key in FinetuneRecipe.model_fields}
    train = {"length": 32, "threads": 1, **features.pop("train", {"precision": "fp32"})}
    values = {
        "model": str(model),
        "data": more.pop("data", "rows from memory"),
        "train": train,
        "allow_leak": True,
        **more,
    }
    return load_config(FinetuneRecipe, None, values={**values, "features": features})


def run(asked: FinetuneRecipe, folder: Path, rows: Any = None, heard: list[str] | None = None) -> dict[str, Any]:
    say = (heard if heard is not None else []).append
    return finetune(asked, folder, rows=texts(140) if rows is None else rows, say=say)


def refusal(code: str, action: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        action(*arguments, **named)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How often, and for what, a body is run."""
    from modeledge.recipes.features import body as page

    seen, real = list[Any](), page.states_of
    monkeypatch.setattr(page, "states_of", lambda model, reads, look: seen.append(look) or real(model, reads, look))
    return seen


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("head", ["logistic", "forest"])
def test_a_run_is_marked_and_its_folder_answers(models: dict[str, Path], tmp_path: Path, shape: str, head: str) -> None:
    results = run(recipe(models[shape], layers="0,3", combine="concat", pool="mean", head=head), tmp_path / "run")
    assert results["scores"]["accuracy"]["value"] >= 0.9
    assert results["scores"]["accuracy"]["n"] == 28
    told = json.loads((tmp_path / "run" / "answers.json").read_text())
    assert len(told[0]["predictions"]) == 28
    assert not list((tmp_path / "run").rglob("*.pkl"))
    model, before = Model.load(tmp_path / "run"), Model.load(models[shape])
    ours = {n: p for n, p in model.transformer.state_dict().items() if not n.startswith("heads.")}
    assert all(torch.equal(p, before.transformer.state_dict()[n]) for n, p in ours.items())  # nothing was trained
    asked = texts(20, seed=5)
    answers = model.predict([{"text": row["text"]} for row in asked])
    assert np.mean([a["prediction"] == row["label"] for a, row in zip(answers, asked, strict=True)]) >= 0.9
    assert 0.5 <= answers[0]["confidence"] <= 1
    assert model.evaluate(asked, say=lambda line: None)["scores"]["accuracy"]["n"] == 20


def test_the_folder_answers_as_the_run_did(models: dict[str, Path], tmp_path: Path) -> None:
    rows = [{**row, "label": random.Random(i).choice("ab")} for i, row in enumerate(texts(120))]
    asked = recipe(models["encoder"], head="mlp", pca=5, allow=["near-rows"])
    run(asked, tmp_path / "run", rows)
    told = json.loads((tmp_path / "run" / "answers.json").read_text())[0]
    from modeledge.recipes.tuning.rows import split_rows

    test = split_rows(asked, rows).test
    again = Model.load(tmp_path / "run").predict([{"text": row["text"]} for row in test])
    assert [("a", "b").index(a["prediction"]) for a in again] == told["predictions"]


def test_states_are_computed_once_and_shared(models: dict[str, Path], tmp_path: Path, passes: list[Any]) -> None:
    heard: list[str] = []
    run(recipe(models["encoder"], layers="last2"), tmp_path / "a")
    assert [look.layers for look in passes] == [(2, 3), (2, 3)]  # training and test rows
    run(recipe(models["encoder"], layers="last", head="forest"), tmp_path / "b", heard=heard)
    assert len(passes) == 2
    assert sum("from the cache" in line for line in heard) == 2
    run(recipe(models["encoder"], layers="all"), tmp_path / "c")
    assert [look.layers for look in passes[2:]] == [(1,), (1,)]  # only what was missing
    run(recipe(models["encoder"], layers="all", cache=""), tmp_path / "d")
    assert len(passes) == 6
    assert (tmp_path / ".states").is_dir()


def test_another_body_tokenizer_length_or_row_is_not_served_old_states(
    models: dict[str, Path], tmp_path: Path, passes: list[Any]
) -> None:
    asked = recipe(models["encoder"])
    run(asked, tmp_path / "a")
    changed = tmp_path / "changed"
    model = Model.load(models["encoder"])
    with torch.no_grad():
        next(model.transformer.tower.parameters()).add_(1e-3)
    save_model(model.transformer, changed)
    model.needed_tokenizer().save(changed)
    others = [
        asked.model_copy(update={"model": str(changed)}),
        asked.model_copy(update={"train": asked.train.model_copy(update={"length": 31})}),
        asked.model_copy(update={"train": asked.train.model_copy(update={"precision": "bf16"})}),
    ]
    for n, other in enumerate(others):
        before = len(passes)
        run(other, tmp_path / f"b{n}")
        assert len(passes) == before + 2
    rows = texts(140)
    rows[0]["text"] += " one"
    before = len(passes)
    run(asked, tmp_path / "c", rows)
    assert len(passes) > before


def test_a_damaged_cache_is_computed_again_and_said(models: dict[str, Path], tmp_path: Path, passes: list[Any]) -> None:
    first = run(recipe(models["encoder"]), tmp_path / "a")
    for number, path in enumerate(sorted((tmp_path / ".states").rglob("*.safetensors"))):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data if number else data[:50])
    heard: list[str] = []
    again = run(recipe(models["encoder"]), tmp_path / "b", heard=heard)
    assert len(passes) == 4
    assert sum("computed again" in line for line in heard) == 2
    assert again["scores"] == first["scores"]


def test_a_head_is_refused_beside_another_body(models: dict[str, Path], tmp_path: Path) -> None:
    run(recipe(models["encoder"]), tmp_path / "run")
    model = Model.load(tmp_path / "run")
    with torch.no_grad():
        next(model.transformer.tower.parameters()).add_(1e-3)
    assert "fitted on" in refusal("E-FEATURES", model.predict, ["one two"])


def test_search_chooses_on_training_rows_alone(models: dict[str, Path], tmp_path: Path, passes: list[Any]) -> None:
    heard: list[str] = []
    asked = recipe(models["encoder"], search=True, head=["logistic", "knn"], layers=["last", "all:mix"], pool=["mean"])
    results = run(asked, tmp_path / "run", heard=heard)
    found = results["features"]["search"]
    assert {tuple(one["layers"]) for one in found["tried"]} == {(3,), (1, 2, 3)}
    assert {one["head"] for one in found["tried"]} == {"logistic", "knn"}
    assert found["score"] == max(one["score"] for one in found["tried"])
    assert any("cross-validation on the training rows" in line for line in heard)
    assert passes[0].layers == (1, 2, 3)  # one pass for all that is tried; of the test rows the chosen layers alone
    assert list(passes[1].layers) == results["features"]["chosen"]["layers"]


def test_values_and_pairs(models: dict[str, Path], tmp_path: Path) -> None:
    lots, rows = random.Random(3), list[dict[str, Any]]()
    for _ in range(150):
        same = lots.randint(0, 4)
        a = lots.choices(COLOURS, k=4)
        b = a[:same] + lots.choices(NUMBERS, k=4 - same)
        rows.append({"text": " ".join(a), "pair": " ".join(b), "label": same + 0.5})
    for pairs in ("apart", "joint"):
        asked = recipe(models["encoder"], head="logistic", layers="0,3", pairs=pairs, pair="pair", allow=["near-rows"])
        results = run(asked, tmp_path / pairs, rows)
        assert results["scores"]["pearson"]["value"] > (0.8 if pairs == "apart" else 0.3)
        model = Model.load(tmp_path / pairs)
        assert isinstance(model.predict([{"text": "red", "pair": "red blue"}])[0]["prediction"], float)
    assert run(asked, tmp_path / "again", rows)["features"]["features"] == 32  # two layers of 16, side by side
    apart = json.loads((tmp_path / "apart" / "results.json").read_text())
    assert apart["features"]["features"] == 65
    refusal(
        "E-CONFIG-VALUE", run, recipe(models["encoder"], layers="all", combine="mix", pair="pair"), tmp_path / "m", rows
    )


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_words_are_tagged(models: dict[str, Path], tmp_path: Path, pool: str) -> None:
    lots, rows = random.Random(4), list[dict[str, Any]]()
    for _ in range(40):
        words = lots.choices(COLOURS + NUMBERS + OTHERS, k=6)
        tags = ["C" if w in COLOURS else "N" if w in NUMBERS else "X" for w in words]
        rows.append({"tokens": words, "tags": tags})
    asked = recipe(models["encoder"], head="logistic", layers="0,1", pool=pool, task="tag", strength=10.0)
    results = run(asked, tmp_path / "run", rows)
    assert results["scores"]["accuracy"]["value"] > 0.95
    told = Model.load(tmp_path / "run").predict([{"tokens": ["red", "two", "of"]}])[0]
    assert list(told["prediction"]) == ["C", "N", "X"]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such layer": ({"layers": "last9"}, "E-CONFIG-VALUE"),
    "no layer": ({"layers": "top"}, "E-CONFIG-VALUE"),
    "no such head": ({"head": "tree"}, "E-CONFIG-VALUE"),
    "no such pool": ({"pool": "median"}, "E-CONFIG-VALUE"),
    "too many components": ({"pca": 17}, "E-CONFIG-VALUE"),
    "too many neighbours": ({"head": "knn", "strength": 1000.0}, "E-CONFIG-VALUE"),
    "too little memory": ({"memory_gib": 1e-6}, "E-FEATURES"),
    "an option of a trained head": ({"options": {"hidden": True}}, "E-CONFIG-KEY"),
    "no metric": ({"metric": "bleu"}, "E-CONFIG-VALUE"),
    "a task of another kind": ({"task": "multilabel"}, "E-USAGE"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_before_the_body_is_run(
    models: dict[str, Path], tmp_path: Path, passes: list[Any], name: str
) -> None:
    fields, code = BAD[name]
    rows = texts(80)
    if name == "a task of another kind":
        rows = [{**row, "label": [row["label"]]} for row in rows]
    refusal(code, run, recipe(models["encoder"], **fields), tmp_path / "run", rows)
    assert passes == []
    assert not (tmp_path / "run" / "run.toml").exists()


def test_one_class_is_refused_before_the_body_is_run(
    models: dict[str, Path], tmp_path: Path, passes: list[Any]
) -> None:
    rows = [{**row, "label": "same"} for row in texts(40)]
    refusal("E-ONE-CLASS", run, recipe(models["encoder"]), tmp_path / "run", rows)
    assert passes == []


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 2.0},
        {"strategies": [{"kind": "probe"}]},
        {"train": {"learning_rate": 0.1}},
        {"dropout": 0.2},
        {"merge": True},
        {"features": {"head": ["knn", "svm"]}},
        {"features": {"heads": "knn"}},
    ],
)
def test_keys_that_would_not_be_read_are_refused(fields: dict[str, Any]) -> None:
    values = {"model": "m", "data": "d.csv", "features": {}, **fields}
    with pytest.raises(ModeledgeError):
        load_config(FinetuneRecipe, None, values=values)


def test_rows_on_both_sides_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    asked = recipe(models["encoder"], allow_leak=False)
    with pytest.raises(ModeledgeError) as caught:
        finetune(asked, tmp_path / "run", rows=texts(40), test_rows=texts(40)[:20], say=lambda line: None)
    assert caught.value.code == "E-LEAK"


def test_a_run_that_was_stopped_goes_on(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(models["encoder"])
    whole = run(asked, tmp_path / "whole")

    def stop(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(features_run, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            run(asked, tmp_path / "run")
    again = finetune(asked, tmp_path / "run", rows=texts(140), say=lambda line: None)
    assert again["scores"] == whole["scores"]


@pytest.mark.shared_data
def test_real_rows_in_a_benchmarks_folder(models: dict[str, Path], tmp_path: Path) -> None:
    """RTE as it is given out: the layout says columns and splits, the marks are of its own dev rows."""
    shared = Path(__file__).parents[3] / "shared" / "data" / "rte"
    if not shared.is_dir():
        pytest.skip("rte is not beside the checkout")
    asked = recipe(models["encoder"], head="logistic", data=str(shared), allow=["near-rows"])
    results = finetune(asked, tmp_path / "run", say=lambda line: None)
    assert results["scores"]["accuracy"]["n"] == 277
    assert results["features"]["features"] == 2 * 16 + 1
    assert Model.load(tmp_path / "run").evaluate(str(shared), say=lambda line: None)["scores"] == results["scores"]


def test_the_command(models: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"review": r["text"], "kind": r["label"]}) + "\n" for r in texts(100)))
    words = ["features", str(models["encoder"]), str(data), "--text", "review", "--label", "kind", "--layers", "last2"]
    words += ["--pool", "mean", "--head", "forest", "--pca", "5", "--out", str(tmp_path / "run"), "train.length=32"]
    done = CliRunner().invoke(app, [*words, "allow_leak=true", "train.precision=fp32"])
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.output
    assert (tmp_path / "run" / "report.html").exists()
    out = tmp_path / "answers.csv"
    assert CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(data), "-o", str(out)]).exit_code == 0
    assert len(out.read_text().splitlines()) == 101


def test_a_study_sets_features_beside_training(models: dict[str, Path], tmp_path: Path) -> None:
    """What the shared tables say of training does not concern the cell; both are paired row by row."""
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "".join(f"{r['text']},{r['label']}\n" for r in texts(100)))
    ways = {"probe": [{"kind": "probe"}], "near": [{"kind": "features", "options": {"head": "knn"}}]}
    given = {"text": "text", "label": "label", "epochs": 1.0, "allow_leak": True}
    given["train"] = {"length": 32, "threads": 1, "precision": "fp32", "learning_rate": 1e-3, "batch": 16}
    study = quick_study(str(models["encoder"]), str(data), ways, seeds=2, finetune=given)
    assert compare(study, tmp_path / "study", say=lambda line: None) == []
    results = collect(study, tmp_path / "study")
    near = results.at("near", "task", "accuracy")
    assert near is not None
    assert near.against is not None
    assert near.value > 0.8
    assert len(list((tmp_path / "study" / ".states").iterdir())) == 2  # training and test rows, for both seeds
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        quick_study(str(models["encoder"]), str(data), {"x": [*ways["probe"], *ways["near"]]}, seeds=1, finetune=given)


def test_a_recipe_of_features_is_looked_at_and_not_run(
    models: dict[str, Path], tmp_path: Path, passes: list[Any]
) -> None:
    """`modeledge check`: its rows, and what could not be fitted; no body is run, and no file is written."""
    rows = texts(60)

    def looked(test: list[dict[str, Any]], **features: Any) -> Any:
        for name, part in (("rows", rows), ("test", test)):
            (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in part) + "\n")
        places = {"data": str(tmp_path / "rows.jsonl"), "test": str(tmp_path / "test.jsonl")}
        path = tmp_path / "recipe.toml"
        path.write_text(to_toml(recipe(models["encoder"], allow_leak=False, **places, **features)))
        return CliRunner().invoke(app, ["check", str(path)])

    fresh = [row for row in texts(200, seed=5) if row["text"] not in {other["text"] for other in rows}][:20]
    done = looked(fresh, head="logistic")
    assert done.exit_code == 0, done.output
    leaked = looked(rows[:20], head="logistic")
    assert isinstance(leaked.exception, ModeledgeError)
    assert leaked.exception.code == "E-LEAK"
    large = looked(fresh, head="logistic", pca=500)
    assert isinstance(large.exception, ModeledgeError)
    assert "500" in str(large.exception)
    assert passes == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recipe.toml", "rows.jsonl", "test.jsonl"]
    planned = CliRunner().invoke(app, ["plan", str(tmp_path / "recipe.toml")])
    assert isinstance(planned.exception, ModeledgeError)
    assert planned.exception.code == "E-USAGE"
