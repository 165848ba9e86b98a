"""The two stages of multitask prompt tuning (Wang et al. 2023, arXiv 2303.02861) as runs.

A recipe of several tasks with the strategy `mpt` is the source stage: one prompt for all, factors of each task, and the
heads. What it leaves is the stage, the prompt and all factors, in `model/`; and for each task an adapter of its own in
`tasks/NAME/`, with its factors alone and its heads. A run of one task with `mpt:source=RUN` is a target stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modeledge.adapt.graft import leads_of
from modeledge.adapt.mpt import COLUMNS, SHARED, MultitaskPromptTuning, TaskPrompt, read_stage, stage_file
from modeledge.errors import ModeledgeError, nearest
from modeledge.families.fill import listing
from modeledge.model.backbone import Backbone
from modeledge.recipes.adapters.digest import Base, base_from, changed, check_base
from modeledge.recipes.adapters.go_on import adding
from modeledge.recipes.adapters.pair import is_adapter, read_pair
from modeledge.recipes.adapters.run import check_whole
from modeledge.recipes.recipe import StrategyRecipe
from modeledge.recipes.store.hub import Found
from modeledge.recipes.tuning.heads import copied

KIND = MultitaskPromptTuning.kind
WHERE = f"strategies.{KIND}"


# ---- the source stage


def for_all(strategies: Sequence[StrategyRecipe], count: int) -> tuple[StrategyRecipe, ...]:
    """The strategies of a run of `count` tasks: its prompt is of so many. Other numbers are `E-CONFIG-VALUE`."""
    found = list[StrategyRecipe]()
    for strategy in strategies:
        options = dict(strategy.options)
        if strategy.kind == KIND:
            if options.setdefault("tasks", count) != count:
                what, remedy = f"tasks is {options['tasks']!r}, and the recipe has {count}", "leave it out"
                raise ModeledgeError("E-CONFIG-VALUE", what, where=f"{WHERE}.tasks", remedy=remedy)
            if "task" in options:
                what, remedy = "each example is of its own task here", "leave it out"
                raise ModeledgeError("E-CONFIG-VALUE", what, where=f"{WHERE}.task", remedy=remedy)
        found.append(strategy.model_copy(update={"options": options}))
    return tuple(found)


def for_one(strategies: Sequence[StrategyRecipe]) -> tuple[StrategyRecipe, ...]:
    """The same for one of the tasks by itself."""
    return tuple(
        s.model_copy(update={"options": {k: v for k, v in s.options.items() if s.kind != KIND or k != "tasks"}})
        for s in strategies
    )


def base_of_stage(strategies: Sequence[StrategyRecipe], model: Backbone, source: str, found: Found) -> Base | None:
    """The model as it is before a source stage; `None` for a run that writes whole models. Refuses what neither can
    write (`E-MERGE`), and a model that comes with an adapter (`E-USAGE`)."""
    if all(strategy.kind != KIND for strategy in strategies):
        check_whole(strategies, model)
        return None
    check_whole((), model)
    if len(kinds := [kind.kind for kind in adding(strategies)]) > 1:
        what, why = f"{' and '.join(kinds)} would be two adapters", "a source stage writes its prompt alone"
        raise ModeledgeError("E-MERGE", what, where="strategies", why=why, remedy=f"leave all but {KIND} out")
    return base_from(model, source, found.source.get("revision"))


def check_stage(base: Base | None, model: Backbone) -> None:
    """Refuse, before the first step of a source stage, strategies that changed the body (`E-ADAPTER`)."""
    body = [] if base is None else [name for name in changed(base, model) if not name.startswith("heads.")]
    if body:
        what, why = f"a strategy changes {listing(sorted(body))}", "a source stage writes its prompt alone"
        raise ModeledgeError("E-ADAPTER", what, where="strategies", why=why, remedy="leave it out")


@contextmanager
def one_task(model: Backbone, number: int) -> Iterator[None]:
    """Within the block texts that do not say of which task they are, are of this one."""
    leads = prompts_on(model)
    before = [lead.task for lead in leads]
    try:
        for lead in leads:
            lead.task = number
        yield
    finally:
        for lead, task in zip(leads, before, strict=True):
            lead.task = task


def cut_to(model: Backbone, number: int) -> None:
    """Leave a model's prompt with the factors of one task."""
    for lead in prompts_on(model):
        lead.keep(number)


def bare(model: Backbone, names: Sequence[str]) -> Backbone:
    """The stage itself: the model without heads, and a prompt that knows what its tasks are called."""
    made = copied(model, {})
    for lead in prompts_on(made):
        lead.names = tuple(names)
    return made


def prompts_on(model: Backbone) -> list[TaskPrompt]:
    """The prompts of several tasks that a model has."""
    return [lead for lead in leads_of(model).values() if isinstance(lead, TaskPrompt)]


# ---- the target stage


def source_of(strategy: StrategyRecipe) -> Path | None:
    """The file of the source stage that a strategy names."""
    source = strategy.options.get("source")
    named = strategy.kind == KIND and isinstance(source, str) and source
    return stage_file(Path(str(source))) if named else None


def staged(strategy: StrategyRecipe) -> StrategyRecipe:
    """The strategy with what its source stage settles: the file, its length and ranks where they are left open, and the
    number of a task that is named. `E-CONFIG-VALUE` for a name that is none of its tasks'."""
    path = source_of(strategy)
    if path is None:
        return strategy
    held = read_stage(path)
    settled: dict[str, Any] = {"length": len(held[SHARED]), "ranks": held[COLUMNS].shape[2]}
    settled |= {**strategy.options, "source": str(path)}
    if isinstance(task := settled.get("task"), str):
        names = names_in(path)
        if task not in names:
            remedy = nearest(task, names) if names else "give its number, counted from 0"
            what = f"{task!r} is none of its tasks"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=f"{WHERE}.task", remedy=remedy)
        settled["task"] = names.index(task)
    return strategy.model_copy(update={"options": settled})


def check_source(strategies: Sequence[StrategyRecipe], base: Base | None) -> None:
    """Refuse a source stage that was trained on another base than a target stage stands on (`E-BASE`, both digests)."""
    for strategy in strategies:
        path = source_of(strategy)
        if base is not None and path is not None:
            folder = path.parent
            wanted = read_pair(folder).notes.get("base") if is_adapter(folder) else None
            if isinstance(wanted, str):
                check_base(base, wanted, folder, "begin with the model that the source stage began with")


def names_in(path: Path) -> list[str]:
    """What the tasks of a source stage are called, in their order; empty for a file that does not say."""
    told = read_pair(path.parent).notes.get("lead") if is_adapter(path.parent) else None
    names = told.get("tasks") if isinstance(told, dict) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
