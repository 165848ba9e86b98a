"""Trials: one that fails has no mark for its values, and is tried again for the machine; one that is behind ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from studies_small import generated, quiet, tree

from modeledge import files
from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare import StudyRecipe, compare, pruning, search
from modeledge.recipes.compare.grid import Unit
from modeledge.recipes.compare.pruning import is_behind


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes that trainings end with, the last one first."""
    codes: list[str] = []

    def fails(*given: Any, **named: Any) -> None:
        raise ModeledgeError(codes[-1], "it went wrong")

    monkeypatch.setattr(search, "finetune", fails)
    monkeypatch.setattr(search, "finetune_recipe", lambda *given: None)
    monkeypatch.setattr(search, "absolute", lambda recipe: recipe)
    return codes


def mark(folder: Path) -> float | None:
    unit = Unit("cell", 0, "task")
    return search.mark_of(None, unit, folder, folder / "trial-0", {}, "accuracy")  # type: ignore[arg-type]


def test_values_that_diverge_have_no_mark_and_are_not_tried_again(tmp_path: Path, failing: list[str]) -> None:
    failing.append("E-NON-FINITE-LOSS")
    assert mark(tmp_path) is None
    failing.clear()  # another training would be an IndexError
    assert mark(tmp_path) is None


@pytest.mark.parametrize("code", ["E-NO-FILE", "E-DISK", "E-PERMISSION", "E-EXTRA"])
def test_what_is_no_fault_of_the_values_is_told_and_tried_again(tmp_path: Path, failing: list[str], code: str) -> None:
    failing.append(code)
    for _ in range(2):
        with pytest.raises(ModeledgeError, match=code):
            mark(tmp_path)
    assert not (tmp_path / "trial-0").exists()


# ---- successive halving


@pytest.mark.parametrize(
    ("marks", "earlier", "ends"),
    [
        ([0.1], [], False),  # nothing came before
        ([0.4], [[0.5, 0.5]], True),
        ([0.5], [[0.5, 0.5]], False),  # as good
        ([0.6, 0.4], [[0.5, 0.5], [0.4]], True),  # at the second rung
        ([0.6], [[0.5, 0.5], [0.4], [0.6, 0.4]], False),  # among the better half of four
        ([0.49], [[0.5, 0.5], [0.4], [0.6, 0.4]], True),
        ([0.4], [[], [0.3]], False),  # one that failed at once is none of them
    ],
)
def test_one_in_two_goes_on(marks: list[float], earlier: list[list[float]], ends: bool) -> None:
    pytest.importorskip("optuna")
    assert is_behind(marks, earlier, greater=True) is ends
    assert is_behind([-m for m in marks], [[-m for m in one] for one in earlier], greater=False) is ends


def searching(data: Path, **search: Any) -> StudyRecipe:
    base = tree(data)
    values = {**base, "cells": {"next": base["cells"]["next"]}, "seeds": [0], "against": None}
    values["search"] = {"trials": 4, "keys": {"train.learning_rate": {"low": 1e-3, "high": 1e-2}}, **search}
    values["finetune"] = {**base["finetune"], "epochs": 1.0}
    return load_config(StudyRecipe, None, values=values)


def halved(data: Path, folder: Path, marks: Sequence[float | None], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a search brings whose trials have these marks at their rungs; at `None` it is stopped, and goes on."""
    told, steps = iter(marks), list[str]()

    def judge_on(task: Any, examples: Any) -> Any:
        def mark(model: Any) -> dict[str, float]:
            found = next(told)
            if found is None:
                raise KeyboardInterrupt
            return {"accuracy": found}

        return mark

    monkeypatch.setattr(pruning, "judge_on", judge_on)
    monkeypatch.setattr(search.shutil, "rmtree", lambda *given, **named: steps.append(str(given[0])))
    asked = searching(data, pruner="asha")
    for n in range(1 + list(marks).count(None)):
        with pytest.raises(KeyboardInterrupt) if n < list(marks).count(None) else nullcontext():
            assert compare(asked, folder, only=["next/search"], resume=n > 0, say=quiet) == []
    assert next(told, "none") == "none"
    found: dict[str, Any] = files.read_json(folder / "cells" / "next" / "search" / "tone" / "best.json")
    return found


def test_a_trial_that_is_behind_ends_early_and_a_stopped_search_goes_on_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    data, rungs = generated(tmp_path / "data"), [[0.5, 0.5], [0.4], [0.6, 0.4], [0.6, 0.5]]
    whole = halved(data, tmp_path / "one", [mark for one in rungs for mark in one], monkeypatch)
    assert [row["rungs"] for row in whole["trials"]] == rungs
    assert [row["pruned"] for row in whole["trials"]] == [False, True, True, False]
    assert [row["mark"] is None for row in whole["trials"]] == [False, True, True, False]
    done = [
        len((tmp_path / "one/cells/next/search/tone" / f"trial-{n}" / "metrics.jsonl").read_text().splitlines())
        for n in range(4)
    ]
    assert done[0] == done[3] > done[2] > done[1], "a half, and a quarter of the steps"
    marks = [0.5, 0.5, None, 0.4, 0.6, None, 0.4, 0.6, 0.5]
    assert halved(data, tmp_path / "two", marks, monkeypatch) == whole


def test_the_marks_at_the_rungs_change_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first trial is never behind: its steps are the same with rungs and without."""
    pytest.importorskip("optuna")
    data, found = generated(tmp_path / "data"), list[Any]()
    monkeypatch.setattr(search.shutil, "rmtree", lambda *given, **named: None)
    for pruner in ("none", "asha"):
        folder = tmp_path / pruner
        assert compare(searching(data, pruner=pruner, trials=1), folder, only=["next/search"], say=quiet) == []
        here = folder / "cells" / "next" / "search" / "tone"
        found.append((here / "trial-0" / "metrics.jsonl").read_bytes())
        told = files.read_json(here / "best.json")["trials"][0]
    assert found[0] == found[1]
    assert len(told["rungs"]) == 2
    assert told["pruned"] is False
