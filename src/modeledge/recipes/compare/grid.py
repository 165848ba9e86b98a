"""Which runs a study is made of, where each of them lives, and the recipe of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.compare.corpora import Texts, cell_texts, is_own, placed_in, with_mixture
from modeledge.recipes.compare.rows import SEARCH_TEST, SEARCH_TRAIN, table_of
from modeledge.recipes.compare.study import PRETRAIN, SEARCH, SUPERVISED, TOGETHER, SearchRecipe, StudyRecipe
from modeledge.recipes.compare.tables import loaded, over, placed, refuse
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.recipes.folder import finished
from modeledge.recipes.recipe import HEAD_OPTIONS, UNTRAINED, FinetuneRecipe, PretrainRecipe

CELLS, BEST, STATES = "cells", "best.json", ".states"
ASKED = "asked.json"  # in the folder of a task that trains nothing: whose model answered


@dataclass(frozen=True)
class Unit:
    """One run of a study: the pre-training of a cell (`task` is `None`), the supervised training of its body (`task` is
    `SUPERVISED`), a fine-tuning of what came of it, or the `search` for the numbers of these for all seeds."""

    cell: str
    seed: int
    task: str | None = None
    search: bool = False

    @property
    def name(self) -> str:
        """`CELL/seed-0/pretrain`, `…/supervised` or `…/TASK`, and `CELL/search/TASK`: its folder below `cells`."""
        return f"{self.cell}/{SEARCH if self.search else f'seed-{self.seed}'}/{self.task or PRETRAIN}"

    @property
    def is_body(self) -> bool:
        """Is it a run whose model others are fine-tuned from, and no column of the table?"""
        return self.task in (None, SUPERVISED)

    def folder(self, study: Path) -> Path:
        """Its run folder."""
        return study / CELLS / self.name


def body_of(study: StudyRecipe, cell: str, seed: int) -> Unit | None:
    """The run whose model a cell is fine-tuned from; `None` where it is a model that exists."""
    return Unit(cell, seed, SUPERVISED) if study.cells[cell].supervised is not None else ground_of(study, cell, seed)


def ground_of(study: StudyRecipe, cell: str, seed: int) -> Unit | None:
    """The run whose model a cell begins with, before supervised training; `None` where it is a model that exists."""
    asked = study.cells[cell]
    if asked.of is not None:
        return body_of(study, asked.of, seed)
    return None if asked.model is not None else Unit(cell, seed)


def given_to(study: StudyRecipe, cell: str) -> str:
    """The model that exists at the ground of a cell."""
    asked = study.cells[cell]
    return given_to(study, asked.of) if asked.of is not None else study.place(str(asked.model))


def begun_with(study: StudyRecipe, unit: Unit) -> Unit | None:
    """The run whose model a labelled run begins with; `None` where that is a model that exists."""
    return (ground_of if unit.task == SUPERVISED else body_of)(study, unit.cell, unit.seed)


def search_of(study: StudyRecipe, cell: str) -> SearchRecipe | None:
    """How the numbers of a cell are searched for; those along a sweep or of all tasks are given, features have none."""
    asked = study.cells[cell]
    frozen = bool(over([study.finetune, asked.finetune]).get("features"))
    given = asked.swept is not None or asked.together is not None or frozen
    return asked.search or (None if given else study.search)


def searched_by(study: StudyRecipe, unit: Unit) -> Unit | None:
    """The search whose numbers a fine-tuning has."""
    ordinary = not (unit.search or unit.is_body or learned_by(study, unit))
    return Unit(unit.cell, study.seeds[0], unit.task, True) if ordinary and search_of(study, unit.cell) else None


def learned_by(study: StudyRecipe, unit: Unit) -> Unit | None:
    """The run whose model answers the rows of a task that trains nothing, by itself or because its cell has learned all
    tasks together; `None` for every other run."""
    task = study.tasks.get(unit.task or "")
    if task is not None and study.cells[unit.cell].together is not None:
        return Unit(unit.cell, unit.seed, TOGETHER)
    return None if task is None or task.learns is None else Unit(unit.cell, unit.seed, task.learns)


def model_asked(study: StudyRecipe, unit: Unit, learned: Unit, folder: Path) -> Path:
    """The folder of the model that answers the rows of a task that trains nothing: of several on one body its own."""
    here = learned.folder(folder)
    return here if learned.task != TOGETHER else here / "tasks" / (study.tasks[str(unit.task)].learns or str(unit.task))


def needed(study: StudyRecipe, unit: Unit) -> tuple[Unit, ...]:
    """The runs that must be there before another one begins: its body, and the search for its numbers; or the one
    whose model it asks."""
    if unit.task is None:
        return ()
    if (learned := learned_by(study, unit)) is not None:
        return (learned,)
    return tuple(u for u in (begun_with(study, unit), searched_by(study, unit)) if u is not None)


def before(study: StudyRecipe, unit: Unit) -> list[Unit]:
    """All runs that one needs, the nearest first."""
    found = dict[Unit, None]()
    left = [*needed(study, unit)]
    while left:
        found[left[0]] = None
        left = [*left[1:], *needed(study, left[0])]
    return list(found)


def rows_of(study: StudyRecipe, unit: Unit) -> tuple[str, ...]:
    """The names of all tasks and sources whose rows a labelled run reads."""
    return study.learned(unit.cell) if unit.task == TOGETHER else (rows_named(study, unit),)


def rows_named(study: StudyRecipe, unit: Unit) -> str:
    """The name of the task or source whose rows a labelled run learns."""
    supervised = study.cells[unit.cell].supervised
    assert unit.task is not None
    return supervised.source if unit.task == SUPERVISED and supervised is not None else unit.task


def units(study: StudyRecipe) -> list[Unit]:
    """Every run in its order: seed by seed, so that what is stopped early has the whole table for the first seeds."""
    found = []
    for seed in study.seeds:
        for name, cell in study.cells.items():
            if cell.of is None and cell.model is None:
                found.append(Unit(name, seed))
            if cell.supervised is not None:
                found.append(Unit(name, seed, SUPERVISED))
            if cell.together is not None:
                found.append(Unit(name, seed, TOGETHER))
            for task in study.tasks_of(name):
                searches = search_of(study, name) is not None and study.tasks[task].learns is None
                if seed == study.seeds[0] and searches:
                    found.append(Unit(name, seed, task, True))
                found.append(Unit(name, seed, task))
    order = {unit: place for place, unit in enumerate(found)}

    def after_its_body(unit: Unit) -> tuple[int, int]:
        earlier = before(study, unit)
        return max(order[u] for u in (unit, *earlier)), len(earlier)

    return sorted(found, key=after_its_body)


def selected(study: StudyRecipe, only: Sequence[str]) -> list[Unit]:
    """The runs whose name begins with one of the patterns (`CELL`, `CELL/seed-0`, `*/seed-0/sst2`), and the
    trainings that they need. Raises `E-USAGE` for a pattern that no run has.
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
    wanted |= {body for u in wanted for body in before(study, u)}
    return [unit for unit in everything if unit in wanted]


def corpus_recipe(study: StudyRecipe, folder: Path) -> PretrainRecipe:
    """What builds the corpus and the tokenizer that all cells share: with every channel and every reserved token that
    one of them asks for. Raises `E-CONFIG` where no corpus is named."""
    if study.corpus is None and not study.mixture:
        raise ModeledgeError("E-CONFIG", "cells are pre-trained, and no corpus is named", where="corpus.paths")
    asked = study.corpus or CorpusRecipe()
    bodies = [loaded_body(study, unit, {"corpus": {}}) for unit in units(study) if unit.task is None]
    channels = {*asked.channels}.union(*(recipe.aim.channels for recipe in bodies))
    corpus = asked.model_copy(update={"channels": tuple(sorted(channels))})
    tokenizer = study.tokenizer
    if tokenizer.path is None:
        extra = dict.fromkeys(name for recipe in bodies for name in recipe.reserved)
        tokenizer = tokenizer.model_copy(update={"extra": tuple(dict.fromkeys((*extra, *tokenizer.extra)))})
    whole = PretrainRecipe(corpus=corpus, tokenizer=tokenizer)
    return placed_in(study, whole if not study.mixture else with_mixture(whole, study.mixture))


def texts_of(study: StudyRecipe, cell: str, folder: Path) -> Texts:
    """The tokenizer and the corpora of a cell, and where they are built."""
    with placed(f"cells.{cell}"):
        return cell_texts(study, cell, folder, corpus_recipe(study, folder))


def pretrain_recipe(study: StudyRecipe, unit: Unit, folder: Path) -> PretrainRecipe:
    """The recipe of a pre-training: the study's table, the cell's over it, its corpus and tokenizer, ready."""
    shared: dict[str, Any] = {"corpus": {"shards": str(folder / "corpus")}}
    shared |= {"tokenizer": {"path": str(folder / "tokenizer")}}
    if is_own(study, unit.cell) or study.mixture:
        shared = texts_of(study, unit.cell, folder).values()
    return loaded_body(study, unit, shared)


def loaded_body(study: StudyRecipe, unit: Unit, shared: Mapping[str, Any]) -> PretrainRecipe:
    """The recipe of a pre-training on given texts."""
    cell = study.cells[unit.cell]
    given = {"corpus": "corpus", "mixture": "mixture", "tokenizer": "tokenizer", "seed": "seeds", "kind": "kind"}
    refuse(given, [("pretrain", study.pretrain), (f"cells.{unit.cell}.pretrain", cell.pretrain)])
    values = over([study.pretrain, cell.pretrain, shared, {"seed": unit.seed}])
    return loaded(PretrainRecipe, values, f"cells.{unit.cell}.pretrain")


def finetune_recipe(
    study: StudyRecipe, unit: Unit, folder: Path, values: Mapping[str, Any] | None = None
) -> FinetuneRecipe:
    """The recipe of a labelled run: the study's table, that of the task or source, the cell's over both, what a search
    has found (of a trial the `values` it tries), the shared rows, the body."""
    name, places = rows_named(study, unit), tuning(study, unit)
    kept = {"data": "tasks.NAME.data", "test": "tasks.NAME.test", "layout": "tasks.NAME.layout", "seed": "seeds"}
    refuse({**kept, "model": "cells.NAME.model", "kind": "kind"}, places)
    body = begun_with(study, unit)
    model = given_to(study, unit.cell) if body is None else str(body.folder(folder))
    train, test = parts_of(study, unit)
    shared = {"data": str(table_of(folder, name, train)), "test": str(table_of(folder, name, test))}
    found = chosen(study, unit, folder) if values is None else values
    given = over([*(tree for _, tree in places), found, shared, {"model": model, "seed": unit.seed}])
    if not given.keys() & {"text", "pair", "label", "columns"}:
        what, remedy = "no column is named", 'name them: finetune.text = "sentence", finetune.label = "label"'
        raise ModeledgeError("E-CONFIG", what, where=places[1][0], remedy=remedy)
    if isinstance(given.get("features"), Mapping):  # all cells share the states of a body
        given = untrained(given, places[-1][1])
        given["features"] = {"cache": str(folder / STATES), **given["features"]}
    recipe: FinetuneRecipe = loaded(FinetuneRecipe, given, places[-1][0])
    return recipe


def parts_of(study: StudyRecipe, unit: Unit) -> tuple[str, str]:
    """The names of the tables that a labelled run learns from and is marked on."""
    if unit.search:
        return SEARCH_TRAIN, SEARCH_TEST
    return f"train-seed-{unit.seed}" if study.rows_of(rows_named(study, unit)).draw == "seed" else "train", "test"


def chosen(study: StudyRecipe, unit: Unit, folder: Path) -> Mapping[str, Any]:
    """The numbers that a search has found for a run; none before it is finished."""
    search = searched_by(study, unit)
    if search is None or not done(search, folder):
        return {}
    found: Mapping[str, Any] = files.read_json(search.folder(folder) / BEST)["values"]
    return found


def untrained(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The tables without what says how to train, but where a cell of features says it itself, and is refused for it."""
    trained = ("strategies", "epochs", "dropout", "merge")
    kept = {key: value for key, value in given.items() if key not in trained or key in own}
    asked, left = {*UNTRAINED, *own.get("train", {})}, set(HEAD_OPTIONS) - own.get("options", {}).keys()
    options = {key: value for key, value in given.get("options", {}).items() if key not in left}
    train = {key: value for key, value in given.get("train", {}).items() if key in asked}
    return {**kept, "options": options, "train": train}


def tuning(study: StudyRecipe, unit: Unit) -> list[tuple[str, Mapping[str, Any]]]:
    """The tables that a labelled run's recipe is made of, each over the one before, with their places."""
    name, cell, place = rows_named(study, unit), study.cells[unit.cell], f"cells.{unit.cell}.finetune"
    own = cell.finetune
    if unit.task == SUPERVISED and cell.supervised is not None:
        place, own = f"cells.{unit.cell}.supervised.finetune", cell.supervised.finetune
    kind = "tasks" if name in study.tasks else "sources"
    return [("finetune", study.finetune), (f"{kind}.{name}.finetune", study.rows_of(name).finetune), (place, own)]


def trained_by(study: StudyRecipe, cell: str, seed: int) -> list[Unit]:
    """The runs whose tokens are in the weights that a cell's tasks begin with, the nearest first: none of them where
    these are drawn afresh, and none before one that drew them afresh."""
    found = list[Unit]()
    last = body_of(study, cell, seed) if not over([study.finetune, study.cells[cell].finetune]).get("fresh") else None
    while last is not None:
        found.append(last)
        earlier = needed(study, last)
        last = earlier[0] if earlier and not begins_afresh(study, last) else None
    return found


def begins_afresh(study: StudyRecipe, unit: Unit) -> bool:
    """Does a labelled run take the shape of its body alone, and draw its weights afresh?"""
    return bool(over(tree for _, tree in tuning(study, unit)).get("fresh", False))


def done(unit: Unit, folder: Path) -> bool:
    """Is the run finished?"""
    here = unit.folder(folder)
    return (here / BEST).exists() if unit.search else (here / ASKED).exists() or finished(here)
