"""A study out of a few words: one model, one table of labelled rows, ways to adapt, numbers of labels, seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.recipes.compare.beforehand import check_known
from modeledge.recipes.compare.study import StudyRecipe
from modeledge.recipes.compare.unfold import unfolded
from modeledge.recipes.corpora.texts import absolute_path
from modeledge.recipes.recipe import PRESET, FinetuneRecipe, is_name
from modeledge.recipes.tuning.benchmark import stated
from modeledge.recipes.tuning.rows import split_rows, task_named, told_where
from modeledge.tasks import infer

TASK = "task"  # what the one task is called


def quick_study(
    model: str,
    data: str,
    strategies: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    labels: Sequence[int] = (),
    seeds: int = 3,
    finetune: Mapping[str, Any],
    metric: str | None = None,
) -> StudyRecipe:
    """The study of `modeledge compare MODEL DATA --strategies …`: a cell each of `strategies`, compared with the first.

    `finetune` are keys of a `FinetuneRecipe` (`test` and `layout` among them). With `labels` each seed draws its own
    rows. Without a `metric` accuracy is told of classes, Pearson's correlation of values, the task's first of others.
    Raises what reading the rows raises, before anything runs.
    """
    given = dict(finetune)
    check_known([] if metric is None else [metric], METRICS, "--metric")
    asked = stated(load_config(FinetuneRecipe, None, values={**given, "model": model, "data": data}), lambda line: None)
    given |= {"columns": task_named(asked)[1], "task": asked.task}  # as a run alone would name them
    given |= {} if asked.layout is None else {"layout": asked.layout}
    name = Path(data).name
    task: dict[str, Any] = {
        "label": name, "data": absolute_path(data), "metrics": [metric or first_metric(asked)],
        **{key: absolute_path(given.pop(key)) for key in ("test",) if given.get(key)},
        **{key: given.pop(key) for key in ("layout",) if given.get(key)},
        **({"budgets": list(labels), "draw": "seed"} if labels else {}),
    }  # fmt: skip
    base = model if is_name(model) or model.startswith(PRESET) else absolute_path(model)
    cells = {label_of(kind): {"label": kind, "model": base, "finetune": adapted(rows)}
             for kind, rows in strategies.items()}  # fmt: skip
    tree = {
        "title": f"{Path(model).name} on {name}",
        "seeds": list(range(seeds)),
        "against": next(iter(cells)) if len(cells) > 1 else None,
        "finetune": {"train": {"threads": 1}, **given, "mark_train": 500},
        "cells": cells,
        "tasks": {TASK: task},
    }
    return load_config(StudyRecipe, None, values=unfolded({k: v for k, v in tree.items() if v is not None}))


def adapted(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The tables of a cell: its strategies, or `features:head=forest`, under which nothing is trained (`E-USAGE` beside
    a strategy)."""
    features = [row for row in rows if row["kind"] == "features"]
    if not features:
        return {"strategies": list(rows)}
    if len(rows) > 1:
        what = "features train nothing, so no strategy stands beside them"
        raise ModeledgeError("E-USAGE", what, where="--strategies", remedy="name them alone")
    return {"features": dict(features[0].get("options", {}))}


def first_metric(recipe: FinetuneRecipe) -> str:
    """What a task is marked by where nobody says it."""
    kind, roles = task_named(recipe)
    if recipe.task != "auto":
        known = getattr(kind, "metrics", ())
        return str(known[0]) if isinstance(known, tuple) and known else "accuracy"
    train = split_rows(recipe, say=lambda line: None).train
    with told_where(recipe, roles[kind.target], None):
        labels = infer([row[roles[kind.target]] for row in train], [str(row["__where__"]) for row in train])
    return "accuracy" if labels.kind == "class" else "pearson"


def parse_strategies(words: str, made: Any) -> dict[str, list[dict[str, Any]]]:
    """`full,probe,lora:rank=8,alpha=16,rates:decay=0.9+freeze:first=2` → a list of strategies a cell; `+` joins some in
    one cell, and a piece that is only `key=value` belongs to the word before it. `E-USAGE` for a doubled or empty one.
    """
    pieces = list[str]()
    for piece in words.split(","):
        if pieces and "=" in piece and ":" not in piece:
            pieces[-1] += f",{piece}"
        else:
            pieces.append(piece.strip())
    if not all(pieces) or len(set(pieces)) < len(pieces):
        what = "a strategy is named twice, or not at all"
        raise ModeledgeError("E-USAGE", f"{what}: {words!r}", where="--strategies", remedy="name each once")
    return {piece: [made(word) for word in piece.split("+")] for piece in pieces}


def label_of(words: str) -> str:
    """A cell's name that is a folder's: `lora:rank=8` is `lora-rank-8`."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in words).strip("-")
