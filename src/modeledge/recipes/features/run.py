"""A features run: the body is run once over all rows, a head is fitted on its states, and the test rows are marked.

It is a fine-tuning in all but the training: the same recipe, rows, tasks, checks of the rows, marks and files, so that
`compare` sets it beside any other, and `predict` and `evaluate` work on its folder. There is no trainer, no step and no
checkpoint; what is done again after a kill is the fitting alone, since the states lie in their cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from modeledge import files
from modeledge.adapt.mix import learn_mix
from modeledge.classical import Candidate, Fit, Fitting, Learning, Verdict, check_pca, combined, fit_files, search
from modeledge.errors import ModeledgeError, nearest
from modeledge.evaluate import analyse
from modeledge.recipes.adapters.run import Beside, finish_adapter
from modeledge.recipes.features.body import Body, facts, told_of
from modeledge.recipes.features.cache import StateCache
from modeledge.recipes.features.recipe import FeaturesRecipe
from modeledge.recipes.features.space import candidates, look_of
from modeledge.recipes.gate import guard, view_of_rows
from modeledge.recipes.pretraining.pretrain import finish
from modeledge.recipes.recipe import HEAD_OPTIONS, FinetuneRecipe
from modeledge.recipes.tuning.answered import ANSWERS, answered
from modeledge.recipes.tuning.cost import watch, write_cost
from modeledge.recipes.tuning.finetune import Opened, card_of, marks
from modeledge.recipes.tuning.heads import settle
from modeledge.recipes.tuning.rows import Parts
from modeledge.recipes.tuning.task_file import TASK_FILE, described
from modeledge.tasks import Answer, Task
from modeledge.tasks.featured import PRECISIONS, body_digest, labels_of
from modeledge.tasks.states import check_task, group_keys, layers_in
from modeledge.train.session import write_environment

Say = Callable[[str], None]
CACHE = ".states"


def run_features(recipe: FinetuneRecipe, parts: Parts, opened: Opened, folder: Path, say: Say) -> dict[str, Any]:
    """Fit a head on the states of the opened model and write the files of the run; returns the marks.

    What cannot be is refused before the body is run: an unknown word, more components than directions, too little
    memory (a single class is refused where the task is made).
    """
    task = opened.task
    metric = check_asked(recipe, task)
    if opened.adapts is not None:
        say(f"the body is {opened.adapts.source} with the adapter of {recipe.model}, which acts and stays as it is")
    guard(recipe, view_of_rows(recipe, opened, parts), say, rows_alone=True)
    since = watch(opened.model)
    body = body_of(recipe, opened, folder, say)
    space = space_for(recipe, opened, body)
    write_environment(folder, recipe.seed, opened.source)
    fit, said = fitted(recipe, opened, body, space, metric, say)
    if opened.chosen:
        for line in task.tune(body.answers(fit, opened.chosen, "validation"), opened.chosen):
            say(line)
    told = body.answers(fit, opened.held, "test")
    said["seconds"]["body"] = body.seconds
    write_cost(opened.model, folder, said["numbers"], said["bytes"], len(opened.examples), since)
    if recipe.mark_train:
        seen = opened.examples[: recipe.mark_train]
        answers = body.answers(fit, seen, "marked training")
        said["train_scores"] = marks(task, answers, seen, recipe.seed)["scores"]
    write_run(recipe, parts, opened, folder, fit, told, said, say)
    return files.read_json(folder / "results.json")  # type: ignore[no-any-return]


def check_asked(recipe: FinetuneRecipe, task: Task) -> str:
    """Refuse what belongs to a head of the model, and a metric that the task has not; the metric to search by."""
    check_task(task)
    for name in recipe.options:
        if name in HEAD_OPTIONS:
            what = f"options.{name} is of a head that is trained, and a classical head is fitted"
            raise ModeledgeError("E-CONFIG-KEY", what, where="options", remedy="leave it out; see features.pool")
    metric = recipe.metric or task.metrics[0]
    if metric not in task.metrics:
        what = f"{metric!r} is no metric of this task"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="metric", remedy=nearest(metric, task.metrics))
    return metric


def body_of(recipe: FinetuneRecipe, opened: Opened, folder: Path, say: Say) -> Body:
    """The opened model where and in which precision the recipe says, with its cache."""
    asked, config, task = recipe.features, recipe.train, opened.task
    assert isinstance(asked, FeaturesRecipe)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    opened.model.to(config.chosen_device())
    opened.model.compute = config.chosen_dtype()
    place = folder.absolute().parent / CACHE if asked.cache is None else Path(asked.cache) if asked.cache else None
    apart = asked.pairs == "apart" and "pair" in task.columns
    limit = int(asked.memory_gib * 2**30)
    return Body(opened.model, opened.tokenizer, task, StateCache(place, say), apart, limit, say)


def space_for(recipe: FinetuneRecipe, opened: Opened, body: Body) -> list[Candidate]:
    """The candidates of the recipe, each of them possible on these rows."""
    asked, reads = recipe.features, body.reads(opened.examples)
    assert asked is not None
    words, ahead = reads.words is not None, body.model.config.encoder is None
    rows = reads.items // 2 if body.apart else reads.items
    space = candidates(asked, layers_in(body.model), rows, words=words, apart=body.apart, ahead=ahead)
    least = rows * 2 // 3 if asked.search else rows
    for one in space:
        if one.pca is not None:
            how = combined("concat" if one.combine == "concat" else "sum", len(one.layers), body.model.config.width)
            check_pca(one.pca, least, 2 * how.outputs + 1 if body.apart else how.outputs)
    return space


def fitted(
    recipe: FinetuneRecipe, opened: Opened, body: Body, space: Sequence[Candidate], metric: str, say: Say
) -> tuple[Fit, dict[str, Any]]:
    """The fit on all training rows, chosen by cross-validation where there are several, and what is told of it."""
    reads = body.reads(opened.examples)
    bank = body.bank(reads, look_of(space), "training")
    labels, classes = labels_of(opened.task, opened.examples)
    how = Fitting(recipe.seed, recipe.train.threads or torch.get_num_threads(), say)
    learning, began = Learning(bank, labels, classes, learn_mix, how), time.perf_counter()
    verdict: Verdict | None = None
    if len(space) > 1:
        by = "accuracy" if reads.words is not None else metric  # spans are of whole rows: a search counts words
        verdict = search(learning, space, by, group_keys(opened.examples, reads), recipe.seed)
        told_of(verdict, say)
    chosen = space[0] if verdict is None else verdict.chosen
    precision = next(name for name, dtype in PRECISIONS.items() if dtype is body.model.compute)
    notes = {"body": body_digest(body.model), "layers": list(chosen.layers), "pool": chosen.pool}
    fit = learning.fitted(chosen, notes={**notes, "precision": precision})
    say(f"head: {chosen}, on {fit.combine.outputs:,} features a row")
    if chosen.head == "svm" and classes:
        say("note: confidences of a support vector machine are a softmax over its margins, not fitted probabilities")
    return fit, facts(fit, chosen, verdict, {"fitting": time.perf_counter() - began})


def write_run(
    recipe: FinetuneRecipe, parts: Parts, opened: Opened, folder: Path, fit: Fit, told: Sequence[Answer],
    said: dict[str, Any], say: Say,
) -> None:  # fmt: skip
    """Marks, answers, and the model's folder, last and whole: the body, or the adapter that acts on it, with the
    head beside it."""
    task, model, seed = opened.task, opened.model, recipe.seed
    counts = {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}
    counts["cut"] = task.truncated(opened.examples)
    model.to("cpu")
    model.compute = torch.float32
    form = settle(model, (), recipe.family, say)
    analysis = analyse(task, told, opened.held, seed=seed)
    results = {**marks(task, told, opened.held, seed), "rows": counts, "analysis": analysis, "form": form}
    results |= {"train_scores": said.pop("train_scores")} if "train_scores" in said else {}
    results["features"] = said
    files.write_json(folder / "results.json", results)
    files.write_json(folder / ANSWERS, answered(task, told, opened.held))
    beside = {TASK_FILE: {**described(task), "features": True}, **fit_files(fit)}
    card = card_of(recipe, opened.base, results, task.card)
    if opened.adapts is None:
        finish(model, opened.tokenizer, folder / "model", recipe.family, beside, card)
    else:
        finish_adapter(model, opened.tokenizer, folder / "model", Beside(opened.adapts, recipe.family, beside, card))
