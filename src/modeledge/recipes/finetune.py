"""A model and labelled rows in, an adapted model, its predictions and its marks out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.adapt import STRATEGIES
from modeledge.adapt.strategy import Strategy
from modeledge.config import to_toml
from modeledge.corpus.rows import read_table
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError, nearest
from modeledge.evaluate import analyse
from modeledge.families import load_model, start_of
from modeledge.metrics import METRICS, bootstrap
from modeledge.model.backbone import Backbone
from modeledge.model.transformer import Transformer
from modeledge.objectives import Step
from modeledge.recipes.card import Card, base_of
from modeledge.recipes.folder import run_folder
from modeledge.recipes.hub import find_model, remember_source
from modeledge.recipes.pretrain import finish
from modeledge.recipes.recipe import FinetuneRecipe, StrategyRecipe, absolute
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks import (
    TASKS,
    Answer,
    Asked,
    Task,
    answers,
    check_splits,
    judge_on,
    role_columns,
    set_aside,
)
from modeledge.tokens import Tokenizer
from modeledge.train import Judge, Session, Trainer
from modeledge.train.session import Listener, write_environment

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Parts:
    """The rows of a run: to learn from, for the judge to choose by (none without a judge), to be marked on."""

    train: Rows
    validation: Rows
    test: Rows


TASK_FILE = "task.json"


def finetune(
    recipe: FinetuneRecipe,
    folder: Path,
    *,
    rows: Any = None,
    test_rows: Any = None,
    listeners: Sequence[Listener] = (),
    say: Callable[[str], None] = print,
    resume: bool = False,
) -> dict[str, Any]:
    """Run the recipe in `folder`; returns the marks.

    `rows` and `test_rows` take the place of the recipe's files: anything that `read_table` reads.
    """
    recipe = absolute(recipe)
    parts = split_rows(recipe, rows, test_rows)
    found = find_model(recipe.model, recipe.revision, recipe.endpoint)
    if found.source:  # a run goes on with the commit that it began with
        recipe = recipe.model_copy(update=found.pins(recipe.endpoint))
    with run_folder(folder, to_toml(recipe), resume=resume):
        tokenizer, model = Tokenizer.load(found.folder), load_model(found.folder)
        remember_source(model, found.source)
        base = {} if recipe.fresh else base_of(recipe.model, model)
        start, model = start_of(model), Transformer(model.config, seed=recipe.seed) if recipe.fresh else model
        task = make_task(recipe, parts.train, tokenizer, model, say, start)
        task.check(parts.train, [*parts.validation, *parts.test], apart=recipe.test is not None)
        if task.needs_validation and not parts.validation:
            what, remedy = "there are no validation rows to choose by", "set train.judge_every"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options", remedy=remedy)
        examples, chosen, held = (task.encode(part) for part in (parts.train, parts.validation, parts.test))
        cut = task.truncated(examples)
        more = f", {len(parts.validation)} validation rows" if chosen else ""
        fits = f"{cut} of them cut to {recipe.train.length} tokens"
        windows = f" in {len(examples)} examples" if len(examples) > len(parts.train) else ""
        say(f"{len(parts.train)} training rows{windows} ({fits}){more}, {len(parts.test)} test rows")
        for remark in task.remarks(examples):
            say(f"training rows: {remark}")
        trainer = build_trainer(recipe, model, task, examples, chosen)
        say(f"{trainer.config.steps:,} steps, learning rate {trainer.config.peak:.2g}")
        write_environment(folder, recipe.seed, found.source)
        session = Session(folder, trainer, say=say)
        if resume:
            say(f"resumed after step {session.resume()}")
        session.run(listeners)
        session.take_best()
        for strategy in trainer.strategies:
            if strategy.mergeable:
                strategy.merge(model)
        task.finish(model)
        for line in task.tune(answers(task, model, chosen), chosen) if chosen else ():
            say(line)
        told = answers(task, model, held)
        counts = {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test), "cut": cut}
        analysis = analyse(task, told, held, seed=recipe.seed)
        results = {**marks(task, told, held, recipe.seed), "rows": counts, "analysis": analysis}
        files.write_json(folder / "results.json", results)
        card = card_of(recipe, base, results["scores"], task.card)
        finish(model, tokenizer, folder / "model", recipe.family, {TASK_FILE: described(task)}, card)
        return results


def card_of(recipe: FinetuneRecipe, base: Mapping[str, str], scores: Mapping[str, Any], task: str) -> Card:
    """What the card of a fine-tuned model says."""
    return Card(
        verb="finetune",
        license=recipe.license,
        base=base,
        data=[Path(recipe.data).name],
        recipe=recipe.model_dump(mode="json"),
        scores=scores,
        task=task,
    )


def task_named(recipe: FinetuneRecipe) -> tuple[type[Task], dict[str, str]]:
    """The row of `TASKS` that the recipe names, and the column of each of its roles."""
    if recipe.task not in TASKS:
        what = f"there is no task {recipe.task!r}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="task", remedy=nearest(recipe.task, TASKS))
    kind = TASKS[recipe.task]
    first = "text" if "text" in (*kind.inputs, *kind.optional) else kind.inputs[0]
    short = {first: recipe.text, "pair": recipe.pair, kind.target: recipe.label}
    return kind, role_columns(kind, {**{k: v for k, v in short.items() if v is not None}, **recipe.columns})


def split_rows(recipe: FinetuneRecipe, rows: Any = None, test_rows: Any = None) -> Parts:
    """The rows of a run, each part from its own file or set aside by lot: equal inputs stay together, classes in share.

    A task's `apart_by` widens what stays together. Raises `E-LEAK` where files share inputs, `E-EMPTY-SPLIT` where
    there are too few rows to set any aside.
    """
    kind, roles = task_named(recipe)
    target, noise = roles[kind.target], Noise(recipe.seed).at("split")
    beside = (kind.target, *kind.beside)
    inputs = kind.reads({role: column for role, column in roles.items() if role not in beside})
    together = [roles[role] for role in kind.apart_by if role in roles][:1] or inputs
    columns = kind.reads(roles)
    train: Rows = located(rows if rows is not None else recipe.data, columns)
    validation: Rows = []

    def aside(source: Rows, share: float, name: str) -> tuple[Rows, Rows]:
        keys = [tuple(str(row[c]) for c in together) for row in source]
        values = not kind.stratified or len({str(row[target]) for row in source}) > len(source) // 2
        classes = ["" if values else str(row[target]) for row in source]
        stay, go = set_aside(keys, classes, share, noise.at(name))
        return [source[i] for i in stay], [source[i] for i in go]

    if test_rows is not None or recipe.test is not None:
        test: Rows = located(test_rows if test_rows is not None else recipe.test, columns)
    else:
        train, test = aside(train, recipe.test_share, "test")
    if recipe.train.judge_every is not None:
        if recipe.validation is not None:
            validation = located(recipe.validation, columns)
        else:
            train, validation = aside(train, recipe.validation_share, "validation")
    for other in (test, *([validation] if recipe.train.judge_every is not None else [])):
        if not other or not recipe.allow_leak:
            check_splits(train, other, inputs)
    return Parts(train, validation, test)


def located(source: Any, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows that know where they came from: `__where__` holds file and line for the errors of a task."""
    return [{**record.fields, "__where__": record.where} for record in read_table(source, columns)]


def make_task(
    recipe: FinetuneRecipe,
    train: Rows,
    tokenizer: Tokenizer,
    model: Backbone,
    say: Callable[[str], None],
    start: int | None = None,
) -> Task:
    """The task that the rows suggest, said aloud, or the one that the recipe names; `start` is what the decoder of an
    encoder–decoder begins with."""
    kind, roles = task_named(recipe)
    asked = Asked(roles, recipe.train.length, recipe.dropout, recipe.options, start)
    return kind.made(train, tokenizer, model.config, asked, say)


def build_trainer(
    recipe: FinetuneRecipe, model: Transformer, task: Task, examples: Sequence[Example], chosen: Sequence[Example]
) -> Trainer:
    """The recipe's trainer: `epochs` become steps, the judge marks the chosen rows."""
    config = recipe.train.over(recipe.epochs, len(examples)).fitted(model.config.width)
    config = config.model_copy(update={"length": task.seq})
    judge = None
    if config.judge_every is not None:
        metric = recipe.metric or task.metrics[0]
        if metric not in task.metrics:
            what = f"{metric!r} is no metric of this task"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="metric", remedy=nearest(metric, task.metrics))
        judge = Judge(
            judge_on(task, chosen),
            metric,
            config.judge_every,
            METRICS[metric].greater_is_better,
            config.patience,
            data=f"{ListStream(chosen, 0).fingerprint} {json.dumps(task.described(), sort_keys=True)}",
        )
    for name in (set(task.objective.heads) - task.objective.continues) & set(model.heads):
        del model.heads[name]  # the head of another task: this one starts afresh
    step = Step(model, task.objective, noise=Noise(recipe.seed))
    stream = ListStream(examples, recipe.seed)
    strategies = [make_strategy(s) for s in recipe.strategies]
    return Trainer(step, stream, strategies, config=config, seed=recipe.seed, judge=judge)


def make_strategy(recipe: StrategyRecipe) -> Strategy:
    """A row of `STRATEGIES` with the recipe's fields."""
    if recipe.kind not in STRATEGIES:
        remedy = nearest(recipe.kind, STRATEGIES)
        raise ModeledgeError(
            "E-CONFIG-VALUE", f"there is no strategy {recipe.kind!r}", where="strategies", remedy=remedy
        )
    try:
        strategy: Strategy = STRATEGIES[recipe.kind](**recipe.options)
    except TypeError as error:
        raise ModeledgeError(
            "E-CONFIG-KEY", str(error).split("__init__() ")[-1], where=f"strategies.{recipe.kind}"
        ) from error
    return strategy


def marks(task: Task, told: Sequence[Answer], held: Sequence[Example], seed: int) -> dict[str, Any]:
    """Every score with its 95 % interval and what it was computed on."""
    gold = task.rows_of(held)
    scores = {}
    for name in task.metrics:
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


def described(task: Task) -> dict[str, Any]:
    """What `predict` must know beside the weights: the row of `TASKS`, and what the task says of itself."""
    return {"task": task.kind, **task.described()}


def restored(said: Mapping[str, Any], tokenizer: Tokenizer, model: Backbone) -> Task:
    """The inverse of `described`; a task that this version does not know is `E-CONFIG-VALUE`."""
    kind = said.get("task", "label")
    found = next((task for task in TASKS.values() if task.kind == kind), None)
    if found is None:
        remedy = nearest(str(kind), TASKS)
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no task {kind!r}", where=TASK_FILE, remedy=remedy)
    return found.restored(said, tokenizer, model.config)
