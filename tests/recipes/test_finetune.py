"""Fine-tuning as a whole: who is marked on what, values of any size, rows and labels of any kind."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain, StrategyRecipe
from modeledge.recipes.tuning import finetune as recipes
from modeledge.recipes.tuning.finetune import finetune
from modeledge.recipes.tuning.rows import split_rows
from modeledge.tokens import train_tokenizer
from modeledge.train.session import Session

WORDS = "red green blue one two three four five old new big small".split()  # noqa: SIM905


def texts(count: int) -> list[str]:
    lots = random.Random(0)
    return [f"number {n} " + " ".join(lots.choices(WORDS, k=5)) for n in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(texts(200), kind="bpe", vocab_size=320)
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Rotary())
    save_model(
        Transformer(TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), encoder=stack)), folder
    )
    tokenizer.save(folder)
    return folder


def recipe(model: Path, *, train: Mapping[str, Any] | None = None, **fields: Any) -> FinetuneRecipe:
    numbers = {"batch": 8, "length": 32, "threads": 1, "precision": "fp32", "learning_rate": 3e-3, **(train or {})}
    return FinetuneRecipe(model=str(model), data="rows from memory", train=FinetuneTrain(**numbers), **fields)


def rows(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"text": t, "label": y} for t, y in zip(texts(len(labels)), labels, strict=True)]


def run(asked: FinetuneRecipe, folder: Path, data: Any, **more: Any) -> dict[str, Any]:
    return finetune(asked, folder, rows=data, say=lambda line: None, **more)


# ---- parts


def test_the_judge_never_sees_a_test_row(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What chooses the step must not be what marks it: the mark would be the best of many."""
    asked, data = recipe(model, train={"judge_every": 2}), rows(["a", "b"] * 40)
    parts = split_rows(asked, data)
    seen: list[int] = []
    real = recipes.judge_on
    monkeypatch.setattr(recipes, "judge_on", lambda task, chosen: seen.append(len(chosen)) or real(task, chosen))
    results = run(asked, tmp_path / "run", data)
    assert seen == [len(parts.validation)] == [6]
    assert results["scores"]["accuracy"]["n"] == len(parts.test) == 16
    told = [{row["text"] for row in part} for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, told)) == len(set[str]().union(*told)) == 80


def test_without_a_judge_nothing_is_kept_from_training(model: Path) -> None:
    parts = split_rows(recipe(model), rows(["a", "b"] * 20))
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (32, 0, 8)


def test_repeated_texts_stay_on_one_side(model: Path) -> None:
    data = [*rows(["a", "b"] * 30), *rows(["a", "b"] * 10)]
    parts = split_rows(recipe(model), data)
    assert not {row["text"] for row in parts.train} & {row["text"] for row in parts.test}
    assert len(parts.train) + len(parts.test) == 80


@pytest.mark.parametrize("seed", range(4))
def test_a_class_of_one_row_is_learned_and_not_tested(model: Path, seed: int) -> None:
    parts = split_rows(recipe(model, seed=seed), rows([*["a", "b"] * 30, "rare"]))
    assert "rare" in {row["label"] for row in parts.train}


def test_files_that_share_texts_are_refused(model: Path, tmp_path: Path) -> None:
    data = rows(["a", "b"] * 10)
    with pytest.raises(ModeledgeError, match="E-LEAK"):
        run(recipe(model), tmp_path / "run", data, test_rows=data[:3])
    run(recipe(model, allow_leak=True, epochs=1.0), tmp_path / "run", data, test_rows=data[:3])


def test_one_row_cannot_be_split(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match="E-EMPTY-SPLIT"):
        run(recipe(model), tmp_path / "run", rows(["a"]))


def test_test_rows_may_be_a_data_frame(model: Path, tmp_path: Path) -> None:
    data = rows(["a", "b"] * 20)
    results = run(
        recipe(model, epochs=1.0), tmp_path / "run", pd.DataFrame(data[:30]), test_rows=pd.DataFrame(data[30:])
    )
    assert results["rows"] == {"train": 30, "validation": 0, "test": 10, "cut": 0}


# ---- values and labels


def test_values_of_any_size_are_learned(model: Path, tmp_path: Path) -> None:
    """A head that answers about 0 would need hundreds of steps to reach 1,000."""
    values = [1000.0 + 50.5 * ("red" in text) + 10.25 * ("one" in text) for text in texts(120)]
    results = run(recipe(model, epochs=6.0), tmp_path / "run", rows(values))
    spread = float(np.var(values))
    assert results["scores"]["mean_squared_error"]["value"] < spread
    told = [row["prediction"] for row in Model.load(tmp_path / "run").predict([{"text": t} for t in texts(120)])]
    assert np.mean((np.array(told) - np.array(values)) ** 2) < spread


LABELS = {
    "words": ["up", "down"],
    "numbers as text": ["2", "10"],
    "whole floats": [0.0, 1.0],
    "numpy integers": [np.int64(0), np.int64(1)],
    "booleans": [True, False],
    "signs that look like digits": ["²", "--5"],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_come_back_as_names(model: Path, tmp_path: Path, kind: str) -> None:
    run(recipe(model, epochs=1.0), tmp_path / "run", rows(LABELS[kind] * 20))
    names = json.loads((tmp_path / "run" / "model" / "task.json").read_text())["names"]
    plain = [str(int(x)) if isinstance(x, float) else str(x) for x in LABELS[kind]]
    assert names == (["2", "10"] if kind == "numbers as text" else sorted(plain))
    (answer,) = Model.load(tmp_path / "run").predict([{"text": "red"}])
    assert answer["prediction"] in names


# ---- resume


def test_the_model_that_is_kept_is_the_best_one(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = iter([0.2, 0.9, 0.1, 0.1, 0.1, 0.1])
    monkeypatch.setattr(recipes, "judge_on", lambda task, chosen: lambda model: {"accuracy": next(marks)})
    said: list[str] = []
    asked = recipe(model, train={"judge_every": 2, "keep_last": 1, "patience": 2}, epochs=2.0)
    finetune(asked, tmp_path / "run", rows=rows(["a", "b"] * 40), say=said.append)
    assert any("the model of step 4 is kept" in line for line in said)
    best = load_file(tmp_path / "run" / "checkpoints" / "step-4" / "state.safetensors")
    kept = Model.load(tmp_path / "run").transformer.state_dict()
    assert torch.equal(best["step|model.tokens"], kept["tokens"])


def test_another_validation_file_is_another_run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, labels in (("one", "ab" * 8), ("two", "ba" * 8)):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": f"{name} {n}", "label": y}) + "\n" for n, y in enumerate(labels))
        )
    asked = recipe(model, train={"judge_every": 2, "save_every": 2}, validation=str(tmp_path / "v.jsonl"))
    (tmp_path / "v.jsonl").write_bytes((tmp_path / "one.jsonl").read_bytes())
    real = Session.run
    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", lambda self, listeners=(): real(self, listeners, until=4))
        patch.setattr(recipes, "finish", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(asked, tmp_path / "run", rows(["a", "b"] * 40))
    (tmp_path / "v.jsonl").write_bytes((tmp_path / "two.jsonl").read_bytes())
    with pytest.raises(ModeledgeError, match="E-RESUME"):
        run(asked, tmp_path / "run", rows(["a", "b"] * 40), resume=True)


# ---- settings that nobody would read


@pytest.mark.parametrize("train", [{"steps": 2}, {"patience": 3}])
def test_settings_without_effect_are_refused(model: Path, train: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"epochs|judge_every"):
        recipe(model, train=train)


def test_an_unknown_metric_names_the_nearest(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match="accuracy"):
        run(recipe(model, metric="acuracy", train={"judge_every": 1}), tmp_path / "run", rows(["a", "b"] * 20))


# ---- the rate that nobody asked for


def test_a_rate_that_nobody_asked_for_is_the_field_s_for_wide_models(model: Path, tmp_path: Path) -> None:
    """5e-5 at BERT's width; and one override of another number does not bring pre-training's rate back."""
    assert FinetuneTrain().fitted(768).peak == 5e-5
    assert FinetuneTrain().fitted(384).peak == pytest.approx(1e-4)
    assert FinetuneTrain().fitted(16).peak == 3e-4
    assert FinetuneTrain(learning_rate=0.5).fitted(768).peak == 0.5
    asked = load_config(FinetuneRecipe, None, ["train.length=16"], values={"model": "m", "data": "d"})
    assert asked.train.learning_rate is None
    assert asked.train.warmup == 0.1


# ---- the verb


def verb_ground(model: Path, folder: Path) -> str:
    """A recipe and its rows in a folder; the recipe's path."""
    pd.DataFrame(rows(["a", "b"] * 20)).to_csv(folder / "rows.csv", index=False)
    words = f'model = "{model}"\ndata = "{folder / "rows.csv"}"\nepochs = 1.0\n'
    (folder / "mine.toml").write_text(words + "[train]\nbatch = 8\nlength = 32\nprecision = 'fp32'\n")
    return str(folder / "mine.toml")


def test_options_beside_a_recipe_are_keys_over_it(model: Path, tmp_path: Path) -> None:
    path, out = verb_ground(model, tmp_path), tmp_path / "run"
    words = ["finetune", path, "--seed", "7", "--strategy", "probe", "--learning-rate", "0.01", "--allow", "batch"]
    done = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert done.exit_code == 0, done.output
    made = load_config(FinetuneRecipe, out / "run.toml")
    assert (made.seed, made.epochs, made.train.batch, made.train.learning_rate) == (7, 1.0, 8, 0.01)
    assert [strategy.kind for strategy in made.strategies] == ["probe"]
    assert made.allow == ("batch",)


def test_an_option_that_a_recipe_of_several_tasks_cannot_have_is_refused(model: Path, tmp_path: Path) -> None:
    verb_ground(model, tmp_path)
    (tmp_path / "tasks.toml").write_text(f'model = "{model}"\n[tasks.one]\ndata = "{tmp_path / "rows.csv"}"\n')
    words = ["finetune", str(tmp_path / "tasks.toml"), "--text", "text", "--out", str(tmp_path / "run")]
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-KEY.*'text'"):
        CliRunner().invoke(app, words, catch_exceptions=False)


# ---- what strategies and metrics are named


@pytest.mark.parametrize("outputs", [1, 5])
def test_a_head_with_another_number_of_scores_than_classes_is_refused(
    model: Path, tmp_path: Path, outputs: int
) -> None:
    """It would be trained, marked and written, and no verb could open it."""
    strategies = (StrategyRecipe(kind="replaced-head", options={"outputs": outputs}),)
    with pytest.raises(
        ModeledgeError, match=f"E-CONFIG-VALUE.*scores {outputs} classes, and the task has 2.*outputs=2"
    ):
        run(recipe(model, strategies=strategies, check=False), tmp_path / "run", rows(["a", "b"] * 20))


def test_a_metric_that_the_task_has_not_is_refused_without_a_judge_too(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE.*'acuracy' is no metric.*did you mean 'accuracy'"):
        run(recipe(model, metric="acuracy"), tmp_path / "run", rows(["a", "b"] * 20))


def test_a_wrong_option_of_a_strategy_is_told_with_the_nearest_one(model: Path, tmp_path: Path) -> None:
    strategies = (StrategyRecipe(kind="lora", options={"rnk": 4}),)
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-KEY.*'rnk'; did you mean 'rank'"):
        run(recipe(model, strategies=strategies), tmp_path / "run", rows(["a", "b"] * 20))


def test_adapters_that_cannot_be_folded_in_are_refused_before_the_first_step(model: Path, tmp_path: Path) -> None:
    two = (StrategyRecipe(kind="dora"), StrategyRecipe(kind="lora", options={"name": "second"}))
    with pytest.raises(ModeledgeError, match=r"E-MERGE.*default, second act on one map"):
        run(recipe(model, strategies=two, merge=True), tmp_path / "run", rows(["a", "b"] * 20))
    assert not (tmp_path / "run" / "run.toml").exists()


# ---- going on


def test_a_recipe_that_was_changed_after_a_checkpoint_is_refused(model: Path, tmp_path: Path) -> None:
    """Else the rest of the run has another schedule, and nobody is told. How often it saves may change."""
    data, folder = rows(["a", "b"] * 20), tmp_path / "run"

    def stop(record: Any) -> None:
        if record.step == 3:
            raise KeyboardInterrupt

    asked = recipe(model, train={"save_every": 1}, epochs=2.0)
    with pytest.raises(KeyboardInterrupt):
        run(asked, folder, data, listeners=[stop])
    begun = (folder / "run.toml").read_text()
    for old, new, said in (("epochs = 2.0", "epochs = 5.0", "epochs was 2.0, is 5.0"), ("0.1", "0.2", "dropout was")):
        assert old in begun
        (folder / "run.toml").write_text(begun.replace(f"dropout = {old}", f"dropout = {new}").replace(old, new))
        changed = load_config(FinetuneRecipe, folder / "run.toml")
        with pytest.raises(ModeledgeError, match=f"E-RESUME.*{said}"):
            run(changed, folder, data, resume=True)
    (folder / "run.toml").write_text(begun.replace("save_every = 1", "save_every = 2"))
    run(load_config(FinetuneRecipe, folder / "run.toml"), folder, data, resume=True)
    assert (folder / "model" / "model.safetensors").exists()
