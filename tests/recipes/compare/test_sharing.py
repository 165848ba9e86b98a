"""Cells that learn all their tasks on one body: the runs, the marks, what sharing costs and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies_small import STACK, generated, quiet, sentences, tree

from modeledge import files
from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare import StudyRecipe, load_study
from modeledge.recipes.compare.engine import compare, recipe_of
from modeledge.recipes.compare.grid import Unit, needed, search_of, units
from modeledge.recipes.compare.results import collect
from modeledge.recipes.compare.sharing import apart, total
from modeledge.recipes.compare.table import finish_study

CELLS: dict[str, Any] = {
    "single": {"pretrain": {"model": {"shape": {"decoder": STACK}}}},
    "both": {"of": "single", "together": {"sampling": "annealed"}},
}


def sharing(data: Path, **changes: Any) -> dict[str, Any]:
    """A body, fine-tuned on two tasks alone and together."""
    base = tree(data)
    tone = {**base["tasks"]["tone"], "draw": "seed"}
    tint = {**base["tasks"]["tone"], "values": {"label": {"0": "pale", "1": "deep"}}, "metrics": ["f1_macro"]}
    asked = {**base["tasks"]["tone"], "data": "{data}/other.csv", "learns": "tone"}
    tasks = {"tone": tone, "tint": tint, "asked": asked}
    finetune = {**base["finetune"], "mark_train": 4}
    values = {**base, "cells": CELLS, "tasks": tasks, "against": "single", "finetune": finetune}
    return {**values, "seeds": [0, 1], **changes}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = generated(tmp_path_factory.mktemp("data"))
    rows = [f"{text},{int('red' in text)}" for text in sentences(12, 7, 9)]
    (folder / "other.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def ran(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecipe, Path]:
    study = load_config(StudyRecipe, None, values=sharing(data))
    folder = tmp_path_factory.mktemp("runs") / "study"
    finish_study(study, folder, say=quiet)
    return study, folder


def test_a_run_of_all_tasks_comes_before_what_asks_it(ran: tuple[StudyRecipe, Path]) -> None:
    study, _ = ran
    found = [u.name for u in units(study)]
    for task in ("tone", "tint", "asked"):
        assert found.index("both/seed-0/together") < found.index(f"both/seed-0/{task}")
        assert needed(study, Unit("both", 0, task)) == (Unit("both", 0, "together"),)
    assert needed(study, Unit("both", 1, "together")) == (Unit("single", 1),)


def test_the_model_of_each_task_answers_it(ran: tuple[StudyRecipe, Path]) -> None:
    study, folder = ran
    asked = {task: files.read_json(folder / "cells/both/seed-1" / task / "asked.json")["model"] for task in study.tasks}
    here = folder / "cells/both/seed-1/together/tasks"
    assert asked == {"tone": str(here / "tone"), "tint": str(here / "tint"), "asked": str(here / "tone")}
    told = files.read_json(folder / "cells/both/seed-1/together/results.json")["tasks"]
    for task in ("tone", "tint"):
        own = files.read_json(folder / "cells/both/seed-1" / task / "results.json")["scores"]
        assert own["f1_macro"]["value"] == told[task]["scores"]["f1_macro"]["value"], "what the run itself marked"


def test_both_ways_learn_and_are_marked_on_the_same_rows(ran: tuple[StudyRecipe, Path]) -> None:
    study, folder = ran
    together = recipe_of(study, Unit("both", 1, "together"), folder)
    for task in ("tone", "tint"):
        alone = recipe_of(study, Unit("single", 1, task), folder)
        rows = together.tasks[task]
        assert (rows.data, rows.test, rows.text, rows.label) == (alone.data, alone.test, alone.text, alone.label)
        assert (together.model, together.epochs, together.train) == (alone.model, alone.epochs, alone.train)
    assert together.sampling == "annealed"
    assert "train-seed-1" in together.tasks["tone"].data


def test_the_report_says_what_sharing_costs(ran: tuple[StudyRecipe, Path]) -> None:
    study, folder = ran
    page, results = (folder / "report.html").read_text(), collect(study, folder)
    for words in ("What sharing costs each task", "MB kept for all", "Seconds of training"):
        assert words in page, words
    outcome = results.at("both", "tint", "f1_macro")
    assert outcome is not None
    assert outcome.against is not None
    assert apart(outcome) in page
    single, both = (total(results, folder, cell, "kept_bytes") for cell in ("single", "both"))
    assert single is not None
    assert both is not None
    assert 1.8 < single / both < 2, "two bodies with a head each, against one body with two heads"
    assert (total(results, folder, "both", "seconds") or 0) > 0


def test_a_run_of_all_tasks_is_not_repeated(ran: tuple[StudyRecipe, Path]) -> None:
    study, folder = ran
    before = {p: p.stat().st_mtime_ns for p in folder.glob("cells/both/*/*/results.json")}
    assert compare(study, folder, resume=True, say=quiet) == []
    assert {p: p.stat().st_mtime_ns for p in folder.glob("cells/both/*/*/results.json")} == before
    assert len(before) == 8


def test_one_run_of_a_cell_brings_the_rows_of_all(data: Path, tmp_path: Path) -> None:
    study = load_config(StudyRecipe, None, values=sharing(data))
    assert compare(study, tmp_path / "study", only=["both/seed-0/tint"], say=quiet) == []
    assert sorted(p.name for p in (tmp_path / "study" / "data").iterdir()) == ["tint", "tone"]


def test_a_task_of_several_says_nothing_of_its_training(data: Path, tmp_path: Path) -> None:
    values = sharing(data)
    values["tasks"]["tint"] = {**values["tasks"]["tint"]}
    values["tasks"]["tint"]["finetune"] = {**values["tasks"]["tint"]["finetune"], "epochs": 2.0}
    with pytest.raises(ModeledgeError, match=r"'epochs' is said of one task alone") as caught:
        compare(load_config(StudyRecipe, None, values=values), tmp_path / "study", say=quiet)
    assert caught.value.code == "E-CONFIG-KEY"
    assert not (tmp_path / "study").exists(), "before anything runs"


@pytest.mark.parametrize("change", [{"tasks": ["tone"]}, {"search": {"keys": {"epochs": [1.0, 2.0]}}}])
def test_several_tasks_and_no_search(data: Path, change: dict[str, Any]) -> None:
    cells = {**CELLS, "both": {**CELLS["both"], **change}}
    with pytest.raises(ModeledgeError, match="several tasks"):
        load_config(StudyRecipe, None, values=sharing(data, cells=cells))


def test_a_search_of_the_study_is_not_of_cells_of_all_tasks(data: Path) -> None:
    study = load_config(StudyRecipe, None, values=sharing(data, search={"keys": {"epochs": [1.0, 2.0]}}))
    assert search_of(study, "single") is not None
    assert search_of(study, "both") is None
    assert not any(u.search and u.cell == "both" for u in units(study))


@pytest.mark.parametrize("scale", ["smoke", "default", "full"])
def test_every_recipe_of_the_shipped_study_is_one(scale: str, tmp_path: Path) -> None:
    path = Path(__file__).parents[3] / "recipes" / "sharing.toml"
    study = load_study(path, scale, values={"model": str(tmp_path)})
    for unit in units(study):
        recipe = recipe_of(study, unit, tmp_path)
        assert recipe.seed == unit.seed
        if unit.task == "together":
            assert set(recipe.tasks) == set(study.tasks)
            assert recipe.tasks["rte"].pair == "sentence2"
