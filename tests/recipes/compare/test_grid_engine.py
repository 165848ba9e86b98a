"""The grid engine: nothing finished is repeated, what was stopped goes on, what fails is told and the rest runs."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from studies_small import NUMBERS, STACK, generated, quiet, study

from modeledge import files
from modeledge.config import to_toml
from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.recipes.compare import StudyRecipe, collect, compare
from modeledge.recipes.compare import engine as grid_engine
from modeledge.recipes.compare.grid import Unit, units
from modeledge.recipes.compare.jobs import Workers
from modeledge.recipes.compare.table import finish_study
from modeledge.recipes.resume import resume as resume_run

NAMES = [f"{cell}/seed-{seed}/{run}" for seed in (0, 1) for cell in ("next", "hidden") for run in ("pretrain", "tone")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study run in one go."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    finish_study(study(data), folder, say=quiet)
    return folder


def numbers(folder: Path) -> dict[str, bytes]:
    """Everything that a study computed: logs, answers and weights, without what a clock says."""
    kept = ("metrics.jsonl", "answers.json", "model.safetensors", "results.json", "tokenizer.json")
    paths = [path for path in folder.rglob("*") if path.name in kept and path.parent != folder]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refused(code: str, *args: Any, **named: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        compare(*args, say=quiet, **named)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def test_every_cell_seed_and_task_is_a_run(whole: Path, data: Path) -> None:
    assert [unit.name for unit in units(study(data))] == NAMES
    for name in NAMES:
        assert (whole / "cells" / name / "model" / "config.json").exists()
        assert (whole / "cells" / name / "run.toml").exists()
        assert not (whole / "cells" / name / "checkpoints").exists(), "they go when the model is there"
    shared = {files.sha256(whole / "cells" / name / "model" / "tokenizer.json") for name in NAMES}
    assert shared == {files.sha256(whole / "tokenizer" / "tokenizer.json")}
    assert not any((whole / "cells" / name / "corpus").exists() for name in NAMES), "one corpus for all"


def test_a_body_that_does_not_fit_is_refused_before_the_corpus(data: Path, tmp_path: Path) -> None:
    cells = {"next": {"pretrain": {"model": {"shape": {"encoder": STACK}}}}}
    told = refused("E-CONFIG", study(data, cells=cells), tmp_path / "study")
    assert "cells.next.pretrain: objective.kind: objective 'causal'" in told
    assert not (tmp_path / "study" / "corpus").exists()


def test_a_run_of_a_study_is_an_ordinary_run(whole: Path, data: Path) -> None:
    """The body that a fine-tuning begins with is that of its own cell and seed, the rows are those of the study."""
    recipe = (whole / "cells" / "hidden" / "seed-1" / "tone" / "run.toml").read_text()
    assert f'model = "{whole}/cells/hidden/seed-1/pretrain"' in recipe
    assert f'data = "{whole}/data/tone/train.jsonl"' in recipe
    assert "seed = 1" in recipe


def test_the_results_are_read_off_the_runs(whole: Path, data: Path) -> None:
    results = collect(study(data), whole)
    assert {(o.cell, o.task, o.metric) for o in results.outcomes} == {
        (cell, "tone", metric) for cell in ("next", "hidden") for metric in ("accuracy", "f1_macro")
    }
    for outcome in results.outcomes:
        marks = [
            files.read_json(Unit(outcome.cell, seed, "tone").folder(whole) / "results.json")["scores"]
            for seed in (0, 1)
        ]
        assert list(outcome.by_seed.values()) == pytest.approx([m[outcome.metric]["value"] for m in marks])
        assert outcome.value == pytest.approx(sum(outcome.by_seed.values()) / 2)
        assert (outcome.against is None) == (outcome.cell == "next")
        if outcome.against is not None:
            base = results.at("next", "tone", outcome.metric)
            assert base is not None
            assert outcome.against.mean == pytest.approx(outcome.value - base.value)
    rows = list(csv.DictReader((whole / "results.csv").open()))
    assert len(rows) == 4
    assert rows[2]["against"] == "next"
    page = (whole / "report.html").read_text()
    assert "Two cells" in page
    assert "Encoder" in page


def test_the_costs_are_those_of_the_body(whole: Path) -> None:
    """Two operations a multiply-add, three times (forwards, towards inputs, towards weights), less what no gradient
    needs: the products of the linear layers alone give a floor, and attention and the first layer a margin."""
    facts = files.read_json(whole / "cells" / "next" / "seed-0" / "pretrain" / "facts.json")
    width, inner, vocab = 16, 32, files.read_json(whole / "cells/next/seed-0/pretrain/model/config.json")["vocab_size"]
    linear = 4 * width * width + 2 * width * inner + width * vocab
    assert 6 * linear * 0.98 <= facts["flops_per_token"] <= 6 * linear * 1.3
    assert facts["steps"] == 4
    assert facts["tokens"] == sum(
        row["tokens"] for row in grid_engine_records(whole / "cells/next/seed-0/pretrain/metrics.jsonl")
    )


def grid_engine_records(path: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_finished_study_runs_nothing_again(whole: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.glob("cells/*/*/*/**/*") if path.is_file()}

    def run(*args: Any) -> None:
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(grid_engine, "run", run)
    assert compare(study(data), whole, resume=True, say=quiet) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("stop", ["corpus", "pretrain 2", "tone 3"])
def test_stopped_anywhere_it_goes_on_to_the_same_numbers(
    stop: str, whole: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies in the middle: the run that it was in goes on from its checkpoint, bit for bit."""
    folder, asked = tmp_path / "study", study(data)
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from modeledge.config import load_config\nfrom modeledge.recipes.compare import StudyRecipe, compare\n"
        "from modeledge.recipes.compare import engine\nfrom modeledge.train.session import Session\n"
        "where, step = sys.argv[2].split()[0], int((sys.argv[2] + ' 0').split()[1])\n"
        "save = Session.save\n"
        "def dies(self, log):\n"
        "    save(self, log)\n"
        "    if 'hidden' in str(self.folder) and self.folder.name == where and self.trainer.done == step:\n"
        "        os._exit(9)\n"
        "Session.save = dies\n"
        "if where == 'corpus':\n"
        "    built = engine.shared_corpus\n"
        "    def dies_too(*args): built(*args); os._exit(9)\n"
        "    engine.shared_corpus = dies_too\n"
        "compare(load_config(StudyRecipe, Path(sys.argv[1])), Path(sys.argv[3]), only=['hidden/seed-0'], \n"
        "        say=lambda line: None)\n"
    )
    (tmp_path / "study.toml").write_text(to_toml(asked))
    words = [sys.executable, "-c", code, str(tmp_path / "study.toml"), stop, str(folder)]
    died = subprocess.run(words, check=False, capture_output=True, text=True, env={**os.environ})
    assert died.returncode == 9, died.stderr
    assert refused("E-OUTPUT", asked, folder)
    told: list[str] = []
    assert compare(asked, folder, resume=True, only=["hidden/seed-0"], say=told.append) == []
    if stop == "pretrain 2":
        assert "resumed after step 2" in told
        assert "resumed after step 0" not in told
    mine, theirs = same_places(numbers(folder), folder), same_places(numbers(whole), whole)
    assert len([name for name in mine if name.startswith("cells/hidden/seed-0")]) == 8
    assert mine == {name: theirs[name] for name in mine}


def same_places(found: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    return {name: value.replace(str(folder).encode(), b"STUDY") for name, value in found.items()}


def test_another_study_is_refused_with_the_difference(whole: Path, data: Path) -> None:
    changed = study(data, finetune={"epochs": 0.7, "train": {**NUMBERS, "batch": 8, "learning_rate": 3e-3}})
    said = refused("E-RESUME", changed, whole, resume=True)
    assert "finetune.epochs was 0.5, is 0.7" in said
    assert "finetune.train.save_every was 1, is –" in said
    assert compare(study(data, minutes=7.0), whole, resume=True, say=quiet) == [], "a budget changes no number"


def test_modeledge_resume_goes_on_with_a_study(whole: Path, data: Path, tmp_path: Path) -> None:
    folder, asked = tmp_path / "study", study(data, seeds=[0])
    assert compare(asked, folder, only=["next"], say=quiet) == []
    done = {unit.name for unit in units(asked) if (unit.folder(folder) / "model").exists()}
    assert done == set(NAMES[:2])
    resume_run(folder, say=quiet)
    mine, theirs = same_places(numbers(folder), folder), same_places(numbers(whole), whole)
    assert set(NAMES[:4]) == {str(Path(name).parent).removeprefix("cells/") for name in mine if "metrics" in name}
    assert mine == {name: theirs[name] for name in mine}
    assert "seeds" in refused("E-RESUME", study(data, seeds=[1, 0]), folder, resume=True)
    assert compare(study(data), folder, resume=True, say=quiet) == [], "more seeds are welcome"
    assert same_places(numbers(folder), folder) == theirs


def test_only_takes_what_a_run_needs(data: Path, tmp_path: Path) -> None:
    assert compare(study(data), tmp_path / "study", only=["*/seed-1/tone"], say=quiet) == []
    done = {unit.name for unit in units(study(data)) if (unit.folder(tmp_path / "study") / "model").exists()}
    assert done == set(NAMES[4:])
    assert "did you mean 'hidden'" in refused("E-USAGE", study(data), tmp_path / "x", only=["hiden"])


def test_a_cell_that_cannot_be_is_refused_before_anything_runs(data: Path, tmp_path: Path) -> None:
    cells = {"bad": {"pretrain": {"objective": {"kind": "masked"}}}, "next": {}}
    base = {"model": {"shape": {"width": 16, "decoder": STACK}}, "train": {**NUMBERS, "steps": 4, "batch": 4}}
    told = refused("E-CONFIG", study(data, seeds=[0], cells=cells, pretrain=base), tmp_path / "study")
    assert "cells.bad.pretrain" in told
    assert "does not fit this model" in told
    assert not (tmp_path / "study" / "cells").exists()


def test_a_failed_cell_is_told_and_the_others_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that fails fails at its own place; what needs its model is told too."""
    real = grid_engine.pretrain

    def pretrain(recipe: Any, folder: Path, **how: Any) -> Any:
        if "bad" in folder.parts:
            raise ModeledgeError("E-DISK", "this disk does not fit this model")
        return real(recipe, folder, **how)

    monkeypatch.setattr(grid_engine, "pretrain", pretrain)
    folder = tmp_path / "study"
    cells = {"bad": {}, "next": {}}
    base = {"model": {"shape": {"width": 16, "decoder": STACK}}, "train": {**NUMBERS, "steps": 4, "batch": 4}}
    trouble = study(data, seeds=[0], cells=cells, pretrain=base)
    with pytest.raises(ModeledgeError, match=r"E-STUDY.*2 of the study's runs failed: bad/seed-0/pretrain") as caught:
        finish_study(trouble, folder, say=quiet)
    assert caught.value.exit_status != 0
    results = files.read_json(folder / "results.json")
    assert "does not fit this model" in results["failed"]["bad/seed-0/pretrain"]
    assert "did not come to its end" in results["failed"]["bad/seed-0/tone"]
    assert [o["cell"] for o in results["outcomes"]] == ["next", "next"]
    assert "does not fit this model" in (folder / "report.html").read_text()
    retried = compare(trouble, folder, resume=True, say=quiet)
    assert [unit.name for unit in retried] == ["bad/seed-0/pretrain", "bad/seed-0/tone"], "and tried again"


def test_a_mistake_of_ours_does_not_end_a_study(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(study: StudyRecipe, unit: Unit, *rest: Any) -> None:
        raise RuntimeError("out of everything")

    monkeypatch.setattr(grid_engine, "run", run)
    failed = compare(study(data, seeds=[0]), tmp_path / "study", say=quiet)
    assert len(failed) == 4
    kept = files.read_json(tmp_path / "study" / "cells" / "next" / "seed-0" / "pretrain.error.json")
    assert kept["error"] == "RuntimeError: out of everything"
    assert "Traceback" in kept["traceback"]


def test_a_run_over_its_budget_stops_and_can_go_on(whole: Path, data: Path, tmp_path: Path) -> None:
    folder, short = tmp_path / "study", study(data, seeds=[0], minutes=1e-9)
    failed = compare(short, folder, only=["next"], say=quiet)
    assert [unit.name for unit in failed] == ["next/seed-0/pretrain", "next/seed-0/tone"]
    kept = files.read_json(folder / "cells" / "next" / "seed-0" / "pretrain.error.json")
    assert kept["code"] == "E-BUDGET"
    assert "after 1 of 4 steps" in kept["error"]
    assert compare(study(data, seeds=[0], minutes=5.0), folder, resume=True, only=["next"], say=quiet) == []
    mine, theirs = (path / "cells/next/seed-0/pretrain/model/model.safetensors" for path in (folder, whole))
    assert mine.read_bytes() == theirs.read_bytes()


def test_a_study_that_cannot_begin_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    lost = study(data, corpus={"paths": ["{data}/nowhere/*.txt"]})
    refused("E-NO-FILE", lost, tmp_path / "study")
    assert [path.name for path in (tmp_path / "study").iterdir()] == [".lock"]


def test_marks_are_the_same_read_back_from_the_answers(whole: Path) -> None:
    here = whole / "cells" / "next" / "seed-0" / "tone"
    scores = files.read_json(here / "results.json")["scores"]
    told = files.read_json(here / "answers.json")
    assert [name for row in told for name in row["metrics"]] == list(scores)
    for row in told:
        for name in row["metrics"]:
            assert METRICS[name](row["predictions"], row["labels"]) == pytest.approx(scores[name]["value"])


def test_side_by_side_the_numbers_are_the_same(whole: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    assert compare(study(data), folder, only=["*/seed-0"], jobs=2, say=quiet) == []
    mine, theirs = same_places(numbers(folder), folder), same_places(numbers(whole), whole)
    assert {name.split("/seed")[0] for name in mine if name.startswith("cells")} == {"cells/next", "cells/hidden"}
    assert mine == {name: theirs[name] for name in mine}


def test_a_worker_that_dies_is_the_failure_of_its_run(data: Path, tmp_path: Path) -> None:
    asked, unit = study(data), Unit("next", 0)
    (tmp_path / "run.toml").write_text(to_toml(asked))
    with Workers(tmp_path, 1) as pool:
        pool.started[0].process.kill()
        assert pool.run(unit, tmp_path / "error.json") == ""
        assert "status -9" in files.read_json(tmp_path / "error.json")["error"]
        assert len(pool.started) == 2
        (tmp_path / "error.json").unlink()
        pool.closed = True
        pool.started[1].process.kill()
        assert pool.run(unit, tmp_path / "error.json") == ""
    assert not (tmp_path / "error.json").exists(), "stopped with the study is not failed"
    assert all(worker.process.returncode is not None for worker in pool.started)
