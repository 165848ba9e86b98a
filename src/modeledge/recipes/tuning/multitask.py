"""One body, several tasks: multi-task fine-tuning from one recipe.

    model = "…"
    sampling = "annealed"
    [tasks.topic]
    data = "topics.csv"
    [tasks.tone]
    data = "tones.csv"
    label = "stars"

Each table says what a recipe of `finetune` says of its rows; the body, the strategies and the numbers of the run are
shared. Every task has its own head and its own marks; `tasks/NAME/` is a plain model of each, `model/` all heads on one
body in our own form. With the strategy `mpt` the run is the source stage of multitask prompt tuning, and leaves
adapters (`recipes/tuning/source_stage.py`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.config import to_toml
from modeledge.corpus.sampled import SampledStream, exponents
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.families.own import OURS, inherited
from modeledge.metrics import METRICS
from modeledge.model.backbone import Backbone
from modeledge.objectives import Step
from modeledge.objectives.shared import BETWEEN, Shared, seen
from modeledge.preflight import Verdict
from modeledge.recipes.adapters.run import check_foldable
from modeledge.recipes.folder import run_folder
from modeledge.recipes.gate import guard, said_beside, view_of_tuning
from modeledge.recipes.pretraining.writing import way_of
from modeledge.recipes.recipe import FinetuneRecipe, absolute
from modeledge.recipes.store.card import Card, base_of
from modeledge.recipes.store.hub import Found, find_model, remember_source
from modeledge.recipes.store.open import open_model, tokenizer_of
from modeledge.recipes.tuning.benchmark import stated
from modeledge.recipes.tuning.conflicts import Conflicts
from modeledge.recipes.tuning.cost import watch, write_costs
from modeledge.recipes.tuning.finetune import Opened, Ready, make_task, marks, merge_all
from modeledge.recipes.tuning.finetune import build_trainer as alone_trainer
from modeledge.recipes.tuning.heads import check_outputs
from modeledge.recipes.tuning.rows import Parts, split_rows
from modeledge.recipes.tuning.several import MultitaskRecipe
from modeledge.recipes.tuning.source_stage import bare, base_of_stage, check_stage, for_all, for_one, one_task
from modeledge.recipes.tuning.strategy import make_strategy, worded
from modeledge.recipes.tuning.task_file import TASK_FILE, TASKS_FILE, described
from modeledge.recipes.tuning.written import Member, Shelf, named, write_alone
from modeledge.seed import Noise
from modeledge.tasks import answers
from modeledge.tokens import Tokenizer
from modeledge.train import Judge, Session, Trainer
from modeledge.train.session import Listener, write_environment


@dataclass(frozen=True)
class Begun:
    """What a run starts from."""

    tokenizer: Tokenizer
    model: Backbone
    found: Found


def multitask(
    recipe: MultitaskRecipe,
    folder: Path,
    *,
    listeners: Sequence[Listener] = (),
    say: Callable[[str], None] = print,
    resume: bool = False,
) -> dict[str, Any]:
    """Run the recipe in `folder`; returns the marks of each task."""
    recipe, alone, rows, found = settled(recipe, say)
    with run_folder(folder, to_toml(recipe), resume=resume):
        tokenizer, model = tokenizer_of(found.folder), open_model(found.folder, say)
        remember_source(model, found.source)
        below = base_of_stage(recipe.strategies, model, recipe.model, found)
        base, begun = base_of(recipe.model, model), Begun(tokenizer, model, found)
        members = {n: member(alone[n], rows[n], begun, named(say, n)) for n in rows}
        if not resume:
            guard_each(members, begun, folder, say)
        trainer = build_trainer(recipe, model, members)
        check_stage(below, model)
        check_foldable(model)
        say(f"{trainer.config.steps:,} steps, learning rate {trainer.config.peak:.2g}")
        write_environment(folder, recipe.seed, found.source)
        session = Session(folder, trainer, say=say)
        if resume:
            say(f"resumed after step {session.resume()}")
        since = watch(model)
        every, probes = recipe.conflict_every, {n: own.train for n, own in members.items()}
        looks = [] if every is None else [Conflicts(folder, trainer, probes, every)]
        session.run([*listeners, *looks])
        session.conclude()
        write_costs(trainer, folder, sum(len(own.train) for own in members.values()), since)
        merge_all(trainer.strategies, model)
        results: dict[str, Any] = {"tasks": mark_each(members, model, recipe.seed, say)}
        scores = {f"{n}.{k}": v for n, told in results["tasks"].items() for k, v in told["scores"].items()}
        results |= {"scores": scores, "conflicts": looks[0].summary() if looks else {}}
        files.write_json(folder / "results.json", results)
        shelf = Shelf(recipe, model, tokenizer, folder, base, below)
        for name, own in members.items():
            write_alone(shelf, name, own, results["tasks"][name], say)
        card = Card(
            verb="finetune",
            license=recipe.license,
            base=base,
            data=[Path(own.recipe.data).name for own in members.values()],
            recipe=recipe.model_dump(mode="json"),
            scores=scores,
        )
        notes = {TASKS_FILE: {n: described(own.task) for n, own in members.items()}}
        shelf.write(model if below is None else bare(model, list(members)), "model", OURS, notes, card)
        return results


def settled(
    recipe: MultitaskRecipe, say: Callable[[str], None]
) -> tuple[MultitaskRecipe, dict[str, FinetuneRecipe], dict[str, Parts], Found]:
    """The recipe with what its data and its model settle, each task's by itself, its rows, and the model."""
    one = recipe.model_copy(update={"strategies": for_one(recipe.strategies)})
    alone = {name: stated(absolute(one.alone(name)), say) for name in recipe.tasks}
    rows = {name: split_rows(own, say=say) for name, own in alone.items()}
    found = find_model(recipe.model, recipe.revision, recipe.endpoint)
    model = found.pins(recipe.endpoint) if found.source else {"model": next(iter(alone.values())).model}
    tasks = {name: own.rows() for name, own in alone.items()}
    strategies = for_all(recipe.strategies, len(tasks))
    return recipe.model_copy(update={**model, "tasks": tasks, "strategies": strategies}), alone, rows, found


def check_tasks(recipe: MultitaskRecipe, folder: Path, say: Callable[[str], None]) -> dict[str, Verdict | None]:
    """The pre-flight of a recipe and nothing else."""
    _, alone, rows, found = settled(recipe, say)
    begun = Begun(tokenizer_of(found.folder), open_model(found.folder, say), found)
    members = {n: member(alone[n], rows[n], begun, named(say, n)) for n in rows}
    return guard_each(members, begun, folder, say)


def guard_each(
    members: Mapping[str, Member], begun: Begun, folder: Path, say: Callable[[str], None]
) -> dict[str, Verdict | None]:
    """Look at each task as at a run of it alone, on a copy of the model; refused as that would be, with its name."""
    told: dict[str, Verdict | None] = {}
    for name, own in members.items():
        model, task = copy.deepcopy(begun.model), copy.copy(own.task)
        task.objective, before = copy.deepcopy(own.task.objective), dict(model.heads)
        trainer = alone_trainer(own.recipe, model, task, own.train, own.chosen)
        source, said = begun.found.source, said_beside(begun.found.folder / TASK_FILE)
        opened = Opened(
            begun.tokenizer, model, task, own.train, own.chosen, own.held, source, base={}, before=before, adapts=None
        )
        ready = Ready(**vars(opened), folder=begun.found.folder, trainer=trainer, said=said)
        try:
            told[name] = guard(own.recipe, view_of_tuning(own.recipe, ready, own.parts, folder), named(say, name))
        except ModeledgeError as error:
            what = f"task {name}: {error.what}"
            raise ModeledgeError(error.code, what, where=error.where, why=error.why, remedy=error.remedy) from error
    return told


def member(recipe: FinetuneRecipe, parts: Parts, begun: Begun, say: Callable[[str], None]) -> Member:
    """A task with its examples; what was inferred and what is cut is said."""
    way = way_of(begun.found.folder)
    task = make_task(recipe, parts.train, begun.tokenizer, begun.model, way, say)
    task.check(parts.train, [*parts.validation, *parts.test], apart=recipe.test is not None)
    train, chosen, held = (task.encode(part) for part in (parts.train, parts.validation, parts.test))
    cut = f"{task.truncated(train)} of them cut to {recipe.train.length} tokens"
    say(f"{len(parts.train)} training rows ({cut}), {len(parts.validation)} validation, {len(parts.test)} test rows")
    return Member(recipe, parts, task, train, chosen, held)


def build_trainer(recipe: MultitaskRecipe, model: Backbone, members: Mapping[str, Member]) -> Trainer:
    """One trainer over the body and all heads; each head begins with what the checkpoint brings of it."""
    streams = [ListStream(own.train, recipe.seed) for own in members.values()]
    config = recipe.train.over(recipe.epochs, sum(map(len, streams))).fitted(model.config.width)
    config = config.model_copy(update={"length": max(own.task.seq for own in members.values())})
    stream = SampledStream(streams, exponents(recipe.sampling, recipe.epochs, recipe.temperature), config.batch)
    objective = Shared(
        {name: own.task.objective for name, own in members.items()},
        stream.offsets,
        [own.train[0] for own in members.values()],
    )
    kept = _brought(model, members)
    step = Step(model, objective, noise=Noise(recipe.seed))
    for name in [name for name in model.heads if name not in objective.heads]:
        del model.heads[name]  # the heads of other tasks: each of these has its own
    model.load_state_dict({**model.state_dict(), **kept})
    tokenizer = next(iter(members.values())).task.tokenizer
    strategies = [worded(make_strategy(s), tokenizer) for s in recipe.strategies]
    judge = None
    if config.judge_every is not None:
        data = json.dumps([[ListStream(own.chosen, 0).fingerprint, described(own.task)] for own in members.values()])
        judge = Judge(_mean_of(members), "mean", config.judge_every, True, config.patience, data=data)
    trainer = Trainer(step, stream, strategies, config=config, seed=recipe.seed, judge=judge)
    check_outputs(model, objective.heads)
    return trainer


def _brought(model: Backbone, members: Mapping[str, Member]) -> dict[str, Any]:
    """What the checkpoint holds of each task's heads, under the names that these have beside each other."""
    kept: dict[str, Any] = {}
    for name, own in members.items():
        there = dict(inherited(model, own.task.objective.heads))
        for head in own.task.objective.continues & set(own.task.objective.heads) & set(model.heads):
            state = model.heads[head].state_dict()
            there |= {f"heads.{head}.{n}": value for n, value in state.items()}
        kept |= {f"heads.{name}{BETWEEN}{n.removeprefix('heads.')}": value.clone() for n, value in there.items()}
    return kept


def _mean_of(members: Mapping[str, Member]) -> Callable[[Backbone], Mapping[str, float]]:
    """Marks of all tasks, and the mean of each one's first (what is better when lower counts negatively)."""

    def evaluate(model: Backbone) -> dict[str, float]:
        out: dict[str, float] = {}
        first: list[float] = []
        for number, (name, own) in enumerate(members.items()):
            with one_task(model, number):
                told = own.task.mark(answers(own.task, seen(model, name), own.chosen), own.chosen)
            out |= {f"{name}.{metric}": value for metric, value in told.items()}
            metric = own.task.metrics[0]
            first.append(told[metric] if METRICS[metric].greater_is_better else -told[metric])
        return {**out, "mean": sum(first) / len(first)}

    return evaluate


def mark_each(
    members: Mapping[str, Member], model: Backbone, seed: int, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """The scores of each task on its test rows."""
    told = dict[str, dict[str, Any]]()
    for number, (name, own) in enumerate(members.items()):
        with one_task(model, number):
            told[name] = marked(own, seen(model, name), seed, say)
    return told


def marked(own: Member, model: Backbone, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The scores of one task on its test rows."""
    own.task.finish(model)
    for line in own.task.tune(answers(own.task, model, own.chosen), own.chosen) if own.chosen else ():
        say(line)
    counts = {"train": len(own.parts.train), "validation": len(own.chosen), "test": len(own.held)}
    return {**marks(own.task, answers(own.task, model, own.held), own.held, seed), "rows": counts}


__all__ = ["MultitaskRecipe", "check_tasks", "multitask"]
