"""Asking a model that was never fine-tuned, on labelled rows: the same task, the same marks, another way to answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.families import start_of
from modeledge.families.own import own_head
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, absolute
from modeledge.recipes.tuning.benchmark import ORDINARY, benchmark_rows, stated
from modeledge.recipes.tuning.finetune import marks
from modeledge.recipes.tuning.rows import located, task_named
from modeledge.tasks import Asked, prompted_answers


def prompt(recipe: FinetuneRecipe, *, limit: int | None = None, say: Callable[[str], None] = print) -> dict[str, Any]:
    """The marks of a model on the rows of the recipe's data (of a benchmark's folder: its rows to be marked on).

    The labels that the rows hold are the answers to choose from; `limit` asks the first rows alone
    (of the labels of all). Raises `E-USAGE`
    for a task without a prompted way, and for an encoder.
    """
    if limit is not None and limit < 1:
        what = f"the limit is {limit} rows"
        raise ModeledgeError("E-USAGE", what, where="--limit", remedy="ask 1 row or more, or leave it out")
    recipe = stated(absolute(recipe), say)
    kind, roles = task_named(recipe)
    if recipe.layout in (None, ORDINARY):
        rows = located(recipe.data, kind.reads(roles))
    else:
        rows = benchmark_rows(recipe, "test", say) or benchmark_rows(recipe, "train", say) or []
    model = Model.load(recipe.model)
    transformer, tokenizer = model.transformer, model.needed_tokenizer()
    own, start = partial(own_head, transformer), start_of(transformer)
    asked = Asked(roles, recipe.train.length, recipe.dropout, recipe.options, own, start, model.writes)
    task = kind.made(rows, tokenizer, transformer.config, asked, say)
    asked_of = rows[:limit]
    told = prompted_answers(task, transformer, tokenizer, asked_of, writes=model.writes, say=say)
    return marks(task, told, task.encode(asked_of), recipe.seed)
