"""A model and labelled rows in, an adapted model, its predictions and its marks out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from modeledge import files
from modeledge.adapt.graft import adapters_on
from modeledge.adapt.strategy import Strategy
from modeledge.config import to_toml
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError, nearest
from modeledge.evaluate import analyse
from modeledge.families import start_of
from modeledge.families.own import inherited, own_head
from modeledge.generate import READ_BOTH_WAYS, Way
from modeledge.metrics import METRICS, bootstrap
from modeledge.model.backbone import Backbone
from modeledge.objectives import Step
from modeledge.recipes.adapters.digest import Base
from modeledge.recipes.adapters.go_on import base_below, check_kept, going_on, heads_going_on
from modeledge.recipes.adapters.run import Beside, base_for, check_foldable, check_writable, finish_adapter, lightened
from modeledge.recipes.folder import run_folder
from modeledge.recipes.gate import guard, said_beside, view_of_tuning
from modeledge.recipes.pretraining.pretrain import finish
from modeledge.recipes.pretraining.reshaped import reshaped, tell
from modeledge.recipes.pretraining.writing import note_of, way_of
from modeledge.recipes.recipe import FinetuneRecipe, absolute
from modeledge.recipes.store.card import Card, base_of
from modeledge.recipes.store.hub import Found, find_model, remember_source
from modeledge.recipes.store.open import open_model, renewed, speaking, tokenizer_of
from modeledge.recipes.tuning.answered import ANSWERS, answered
from modeledge.recipes.tuning.benchmark import stated
from modeledge.recipes.tuning.cost import watch, write_costs
from modeledge.recipes.tuning.heads import announce, check_outputs, settle, words_of
from modeledge.recipes.tuning.rows import Parts, Rows, split_rows, task_named, told_where
from modeledge.recipes.tuning.scratch import check_preset, starting_model
from modeledge.recipes.tuning.source_stage import check_source
from modeledge.recipes.tuning.strategy import make_strategy, worded
from modeledge.recipes.tuning.task_file import TASK_FILE, described
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks import Answer, Asked, Task, answers, judge_on
from modeledge.tasks.labels import Labels
from modeledge.tasks.write import WriteTask
from modeledge.tokens import Tokenizer
from modeledge.train import Judge, Session, Trainer
from modeledge.train.session import Listener, write_environment


@dataclass(frozen=True)
class Opened:
    """A model with its task and the examples of all parts. `source` is where it was fetched from, `base` what a card
    says of the model that a run starts from, `before` the heads that this came with; `adapts` the base, where an
    adapter alone is written."""

    tokenizer: Tokenizer
    model: Backbone
    task: Task
    examples: Sequence[Example]
    chosen: Sequence[Example]
    held: Sequence[Example]
    source: Mapping[str, str]
    base: Mapping[str, str]
    before: Mapping[str, nn.Module]
    adapts: Base | None


@dataclass(frozen=True)
class Ready(Opened):
    """A fine-tuning that could begin. `said` is what a task had written beside the model."""

    folder: Path
    trainer: Trainer
    said: Mapping[str, Any]


def finetune(
    recipe: FinetuneRecipe,
    folder: Path,
    *,
    rows: Any = None,
    test_rows: Any = None,
    listeners: Sequence[Listener] = (),
    looks: Sequence[Callable[[Ready], Listener]] = (),
    say: Callable[[str], None] = print,
    resume: bool = False,
) -> dict[str, Any]:
    """Run the recipe in `folder`; returns the marks.

    `rows` and `test_rows` take the place of the recipe's files: anything that `read_table` reads. `looks` make
    listeners that look at the model.
    """
    recipe = stated(absolute(recipe), say) if rows is None else absolute(recipe)
    parts = split_rows(recipe, rows, test_rows, say=say)
    check_preset(recipe)
    there = None if recipe.preset is not None else find_model(recipe.model, recipe.revision, recipe.endpoint)
    if there is not None and there.source:  # a run goes on with the commit that it began with
        recipe = recipe.model_copy(update=there.pins(recipe.endpoint))
    with run_folder(folder, to_toml(recipe), resume=resume):
        found = there or starting_model(recipe, parts.train, folder)
        if recipe.features is not None:
            from modeledge.recipes.features.run import run_features  # it makes, marks and writes as this page does

            return run_features(recipe, parts, opened(recipe, parts, found, say), folder, say)
        ready = make_ready(recipe, parts, found, say)
        trainer = ready.trainer
        write_environment(folder, recipe.seed, found.source)
        since = watch(trainer.model)
        session = Session(folder, trainer, say=say)
        if resume:
            say(f"resumed after step {session.resume()}")
        else:
            guard(recipe, view_of_tuning(recipe, ready, parts, folder), say)
        session.run([*listeners, *(look(ready) for look in looks)])
        session.conclude()
        write_costs(trainer, folder, len(ready.examples), since)
        return concluded(recipe, ready, parts, folder, say)


def concluded(
    recipe: FinetuneRecipe, ready: Ready, parts: Parts, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """What follows the last step: tune, mark, write down, and save the model or the adapter; returns the marks."""
    model, task = ready.model, ready.task
    if ready.adapts is None:
        merge_all(ready.trainer.strategies, model)
    task.finish(model)
    for line in task.tune(answers(task, model, ready.chosen), ready.chosen) if ready.chosen else ():
        say(line)
    told = answers(task, model, ready.held)
    counts = {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}
    counts["cut"] = task.truncated(ready.examples)
    form = settle(model, task.objective.heads, recipe.family, say)
    analysis = analyse(task, told, ready.held, seed=recipe.seed)
    results = {**marks(task, told, ready.held, recipe.seed), "rows": counts, "analysis": analysis, "form": form}
    if recipe.mark_train:
        seen = ready.examples[: recipe.mark_train]
        results["train_scores"] = marks(task, answers(task, model, seen), seen, recipe.seed)["scores"]
    files.write_json(folder / "results.json", results)
    files.write_json(folder / ANSWERS, answered(task, told, ready.held))
    card = card_of(recipe, ready.base, results, task.card)
    words, beside = words_of(task, model), {TASK_FILE: described(task), **note_of(task.writes)}
    if ready.adapts is None:
        finish(model, ready.tokenizer, folder / "model", recipe.family, beside, card, words)
    else:
        finish_adapter(model, ready.tokenizer, folder / "model", Beside(ready.adapts, recipe.family, beside, card))
    return results


def opened(recipe: FinetuneRecipe, parts: Parts, found: Found, say: Callable[[str], None]) -> Opened:
    """Model, task and examples of a recipe; what was inferred and what is cut is said."""
    tokenizer, model = tokenizer_of(found.folder), open_model(found.folder, say)
    remember_source(model, found.source)
    base = {} if recipe.fresh or recipe.preset is not None else base_of(recipe.model, model)
    model = renewed(model, recipe.seed) if recipe.fresh else model
    if recipe.bidirectional or recipe.decoder is not None:
        model = reshaped(model, bidirectional=recipe.bidirectional, decoder=recipe.decoder, seed=recipe.seed)
        tell(model, recipe.family, say)
    before = dict(model.heads)
    frozen = recipe.features is not None and adapters_on(model)  # it acts as it is, and no method goes on with it
    adapts = base_below(found.folder, lambda line: None) if frozen else base_for(recipe, model, found)
    check_source(recipe.strategies, adapts)
    if (light := lightened(recipe, model, adapts)) is not None:
        say(light.told())
    task = make_task(recipe, parts.train, tokenizer, model, way_of(speaking(found.folder)), say)
    task.check(parts.train, [*parts.validation, *parts.test], apart=recipe.test is not None)
    if task.needs_validation and not parts.validation:
        what, remedy = "there are no validation rows to choose by", "set train.judge_every"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options", remedy=remedy)
    examples, chosen, held = (task.encode(part) for part in (parts.train, parts.validation, parts.test))
    more = f", {len(parts.validation)} validation rows" if chosen else ""
    fits = f"{task.truncated(examples)} of them cut to {recipe.train.length} tokens"
    windows = f" in {len(examples)} examples" if len(examples) > len(parts.train) else ""
    say(f"{len(parts.train)} training rows{windows} ({fits}){more}, {len(parts.test)} test rows")
    for remark in task.remarks(examples):
        say(f"training rows: {remark}")
    return Opened(tokenizer, model, task, examples, chosen, held, found.source, base, before, adapts)


def make_ready(recipe: FinetuneRecipe, parts: Parts, found: Found, say: Callable[[str], None]) -> Ready:
    """What was opened, and the trainer of a recipe."""
    begun = opened(recipe, parts, found, say)
    said, objective = said_beside(found.folder / TASK_FILE), begun.task.objective
    same = said.get("names") == json.loads(json.dumps(begun.task.described())).get("names")
    objective.continues = objective.continues | heads_going_on(begun.model, objective, same)
    check_kept(begun.model, objective.continues, recipe.model)
    announce(begun.model, objective.heads, objective.continues, recipe.family, say)
    trainer = build_trainer(recipe, begun.model, begun.task, begun.examples, begun.chosen)
    say(f"{trainer.config.steps:,} steps, learning rate {trainer.config.peak:.2g}")
    if begun.adapts is not None:
        check_writable(begun.model, trainer.strategies)
        say("the adapter alone will be written, and opened on its base (merge = true writes the whole model)")
    else:
        check_foldable(begun.model)
    return Ready(**vars(begun), folder=found.folder, trainer=trainer, said=said)


def merge_all(strategies: Sequence[Strategy], model: Backbone) -> None:
    """Fold what strategies added into the plain weights; adapters in the other order than they were added."""
    for strategy in reversed(strategies):
        if strategy.mergeable:
            strategy.merge(model)


def card_of(recipe: FinetuneRecipe, base: Mapping[str, str], results: Mapping[str, Any], task: str) -> Card:
    """What the card of a fine-tuned model says: its scores, and the form that it is written in."""
    return Card(
        verb="finetune",
        license=recipe.license,
        base=base,
        data=[Path(recipe.data).name],
        recipe=recipe.model_dump(mode="json"),
        scores=results["scores"],
        task=task,
        form=results["form"],
    )


def make_task(
    recipe: FinetuneRecipe,
    train: Rows,
    tokenizer: Tokenizer,
    model: Backbone,
    writes: Way | None,
    say: Callable[[str], None],
) -> Task:
    """The task that the rows suggest, said aloud, or the one that the recipe names; the model `writes` in this way."""
    kind, roles = task_named(recipe)
    own, start = partial(own_head, model), start_of(model)
    asked = Asked(roles, recipe.train.length, recipe.dropout, recipe.options, own, start, writes)
    with told_where(recipe, roles[kind.target], model.config.positions):
        task = kind.made(train, tokenizer, model.config, asked, say)
    task.check_model(model)
    if writes in READ_BOTH_WAYS and model.config.encoder is None and not isinstance(task, WriteTask):
        say(f"texts are read from left to right, though {READ_BOTH_WAYS[writes]} (bidirectional = true reads them so)")
    return task


def build_trainer(
    recipe: FinetuneRecipe, model: Backbone, task: Task, examples: Sequence[Example], chosen: Sequence[Example]
) -> Trainer:
    """The recipe's trainer: `epochs` become steps, the judge marks the chosen rows."""
    config = recipe.train.over(recipe.epochs, len(examples)).fitted(model.config.width)
    config = config.model_copy(update={"length": task.seq})
    judge, metric = None, recipe.metric or task.metrics[0]
    if metric not in task.metrics:
        what = f"{metric!r} is no metric of this task"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="metric", remedy=nearest(metric, task.metrics))
    if config.judge_every is not None:
        judge = Judge(
            judge_on(task, chosen),
            metric,
            config.judge_every,
            METRICS[metric].greater_is_better,
            config.patience,
            data=f"{ListStream(chosen, 0).fingerprint} {json.dumps(task.described(), sort_keys=True)}",
        )
    kept = inherited(model, task.objective.heads)
    for name in (set(task.objective.heads) - task.objective.continues) & set(model.heads):
        del model.heads[name]  # the head of another task: this one starts afresh
    step = Step(model, task.objective, noise=Noise(recipe.seed))
    model.load_state_dict({**model.state_dict(), **kept})
    stream = ListStream(examples, recipe.seed)
    labels = getattr(task, "labels", None)
    classes = labels.names if isinstance(labels, Labels) else ()
    strategies = [going_on(worded(make_strategy(s), task.tokenizer, classes), model) for s in recipe.strategies]
    trainer = Trainer(step, stream, strategies, config=config, seed=recipe.seed, judge=judge)
    check_outputs(model, task.objective.heads)
    return trainer


def marks(task: Task, told: Sequence[Answer], held: Sequence[Example], seed: int) -> dict[str, Any]:
    """Every score with its 95 % interval and what it was computed on."""
    gold = task.rows_of(held)
    scores = {}
    for name in task.marked_by(told):
        score = bootstrap(METRICS[name], *task.sides(name, told, gold), seed=seed)
        scores[name] = {
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "n": score.n,
            "signature": score.signature,
            "greater_is_better": METRICS[name].greater_is_better,
        }
    return {"scores": scores}
