"""What is refused before the first run of a study, and what may change when it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studies_small import NUMBERS, STACK, generated, quiet, tree

import modeledge as me
from modeledge import files
from modeledge.cli.study import of_words
from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare import StudyRecipe, compare, same
from modeledge.recipes.compare.same import BASES, check_study
from modeledge.recipes.compare.table import finish_study, write_results
from modeledge.recipes.compare.unfold import unfolded

FULL, LORA = {}, {"finetune": {"strategies": [{"kind": "lora", "options": {"rank": 2}}]}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small texts and rows, and a model beside them."""
    home = generated(tmp_path_factory.mktemp("data"))
    recipe: dict[str, Any] = {
        "corpus": {"paths": [str(home / "texts" / "a.txt")]},
        "tokenizer": {"vocab_size": 320},
        "model": {"preset": "none", "shape": {"width": 16, "encoder": STACK}},
        "objective": {"kind": "masked"},
        "train": {**NUMBERS, "steps": 1, "batch": 4},
    }
    me.pretrain(recipe, home / "model", say=quiet)
    return home


def adapting(data: Path, cells: dict[str, Any] | None = None, **changes: Any) -> StudyRecipe:
    """Two ways to adapt a model that exists, marked on the same rows."""
    base = tree(data)
    values = {key: base[key] for key in ("data", "finetune", "tasks")}
    values |= {"seeds": [0], "model": "{data}/model/model", "cells": cells or {"full": FULL, "lora": LORA}}
    values["tasks"] = {"tone": {**base["tasks"]["tone"], **changes.pop("tone", {})}}
    return load_config(StudyRecipe, None, values=unfolded({**values, **changes}))


def refused(code: str, study: StudyRecipe, folder: Path, **named: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        compare(study, folder, say=quiet, **named)
    assert caught.value.code == code, str(caught.value)
    assert not list(folder.glob("cells/*/*/*/metrics.jsonl")) or named, "nothing was trained"
    return str(caught.value)


@pytest.mark.parametrize(
    ("cell", "code", "told"),
    [
        ({"strategies": [{"kind": "loar"}]}, "E-CONFIG-VALUE", "did you mean 'lora'"),
        ({"strategies": [{"kind": "lora", "options": {"rnak": 2}}]}, "E-CONFIG-KEY", "did you mean 'rank'"),
        ({"strategies": [{"kind": "lora", "options": {"rank": 0}}]}, "E-CONFIG-VALUE", "rank"),
        ({"metric": "acuracy"}, "E-CONFIG-VALUE", "did you mean 'accuracy'"),
        ({"task": "clasification"}, "E-CONFIG-VALUE", "did you mean 'classification'"),
    ],
)
def test_a_wrong_word_of_one_cell_is_refused_before_the_others_run(
    data: Path, tmp_path: Path, cell: dict[str, Any], code: str, told: str
) -> None:
    said = refused(code, adapting(data, {"full": FULL, "odd": {"finetune": cell}}), tmp_path / "study")
    assert "cells.odd.finetune" in said
    assert told in said


@pytest.mark.parametrize("metric", ["acuracy", "pearson"])
def test_a_metric_that_the_task_has_not_is_refused_before_anything_is_trained(
    data: Path, tmp_path: Path, metric: str
) -> None:
    said = refused("E-CONFIG-VALUE", adapting(data, tone={"metrics": [metric]}), tmp_path / "study")
    assert "tasks.tone.metrics" in said
    assert "accuracy" in said
    budgets = {"metrics": ["accuracy", metric], "budgets": [10, 20]}
    assert "tasks.tone.metrics" in refused("E-CONFIG-VALUE", adapting(data, tone=budgets), tmp_path / "study")


def test_the_metric_of_a_few_words_is_one(data: Path) -> None:
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: --metric: .*did you mean 'accuracy'"):
        of_words(str(data / "model"), [str(data / "tone.csv")], {}, "full", "", 1, "acuracy")


def test_other_metrics_labels_and_rows_to_compare_with_lose_no_run(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    finish_study(adapting(data), folder, say=quiet)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}
    cells = {"full": {"label": "Whole", "group": "a"}, "lora": {**LORA, "label": "LoRA"}}
    tone = {"metrics": ["matthews", "f1_macro"], "label": "Tone"}
    asked = adapting(data, cells, tone=tone, title="Anew", note="n", against="lora")
    finish_study(asked, folder, resume=True, say=quiet)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    results = files.read_json(folder / "results.json")
    assert [o["metric"] for o in results["outcomes"]] == ["matthews"] * 2 + ["f1_macro"] * 2
    assert "Whole" in (folder / "report.html").read_text()
    told = refused("E-CONFIG-VALUE", adapting(data, tone={"metrics": ["pearson"]}), folder, resume=True)
    assert "full/seed-0/tone is finished, and was not marked by 'pearson'" in told
    assert f"remove {folder}/cells/full/seed-0/tone" in told
    assert "matthews" in (folder / "run.toml").read_text(), "what is refused changes nothing"
    write_results(asked, folder)


def test_a_cell_of_which_no_run_was_begun_may_still_be_corrected(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    assert compare(adapting(data), folder, only=["full"], say=quiet) == []
    other = {"full": FULL, "lora": {"finetune": {"strategies": [{"kind": "lora", "options": {"rank": 4}}]}}}
    check_study(adapting(data, other), folder)
    assert compare(adapting(data, other), folder, resume=True, say=quiet) == []
    assert "cells.lora.finetune" in refused("E-RESUME", adapting(data), folder, resume=True)


def test_what_a_search_chose_by_may_not_change(data: Path, tmp_path: Path) -> None:
    search = {"trials": 1, "keys": {"epochs": [0.5, 1.0]}}
    folder, cells = tmp_path / "study", {"full": FULL}
    assert compare(adapting(data, cells, search=search), folder, say=quiet) == []
    other = adapting(data, cells, search=search, tone={"metrics": ["f1_macro", "accuracy"]})
    assert "tasks.tone.metrics was accuracy, is f1_macro" in refused("E-RESUME", other, folder, resume=True)
    check_study(adapting(data, cells, search=search, tone={"metrics": ["accuracy", "matthews"]}), folder)


def test_other_weights_below_one_table_are_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, asked = tmp_path / "study", adapting(data)
    assert compare(asked, folder, only=["full"], say=quiet) == []
    path = data / "model" / "model" / "model.safetensors"
    was, kept = path.read_bytes(), files.read_json(folder / BASES)
    path.write_bytes(was[:-4] + b"\0\0\x80\x3f")
    told = refused("E-RESUME", asked, folder, resume=True)
    assert f"had SHA-256 {next(iter(kept.values()))['model.safetensors']['sha256']}" in told
    assert files.sha256(path) in told
    path.write_bytes(was)
    assert files.read_json(folder / BASES) == kept, "what is refused changes nothing"
    assert compare(asked, folder, resume=True, say=quiet) == []
    path.write_bytes(was[:-4] + b"\0\0\x80\x3f")
    assert compare(asked, folder, resume=True, say=quiet) == [], "nothing is left that would begin with it"
    path.write_bytes(was)


def test_a_file_that_nothing_touched_is_not_hashed_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = same.digests(data / "model" / "model", {})
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= known.keys()
    monkeypatch.setattr(files, "sha256", lambda path: pytest.fail("it was read again"))
    assert same.digests(data / "model" / "model", json.loads(json.dumps(known))) == known


def test_a_study_without_digests_goes_on_and_is_told_so(data: Path, tmp_path: Path) -> None:
    folder, told = tmp_path / "study", list[str]()
    assert compare(adapting(data), folder, only=["full"], say=quiet) == []
    (folder / BASES).unlink()
    assert compare(adapting(data), folder, resume=True, say=told.append) == []
    assert any("kept no digest of" in line for line in told)
    assert (folder / BASES).exists()


def test_more_seeds_draw_their_own_rows(data: Path, tmp_path: Path) -> None:
    folder, tone = tmp_path / "study", {"budgets": [20], "draw": "seed"}
    assert compare(adapting(data, {"full": FULL}, tone=tone), folder, say=quiet) == []
    first = (folder / "data" / "tone-20" / "train-seed-0.jsonl").read_bytes()
    assert compare(adapting(data, {"full": FULL}, tone=tone, seeds=[0, 1]), folder, resume=True, say=quiet) == []
    both = [(folder / "data" / "tone-20" / f"train-seed-{seed}.jsonl").read_bytes() for seed in (0, 1)]
    assert both[0] == first != both[1]


def test_a_study_of_bodies_that_are_trained_here_keeps_them_under_a_corrected_metric(
    data: Path, tmp_path: Path
) -> None:
    """Whether the task has it is seen when the first run is finished: then it is corrected, and nothing runs again."""
    base, folder = tree(data), tmp_path / "study"
    values = {**base, "cells": {"next": base["cells"]["next"]}, "seeds": [0], "against": None}

    def asked(metric: str) -> StudyRecipe:
        tone = {**base["tasks"]["tone"], "metrics": [metric]}
        return load_config(StudyRecipe, None, values={**values, "tasks": {"tone": tone}})

    with pytest.raises(ModeledgeError, match=r"tasks.tone.metrics.*not marked by 'pearson'.*--resume"):
        finish_study(asked("pearson"), folder, say=quiet)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}
    finish_study(asked("matthews"), folder, resume=True, say=quiet)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")} == before
    assert files.read_json(folder / "results.json")["outcomes"][0]["metric"] == "matthews"
