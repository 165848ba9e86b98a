"""A model and labelled rows in, an adapted model, its predictions and its marks out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modeledge import files
from modeledge.adapt import STRATEGIES
from modeledge.adapt.strategy import Strategy
from modeledge.config import to_toml
from modeledge.corpus.rows import read_table
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError, nearest
from modeledge.families import start_of
from modeledge.families.own import inherited
from modeledge.metrics import METRICS, bootstrap
from modeledge.model.backbone import Backbone
from modeledge.objectives import Regress, Step
from modeledge.recipes.card import Card, base_of
from modeledge.recipes.folder import run_folder
from modeledge.recipes.heads import announce, head_for, settle, words_of
from modeledge.recipes.hub import find_model, remember_source
from modeledge.recipes.open import open_model, renewed
from modeledge.recipes.pretrain import finish
from modeledge.recipes.recipe import FinetuneRecipe, StrategyRecipe, absolute
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks import (
    Answer,
    Labels,
    LabelTask,
    answers,
    check_sizes,
    check_splits,
    check_unseen,
    extended,
    infer,
    judge_on,
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
        recipe = recipe.model_copy(update={"revision": found.source["revision"]})
    with run_folder(folder, to_toml(recipe), resume=resume):
        tokenizer, model = Tokenizer.load(found.folder), open_model(found.folder, say)
        remember_source(model, found.source)
        base = {} if recipe.fresh else base_of(recipe.model, model)
        model = renewed(model, recipe.seed) if recipe.fresh else model
        task = make_task(recipe, parts.train, tokenizer, model, say)
        check_classes(recipe, task.labels, parts)
        examples, chosen, held = (task.encode(part) for part in (parts.train, parts.validation, parts.test))
        cut = task.truncated(examples)
        more = f", {len(chosen)} validation rows" if chosen else ""
        fits = f"{cut} of them cut to {recipe.train.length} tokens"
        say(f"{len(examples)} training rows ({fits}){more}, {len(held)} test rows")
        announce(model, task.objective.heads, recipe.family, say)
        trainer = build_trainer(recipe, model, task, examples, chosen)
        write_environment(folder, recipe.seed, found.source)
        session = Session(folder, trainer, say=say)
        if resume:
            say(f"resumed after step {session.resume()}")
        session.run(listeners)
        session.take_best()
        for strategy in trainer.strategies:
            if strategy.mergeable:
                strategy.merge(model)
        if isinstance(task.objective, Regress):
            task.objective.fold(model)
        told = answers(task, model, held)
        counts = {"train": len(examples), "validation": len(chosen), "test": len(held), "cut": cut}
        form = settle(model, task.objective.heads, recipe.family, say)
        results = {**marks(task, told, held, recipe.seed), "rows": counts, "form": form}
        files.write_json(folder / "results.json", results)
        card = card_of(recipe, base, results["scores"], form)
        words = words_of(task.labels, task.prepare, tokenizer, model)
        finish(model, tokenizer, folder / "model", recipe.family, {TASK_FILE: described(task)}, card, words)
        return results


def card_of(recipe: FinetuneRecipe, base: Mapping[str, str], scores: Mapping[str, Any], form: str = "") -> Card:
    """What the card of a fine-tuned model says."""
    return Card(
        verb="finetune",
        license=recipe.license,
        base=base,
        data=[Path(recipe.data).name],
        recipe=recipe.model_dump(mode="json"),
        scores=scores,
        task="text-classification",
        form=form,
    )


def split_rows(recipe: FinetuneRecipe, rows: Any = None, test_rows: Any = None) -> Parts:
    """The rows of a run, each part from its own file or set aside by lot: equal texts stay together, classes in share.

    Raises `E-LEAK` where files share texts, `E-EMPTY-SPLIT` where there are too few rows to set any aside.
    """
    texts = [c for c in (recipe.text, recipe.pair) if c is not None]
    columns, noise = [*texts, recipe.label], Noise(recipe.seed).at("split")
    train: Rows = located(rows if rows is not None else recipe.data, columns)
    validation: Rows = []

    def aside(source: Rows, share: float, name: str) -> tuple[Rows, Rows]:
        keys = [tuple(str(row[c]) for c in texts) for row in source]
        values = recipe.task == "regression" or len({str(row[recipe.label]) for row in source}) > len(source) // 2
        classes = ["" if values else str(row[recipe.label]) for row in source]
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
            check_splits(train, other, texts)
    return Parts(train, validation, test)


def located(source: Any, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows that know where they came from: `__where__` holds file and line for the errors of a task."""
    return [{**record.fields, "__where__": record.where} for record in read_table(source, columns)]


def check_classes(recipe: FinetuneRecipe, labels: Labels, parts: Parts) -> None:
    """Refuse classes that training never shows, and classes of one row where one file gives all parts."""
    if labels.kind != "class":
        return
    others = [*parts.validation, *parts.test]
    every = extended(labels, [row.get(recipe.label) for row in others])
    learned, asked = (
        [int(every.number(row.get(recipe.label), str(row.get("__where__", "")))) for row in rows]
        for rows in (parts.train, others)
    )
    if recipe.test is None:
        check_sizes([*learned, *asked], every, 2)
    check_unseen(learned, asked, every)


def make_task(
    recipe: FinetuneRecipe, train: Rows, tokenizer: Tokenizer, model: Backbone, say: Callable[[str], None]
) -> LabelTask:
    """The task that the rows suggest, said aloud, or the one that the recipe names."""
    kinds: dict[str, Any] = {"auto": "auto", "classification": "class", "regression": "value"}
    wheres = [str(row.get("__where__", f"row {i + 1}")) for i, row in enumerate(train)]
    labels = infer([row.get(recipe.label) for row in train], wheres, kinds[recipe.task])
    named = f"{len(labels.names)} classes: {', '.join(labels.names[:8])}" if labels.names else "values"
    if recipe.task == "auto":
        other = "regression" if labels.kind == "class" else "classification"
        say(f"task: {named} (inferred from column {recipe.label!r}; --task {other} says otherwise)")
    weights: Sequence[float] = ()
    if recipe.balanced and labels.names:
        counts = np.bincount([int(labels.number(row[recipe.label], "")) for row in train], minlength=len(labels.names))
        weights = (len(train) / (len(labels.names) * np.maximum(counts, 1))).tolist()
    return LabelTask(
        labels,
        tokenizer,
        model.config,
        length=recipe.train.length,
        text=recipe.text,
        pair=recipe.pair,
        label=recipe.label,
        head=head_for(model, labels, dropout=recipe.dropout, pool=recipe.pool, hidden=recipe.hidden),
        start=start_of(model),
        pool=recipe.pool,
        hidden=recipe.hidden,
        dropout=recipe.dropout,
        smoothing=recipe.smoothing,
        class_weights=weights,
    )


def build_trainer(
    recipe: FinetuneRecipe, model: Backbone, task: LabelTask, examples: Sequence[Example], chosen: Sequence[Example]
) -> Trainer:
    """The recipe's trainer: `epochs` become steps, the judge marks the chosen rows."""
    config = recipe.train.over(recipe.epochs, len(examples))
    judge = None
    if config.judge_every is not None:
        metric = recipe.metric or ("accuracy" if task.labels.kind == "class" else "pearson")
        if metric not in task.metrics:
            what = f"{metric!r} is no metric of this task"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="metric", remedy=nearest(metric, task.metrics))
        judge = Judge(
            judge_on(task, chosen),
            metric,
            config.judge_every,
            METRICS[metric].greater_is_better,
            config.patience,
            data=f"{ListStream(chosen, 0).fingerprint} {' '.join(task.labels.names)}",
        )
    kept = inherited(model, task.objective.heads)
    for name in set(task.objective.heads) & set(model.heads):
        del model.heads[name]  # the head of another task: this one starts afresh
    step = Step(model, task.objective, noise=Noise(recipe.seed))
    model.load_state_dict({**model.state_dict(), **kept})
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


def marks(task: LabelTask, told: Sequence[Answer], held: Sequence[Example], seed: int) -> dict[str, Any]:
    """Every score with its 95 % interval and what it was computed on."""
    guesses, right = np.array([a.value for a in told]), np.array([e.label for e in held])
    if task.labels.kind == "class":
        guesses, right = guesses.astype(np.int64), right.astype(np.int64)
    scores = {}
    for name in task.mark(told, held):
        score = bootstrap(METRICS[name], guesses, right, seed=seed)
        scores[name] = {
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "n": score.n,
            "signature": score.signature,
            "greater_is_better": METRICS[name].greater_is_better,
        }
    return {"scores": scores}


def described(task: LabelTask) -> dict[str, Any]:
    """What `predict` must know beside the weights: columns, classes, length and shape."""
    text, pair, label = task.columns
    head = next(iter(task.objective.heads.values()))
    return {
        "kind": task.labels.kind,
        "names": list(task.labels.names),
        "text": text,
        "pair": pair,
        "label": label,
        "length": task.prepare.length,
        "pool": head.pool,  # type: ignore[union-attr]
        "hidden": head.hidden,  # type: ignore[union-attr]
        "start": task.prepare.start,
    }
