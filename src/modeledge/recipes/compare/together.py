"""A cell that learns all its tasks in one run: one body, a head each (`recipes/tuning/multitask.py`).

What a task's rows are is said as for a run of it alone. How they are learned (strategies, epochs, `[train]`) is said
once, by the study and the cell: a task that says it itself is refused. A task of such a cell trains nothing then: its
own model of the run answers its test rows, the same that all cells are marked on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare.grid import Unit, begun_with, given_to
from modeledge.recipes.compare.rows import table_of
from modeledge.recipes.compare.study import StudyRecipe
from modeledge.recipes.compare.tables import over, placed, refuse
from modeledge.recipes.recipe import RowsRecipe
from modeledge.recipes.tuning.several import MultitaskRecipe

GIVEN = {"data": "tasks.NAME.data", "test": "tasks.NAME.test", "layout": "tasks.NAME.layout"}


def together_recipe(study: StudyRecipe, unit: Unit, folder: Path) -> MultitaskRecipe:
    """The recipe of the run: the rows of each task as it says them, the rest as the study and the cell say it.

    Raises `E-CONFIG-KEY` for a task that says how it is learned, and for a key that no run of several tasks has.
    """
    cell, place = study.cells[unit.cell], f"cells.{unit.cell}.finetune"
    assert cell.together is not None
    tables = [("finetune", study.finetune), (place, cell.finetune)]
    refuse({**GIVEN, "model": "cells.NAME.model", "seed": "seeds", "kind": "kind"}, tables)
    shared = over(tree for _, tree in tables)
    rows = {key: shared.pop(key) for key in RowsRecipe.model_fields if key in shared}
    shared.pop("mark_train", None)  # the training rows of one task among others are not marked
    body = begun_with(study, unit)
    model = given_to(study, unit.cell) if body is None else str(body.folder(folder))
    tasks = {name: task_rows(study, name, unit, rows, folder) for name in study.learned(unit.cell)}
    values = {**shared, **cell.together.model_dump(), "tasks": tasks, "model": model, "seed": unit.seed}
    with placed(place):
        return load_config(MultitaskRecipe, None, values=values)


def task_rows(study: StudyRecipe, name: str, unit: Unit, rows: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The table of one task."""
    own, place = study.tasks[name].finetune, f"tasks.{name}.finetune"
    refuse(GIVEN, [(place, own)])
    for key in own:
        if key not in RowsRecipe.model_fields:
            what, why = f"{key!r} is said of one task alone", f"cells.{unit.cell} learns several together"
            raise ModeledgeError("E-CONFIG-KEY", what, where=place, why=why, remedy=f"say it in [finetune]: {key}")
    train = f"train-seed-{unit.seed}" if study.tasks[name].draw == "seed" else "train"
    files = {"data": str(table_of(folder, name, train)), "test": str(table_of(folder, name, "test"))}
    return {**over([rows, own]), **files}
