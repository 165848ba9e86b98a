"""Several fine-tunings one after the other, in one recipe: intermediate-task fine-tuning.

    model = "…"
    [[stages]]
    name = "inference"
    data = "mnli.csv"
    [[stages]]
    name = "entailment"
    data = "rte.csv"

A body that learned a large related task first can learn a small one better (STILTs, Phang et al. 2018, arXiv
1811.01088; BERT learned TriviaQA before SQuAD: Devlin et al. 2019, section 4.2). Each stage is a whole run in
`stages/NAME`, begins with the model of the one before, and has its own head, drawn anew even where the one before has
learned the same classes; the last one's model is the result. One with `[stages.tasks.NAME]` learns several tasks
at once (`recipes/tuning/multitask.py`), with a head each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, model_validator

from modeledge import files
from modeledge.config import Settings, to_toml
from modeledge.errors import ModeledgeError
from modeledge.recipes.adapters.go_on import GOES_ON, adding
from modeledge.recipes.folder import RECIPE, finished, run_folder
from modeledge.recipes.recipe import FinetuneRecipe, absolute
from modeledge.recipes.store.hub import find_model
from modeledge.recipes.tuning.finetune import finetune
from modeledge.recipes.tuning.multitask import MultitaskRecipe, multitask
from modeledge.recipes.tuning.strategy import make_strategy
from modeledge.train.session import Listener

LEAVES = {"p-tuning": "prompt"}  # methods whose file holds what another one goes on with
BEFORE = "the stage before"  # what stands in the place of a stage's model


class StageRecipe(FinetuneRecipe):
    """One stage: a recipe of `finetune` with a name; its model is that of the stage before."""

    name: str
    model: str = BEFORE

    def run(self, model: str) -> FinetuneRecipe:
        """The stage as a run by itself."""
        own = {field: getattr(self, field) for field in FinetuneRecipe.model_fields}
        return FinetuneRecipe(**{**own, "model": model})


class TasksStage(MultitaskRecipe):
    """A stage that learns several tasks on one body: a recipe of them with a name.

    The stage that follows begins with this body and the head of the first task, which is the head of another task to it
    as any other is.
    """

    name: str
    model: str = BEFORE

    def run(self, model: str) -> MultitaskRecipe:
        """The stage as a run by itself."""
        own = {field: getattr(self, field) for field in MultitaskRecipe.model_fields}
        return MultitaskRecipe(**{**own, "model": model})


def _kind(stage: Any) -> str:
    """Which of the two a table is: one with tasks has several."""
    if isinstance(stage, Settings):
        return "multitask" if isinstance(stage, TasksStage) else "finetune"
    return "multitask" if isinstance(stage, Mapping) and "tasks" in stage else "finetune"


Stage = Annotated[
    Annotated[StageRecipe, Tag("finetune")] | Annotated[TasksStage, Tag("multitask")], Discriminator(_kind)
]


class StagesRecipe(Settings):
    """A model and what it learns, stage after stage. `seed` is that of every stage that says none."""

    kind: Literal["stages"] = "stages"
    seed: int = 0
    model: str
    revision: str | None = None
    endpoint: str | None = None
    stages: tuple[Stage, ...]

    @model_validator(mode="after")
    def _consistent(self) -> StagesRecipe:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"stages {names} need names of their own, and there is at least one")
        for stage in self.stages:
            if not stage.name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{stage.name!r} cannot name a stage's folder: use letters, digits, - and _")
            if stage.model != BEFORE or stage.revision or stage.endpoint:
                raise ValueError(f"stage {stage.name!r} begins where the stage before ended; name the first model once")
        return self

    def each(self) -> tuple[Stage, ...]:
        """The stages as they are run: with this seed where they say none and, behind the first, with leave to draw
        heads anew, whatever the one before has learned."""
        out: list[Stage] = []
        for stage in self.stages:
            seed = stage.seed if "seed" in stage.model_fields_set else self.seed
            allow = tuple(dict.fromkeys((*stage.allow, "fresh-heads"))) if out else stage.allow
            out.append(stage.model_copy(update={"seed": seed, "allow": allow}))
        return tuple(out)


def check_order(stages: Sequence[Stage]) -> None:
    """Refuse stages that cannot follow each other, before the first one is trained (`E-CONFIG`, with the stage).

    What an adapter has learned is written alone, beside its base: only the same method goes on with it, alone and as it
    stands in its file, unless its stage folds it in. A strategy that there is not is refused with its stage too.
    """
    held, before = list[Any](), ""  # the kinds of adapter that the model has, and the stage that brought them
    for stage in stages:
        for strategy in stage.strategies:
            try:
                make_strategy(strategy)
            except ModeledgeError as error:
                where = f"stages.{stage.name}: {error.where}"
                raise ModeledgeError(error.code, error.what, where=where, why=error.why, remedy=error.remedy) from error
        alone = stage if isinstance(stage, StageRecipe) else None
        if held and not (alone and (goes_on(alone, held) or alone.fresh or alone.features is not None)):
            raise not_followed(stage, held, before)
        held = [] if alone and alone.fresh else held
        if not held and alone and not alone.merge:
            held, before = adding(alone.strategies), alone.name


def goes_on(stage: StageRecipe, held: Sequence[Any]) -> bool:
    """Does a stage train the one adapter that is there, and nothing else?"""
    kinds = [strategy.kind for strategy in stage.strategies if not (strategy.options or stage.merge)]
    return len(stage.strategies) == 1 and kinds == trainable(held)


def trainable(held: Sequence[Any]) -> list[str]:
    """The strategy that goes on with the adapter of a stage; none with several, or where its schedule is over."""
    kinds = [LEAVES.get(kind.kind, kind.kind) for kind in held]
    return [kind for kind in kinds if kind in GOES_ON and len(kinds) == 1]


def not_followed(stage: Stage, held: Sequence[Any], before: str) -> ModeledgeError:
    """The error for a stage that an adapter stands before, with what would help."""
    names, merges = " + ".join(kind.kind for kind in held), all(kind.mergeable for kind in held)
    ways = [f"merge = true in stage {before!r}"] if merges else []
    if isinstance(stage, StageRecipe):
        ways += [f'strategies = [{{kind = "{k}"}}] in stage {stage.name!r} goes on with it' for k in trainable(held)]
    what = f"the stage begins with the adapter of stage {before!r} ({names}), and asks for something else"
    why = "" if merges else f"{names} cannot be folded into the weights"
    remedy = "; or ".join(ways) or f"make {before!r} the last stage, or a run of its own"
    return ModeledgeError("E-CONFIG", what, where=f"stages.{stage.name}.strategies", why=why, remedy=remedy)


def run_stages(
    recipe: StagesRecipe,
    folder: Path,
    *,
    listeners: Sequence[Listener] = (),
    say: Callable[[str], None] = print,
    resume: bool = False,
) -> dict[str, Any]:
    """Run all stages in `folder`; returns the marks of the last one, with those of all by name.

    A stage that is done is not run again, one that was stopped goes on where it was. Raises what `check_order` raises.
    """
    check_order(recipe.stages)
    found = find_model(recipe.model, recipe.revision, recipe.endpoint)
    first = recipe.model if found.source else str(Path(recipe.model).resolve())
    stages = tuple(stage.model_copy(update=_files(stage)) for stage in recipe.each())
    pinned = found.pins(recipe.endpoint) if found.source else {}
    recipe = recipe.model_copy(update={"model": first, "stages": stages, **pinned})
    told: dict[str, Any] = {}
    with run_folder(folder, to_toml(recipe), resume=resume):
        model, pins = recipe.model, {"revision": recipe.revision, "endpoint": recipe.endpoint}
        for number, stage in enumerate(recipe.stages, 1):
            here = folder / "stages" / stage.name
            say(f"stage {number} of {len(recipe.stages)}: {stage.name}")
            if finished(here):
                say(f"{stage.name} is done")
                told[stage.name] = files.read_json(here / "results.json")
            else:
                told[stage.name] = run_stage(stage, model, pins, here, listeners, say)
            last = here / "model"
            body = last if isinstance(stage, StageRecipe) else here / "tasks" / next(iter(stage.tasks))
            model, pins = str(body.resolve()), {"revision": None, "endpoint": None}
        results = {**told[recipe.stages[-1].name], "stages": {n: marks["scores"] for n, marks in told.items()}}
        files.write_json(folder / "results.json", results)
        with files.committed_folder(folder / "model", {"schema": 1}) as temporary:
            for path in last.iterdir():
                if path.name != files.MANIFEST:
                    shutil.copy2(path, temporary / path.name)
        return results


def run_stage(
    stage: Stage,
    model: str,
    pins: Mapping[str, str | None],
    folder: Path,
    listeners: Sequence[Listener],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One stage, from its beginning or from where it was stopped; returns its marks."""
    begun = (folder / RECIPE).exists()
    if isinstance(stage, TasksStage):
        several = stage.run(model).model_copy(update=pins)
        return multitask(several, folder, listeners=listeners, say=say, resume=begun)
    alone = stage.run(model).model_copy(update=pins)
    return finetune(alone, folder, listeners=listeners, say=say, resume=begun)


def _files(stage: Stage) -> dict[str, Any]:
    """The stage's paths made absolute."""
    if isinstance(stage, TasksStage):
        return {"tasks": {name: absolute(stage.alone(name)).rows() for name in stage.tasks}}
    there = absolute(stage.run(str(Path.cwd())))
    return {"data": there.data, "test": there.test, "validation": there.validation, "tokenizer": there.tokenizer}
