"""Cells of features in a study whose other cells train: what says how to train is not theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies_small import STACK, generated, tree

from modeledge.config import load_config
from modeledge.recipes.compare import StudyRecipe, load_study
from modeledge.recipes.compare.grid import Unit, finetune_recipe, search_of, units
from modeledge.recipes.features.run import HEAD_OPTIONS

TRANSFER = Path(__file__).parents[3] / "recipes" / "transfer.toml"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return generated(tmp_path)


def asked(data: Path, **frozen: Any) -> StudyRecipe:
    """A body that is fine-tuned with options and a search, and one that is not."""
    values, search = tree(data), {"trials": 2, "keys": {"train.learning_rate": {"low": 1e-3, "high": 1e-2}}}
    values["finetune"] = {**values["finetune"], "options": {"pool": "mean"}, "train": {"length": 32, "batch": 4}}
    cells = {
        "full": {"pretrain": {"model": {"shape": {"decoder": STACK}}}},
        "frozen": {"of": "full", "finetune": {"features": {"head": "logistic"}, **frozen}},
    }
    return load_config(StudyRecipe, None, values={**values, "cells": cells, "search": search, "against": "full"})


def test_a_frozen_cell_has_no_option_of_a_trained_head_and_no_search(data: Path) -> None:
    study = asked(data)
    full, frozen = (finetune_recipe(study, Unit(cell, 0, "tone"), data) for cell in ("full", "frozen"))
    assert full.options == {"pool": "mean"}
    assert frozen.options == {}
    assert (frozen.train.length, frozen.train.batch) == (32, type(frozen.train)().batch)
    assert search_of(study, "full") is not None
    assert search_of(study, "frozen") is None


def test_what_a_frozen_cell_says_itself_stays_and_is_refused_by_its_run(data: Path) -> None:
    study = asked(data, options={"hidden": True})
    assert finetune_recipe(study, Unit("frozen", 0, "tone"), data).options == {"hidden": True}


def test_the_shipped_study_asks_nothing_of_a_frozen_body_that_it_refuses(data: Path) -> None:
    """`options.pool` of all its cells is none of a classical head's."""
    study = load_study(TRANSFER, "smoke", [], {"data": str(data), "model": str(data)})
    found = {u.cell: finetune_recipe(study, u, data) for u in units(study) if u.task == "sst2-16" and not u.search}
    assert {cell for cell, recipe in found.items() if recipe.features is not None} == {"logistic", "forest"}
    for recipe in found.values():
        assert recipe.features is None or not set(recipe.options) & set(HEAD_OPTIONS)
