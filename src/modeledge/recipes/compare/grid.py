"""Which runs a study is made of, where each of them lives, and the recipe of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from modeledge.config import load_config
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.compare.rows import table_of
from modeledge.recipes.compare.study import PRETRAIN, StudyRecipe
from modeledge.recipes.folder import finished
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe

CELLS = "cells"
R = TypeVar("R", PretrainRecipe, FinetuneRecipe)


@dataclass(frozen=True)
class Unit:
    """One run of a study: the pre-training of a cell (`task` is `None`) or a fine-tuning of what came of it."""

    cell: str
    seed: int
    task: str | None = None

    @property
    def name(self) -> str:
        """`CELL/seed-0/pretrain` or `CELL/seed-0/TASK`: its folder below `cells`."""
        return f"{self.cell}/seed-{self.seed}/{self.task or PRETRAIN}"

    def folder(self, study: Path) -> Path:
        """Its run folder."""
        return study / CELLS / self.cell / f"seed-{self.seed}" / (self.task or PRETRAIN)


def body_of(study: StudyRecipe, cell: str, seed: int) -> Unit | None:
    """The pre-training whose model a cell is fine-tuned from; `None` where a model that exists is named."""
    owner = study.cells[cell].of or cell
    return None if study.cells[owner].model is not None else Unit(owner, seed)


def units(study: StudyRecipe) -> list[Unit]:
    """Every run in its order: seed by seed, so that what is stopped early has the whole table for the first seeds."""
    found = []
    for seed in study.seeds:
        for name, cell in study.cells.items():
            if cell.of is None and cell.model is None:
                found.append(Unit(name, seed))
            found += [Unit(name, seed, task) for task in study.tasks_of(name)]
    order = {unit: place for place, unit in enumerate(found)}

    def after_its_body(unit: Unit) -> tuple[int, bool]:
        body = body_of(study, unit.cell, unit.seed)
        return max(order[unit], order[body] if body is not None else 0), unit.task is not None

    return sorted(found, key=after_its_body)


def selected(study: StudyRecipe, only: Sequence[str]) -> list[Unit]:
    """The runs whose name begins with one of the patterns (`CELL`, `CELL/seed-0`, `*/seed-0/sst2`), and the
    pre-trainings that they need. Raises `E-USAGE` for a pattern that no run has.
    """
    everything = units(study)
    if not only:
        return everything
    wanted = set[Unit]()
    for pattern in only:
        found = [u for u in everything if fnmatchcase(u.name, pattern) or fnmatchcase(u.name, f"{pattern}/*")]
        if not found:
            what = f"no run of the study is named {pattern!r}"
            raise ModeledgeError("E-USAGE", what, where="--only", remedy=nearest(pattern, study.cells))
        wanted |= set(found)
    wanted |= {body for u in wanted if u.task is not None and (body := body_of(study, u.cell, u.seed)) is not None}
    return [unit for unit in everything if unit in wanted]


def corpus_recipe(study: StudyRecipe, folder: Path) -> PretrainRecipe:
    """What builds the corpus and the tokenizer that all cells share: with every channel and every reserved token that
    one of them asks for. Raises `E-CONFIG` where no corpus is named.
    """
    if study.corpus is None:
        raise ModeledgeError("E-CONFIG", "cells are pre-trained, and no corpus is named", where="corpus.paths")
    bodies = [pretrain_recipe(study, unit, folder) for unit in units(study) if unit.task is None]
    channels = {*study.corpus.channels}.union(*(recipe.objective.channels for recipe in bodies))
    paths = tuple(study.place(path) for path in study.corpus.paths)
    corpus = study.corpus.model_copy(update={"paths": paths, "channels": tuple(sorted(channels))})
    tokenizer = study.tokenizer
    if tokenizer.path is not None:
        tokenizer = tokenizer.model_copy(update={"path": study.place(tokenizer.path)})
    else:
        extra = dict.fromkeys(name for recipe in bodies for name in recipe.reserved)
        tokenizer = tokenizer.model_copy(update={"extra": tuple(dict.fromkeys((*extra, *tokenizer.extra)))})
    return PretrainRecipe(corpus=corpus, tokenizer=tokenizer)


def pretrain_recipe(study: StudyRecipe, unit: Unit, folder: Path) -> PretrainRecipe:
    """The recipe of a pre-training: the study's table, the cell's over it, the shared corpus and tokenizer."""
    cell = study.cells[unit.cell]
    shared = {"corpus": {"shards": str(folder / "corpus")}, "tokenizer": {"path": str(folder / "tokenizer")}}
    given = {"corpus": "corpus", "tokenizer": "tokenizer", "seed": "seeds", "kind": "kind"}
    refuse(given, [("pretrain", study.pretrain), (f"cells.{unit.cell}.pretrain", cell.pretrain)])
    values = over([study.pretrain, cell.pretrain, shared, {"seed": unit.seed}])
    return loaded(PretrainRecipe, values, f"cells.{unit.cell}.pretrain")


def finetune_recipe(study: StudyRecipe, unit: Unit, folder: Path) -> FinetuneRecipe:
    """The recipe of a fine-tuning: the study's table, the task's, the cell's over both, the shared rows, the body."""
    assert unit.task is not None
    cell, task = study.cells[unit.cell], study.tasks[unit.task]
    places = [("finetune", study.finetune), (f"tasks.{unit.task}.finetune", task.finetune)]
    places.append((f"cells.{unit.cell}.finetune", cell.finetune))
    given = {"data": "tasks.NAME.data", "test": "tasks.NAME.test", "layout": "tasks.NAME.layout", "seed": "seeds"}
    refuse({**given, "model": "cells.NAME.model", "kind": "kind"}, places)
    body = body_of(study, unit.cell, unit.seed)
    model = study.place(str(study.cells[cell.of or unit.cell].model)) if body is None else str(body.folder(folder))
    shared = {"data": str(table_of(folder, unit.task, "train")), "test": str(table_of(folder, unit.task, "test"))}
    values = over([*(tree for _, tree in places), shared, {"model": model, "seed": unit.seed}])
    if not values.keys() & {"text", "pair", "label", "columns"}:
        what, remedy = "no column is named", 'name them: finetune.text = "sentence", finetune.label = "label"'
        raise ModeledgeError("E-CONFIG", what, where=f"tasks.{unit.task}.finetune", remedy=remedy)
    recipe: FinetuneRecipe = loaded(FinetuneRecipe, values, f"cells.{unit.cell}.finetune")
    return recipe


def over(trees: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Tables over each other; a table of another `kind` takes the place of the one below it, whole."""
    out: dict[str, Any] = {}
    for tree in trees:
        out = _over(out, tree)
    return out


def _over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    if "kind" in high and "kind" in low and high["kind"] != low["kind"]:
        return dict(high)
    out = dict(low)
    for key, value in high.items():
        both = isinstance(out.get(key), Mapping) and isinstance(value, Mapping)
        out[key] = _over(out[key], value) if both else value
    return out


def refuse(given: Mapping[str, str], places: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Keys that the study itself gives (`E-CONFIG-KEY`)."""
    for where, tree in places:
        for key in given:
            if key in tree:
                what, remedy = f"{key!r} is not a key of this table: the study gives it", f"set {given[key]}"
                raise ModeledgeError("E-CONFIG-KEY", what, where=where, remedy=remedy)


def loaded(kind: type[R], values: Mapping[str, Any], where: str) -> R:
    """A recipe out of its tables; an error says of which cell."""
    try:
        return load_config(kind, None, values=values)
    except ModeledgeError as error:
        place = f"{where}: {error.where}".removesuffix(": ")
        raise ModeledgeError(error.code, error.what, where=place, why=error.why, remedy=error.remedy) from error


def done(unit: Unit, folder: Path) -> bool:
    """Is the run finished?"""
    return finished(unit.folder(folder))
