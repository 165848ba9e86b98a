"""What is looked at before the first run of a study, so that a wrong word costs no hour: every recipe, every strategy,
every body, every metric."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.errors import ModeledgeError, nearest
from modeledge.families import read_shape
from modeledge.metrics import METRICS
from modeledge.recipes.compare.facts import FACTS
from modeledge.recipes.compare.grid import (
    Unit,
    begun_with,
    done,
    finetune_recipe,
    learned_by,
    pretrain_recipe,
    units,
)
from modeledge.recipes.compare.marks import check_marks
from modeledge.recipes.compare.study import TOGETHER, StudyRecipe
from modeledge.recipes.compare.tables import placed
from modeledge.recipes.compare.together import together_recipe
from modeledge.recipes.pretraining.start import check_body
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe, absolute
from modeledge.recipes.store.hub import find_model
from modeledge.recipes.tuning.rows import located, task_named
from modeledge.recipes.tuning.several import MultitaskRecipe
from modeledge.recipes.tuning.strategy import make_strategy
from modeledge.tasks import Asked
from modeledge.tokens import Tokenizer


def recipe_of(study: StudyRecipe, unit: Unit, folder: Path) -> Any:
    """The recipe of a run, paths made absolute."""
    if unit.task is None:
        return absolute(pretrain_recipe(study, unit, folder.absolute()))
    if unit.task == TOGETHER:
        return together_recipe(study, unit, folder.absolute())
    return absolute(finetune_recipe(study, unit, folder.absolute()))


def complete(unit: Unit, folder: Path) -> bool:
    """Is there nothing left to do of a run?"""
    return done(unit, folder) and (not unit.is_body or (unit.folder(folder) / FACTS).exists())


def check_recipes(study: StudyRecipe, folder: Path) -> None:
    """Read every recipe of the grid, make its strategies, look at its body and at the names of its metrics.

    Raises what a recipe that cannot be read raises, with its cell; `E-CONFIG-VALUE` and `E-CONFIG-KEY` for a strategy,
    an option of one, a task or a metric that there is not.
    """
    for kind, rows in (("tasks", study.tasks), ("sources", study.sources)):
        for name, row in rows.items():
            check_known(row.metrics, METRICS, f"{kind}.{row.of or name}.metrics")
    for unit in units(study):
        if learned_by(study, unit) is not None:
            continue
        recipe = recipe_of(study, unit, folder)
        if isinstance(recipe, PretrainRecipe):
            if not complete(unit, folder):
                with placed(f"cells.{unit.cell}.pretrain"):
                    check_body(recipe)
                    check_marks(study.marks, recipe)
            continue
        with placed(f"cells.{unit.cell}.finetune"):
            check_tuning(recipe)


def check_tuning(recipe: FinetuneRecipe | MultitaskRecipe) -> None:
    """Make the strategies of a labelled run, and look for the task and the metric that it names."""
    for strategy in recipe.strategies:
        make_strategy(strategy)
    if isinstance(recipe, FinetuneRecipe):
        task_named(recipe)
        check_known(() if recipe.metric is None else (recipe.metric,), METRICS, "metric")


def check_known(named: Sequence[str], known: Iterable[str], where: str, what: str = "there is no metric") -> None:
    """Refuse a metric that is not among those that are `known` (`E-CONFIG-VALUE`, with the nearest one)."""
    for name in named:
        if name not in known:
            raise ModeledgeError("E-CONFIG-VALUE", f"{what} {name!r}", where=where, remedy=nearest(name, known))


def check_metrics(study: StudyRecipe, chosen: Sequence[Unit], folder: Path) -> None:
    """Refuse a metric that a task cannot be marked by, or that a finished run has not told (`E-CONFIG-VALUE`).

    A finished run says by what it was marked. Before one is, the task is made of its rows and of the tokenizer and
    shape of a model that exists, whose weights stay unread; where a study trains its bodies itself the first finished
    run tells.
    """
    for name, task in study.tasks.items():
        where, asked = f"tasks.{task.of or name}.metrics", [u for u in units(study) if u.task == name and not u.search]
        finished = [unit for unit in asked if done(unit, folder)]
        for unit in finished:
            check_told(task.metrics, unit, folder, where)
        able = [u for u in chosen if u.task == (task.learns or name) and not u.search and begun_with(study, u) is None]
        known = metrics_of(study, able[0], folder) if able and not finished else ()
        if known:
            check_known(task.metrics, known, where, "the task is not marked by")


def check_told(metrics: Sequence[str], unit: Unit, folder: Path, where: str) -> None:
    """Refuse a metric that a finished run was not marked by, with the folder of the run that would have to go."""
    told = files.read_json(unit.folder(folder) / "results.json")["scores"]
    for name in metrics:
        if name not in told:
            what, remedy = f"{unit.name} is finished, and was not marked by {name!r}", nearest(name, told)
            if name in METRICS:
                remedy += f"; to mark it anew, remove {unit.folder(folder)} and go on (--resume)"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy=remedy)


def metrics_of(study: StudyRecipe, unit: Unit, folder: Path) -> tuple[str, ...]:
    """What the task of a run, on rows that are written already, is marked by; nothing where the run cannot begin, which
    is its own error."""
    if study.cells[unit.cell].together is not None:
        recipe = absolute(recipe_of(study, Unit(unit.cell, unit.seed, TOGETHER), folder).alone(str(unit.task)))
    else:
        recipe = recipe_of(study, unit, folder)
    try:
        kind, roles = task_named(recipe)
        rows = located(recipe.data, kind.reads(roles))
        there = find_model(recipe.model, recipe.revision, recipe.endpoint).folder
        asked = Asked(roles, recipe.train.length, recipe.dropout, recipe.options)
        return kind.made(rows, Tokenizer.load(there), read_shape(there), asked, lambda line: None).metrics
    except ModeledgeError:
        return ()
