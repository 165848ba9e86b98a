"""The verbs of studies: `modeledge compare`, and which cells there can be: `modeledge objectives`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modeledge.cli.terminal import given, progress, said, say, strategy_of
from modeledge.errors import ModeledgeError

OF_STUDY = {"scale", "data", "model"}  # options that a study alone reads, and those that a study says itself
OF_MODEL = {"strategies", "labels", "seeds", "text", "pair", "label", "test", "task", "layout", "metric", "epochs"}


def compare(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="A study (TOML), the run.toml of one, or a model to adapt.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Of a model: its data. Then key.path=value, over the study")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")] = Path("runs/study"),
    scale: Annotated[str, typer.Option(help="A scale of the study: smoke, default, full, …")] = "default",
    data: Annotated[str | None, typer.Option(help="The folder that {data} stands for.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="The model that cells begin with.", show_default=False)] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these runs and what they need: CELL, CELL/seed-0, */seed-0/TASK")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; give each one thread (train.threads).")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in the folder.")] = False,
    strategies: Annotated[str, typer.Option(help="Of a model: full,probe,lora:rank=8,rates:decay=0.9+…")] = "",
    labels: Annotated[str, typer.Option(help="Of a model: numbers of labels, 100,1000")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Of a model: runs of each cell.")] = 3,
    text: Annotated[
        str | None, typer.Option(help="Of a model: a column, as for finetune; --pair, --label too.")
    ] = None,
    pair: str | None = None,
    label: str | None = None,
    test: str | None = None,
    task: str = "auto",
    layout: str | None = None,
    metric: Annotated[str | None, typer.Option(help="Of a model: what cells are compared by.")] = None,
    epochs: float = 3.0,
) -> None:
    """Run a grid of pre-trainings and fine-tunings, and write one table of what came of it.

    compare STUDY.toml runs a study; compare MODEL DATA --strategies full,probe one of a few words.
    """
    from modeledge.recipes.compare import load_study
    from modeledge.recipes.compare.table import finish_study

    words, toml = list(overrides or ()), study.endswith(".toml")
    if unread := sorted(given(context) & (OF_MODEL if toml else OF_STUDY)):
        what = f"--{unread[0]} is not read beside {'a study' if toml else 'a model'}"
        remedy = "write it as a key of the study: key.path=value" if toml else "name a study (.toml), or leave it out"
        raise ModeledgeError("E-USAGE", what, where=study, remedy=remedy)
    if toml:
        asked = load_study(Path(study), scale, words, said(None, data=data, model=model))
    else:
        keys = said(None, task=task, epochs=epochs, text=text, pair=pair, label=label, test=test, layout=layout)
        asked = of_words(study, words, keys, strategies, labels, seeds, metric)
    finish_study(asked, out, resume=resume, only=only or (), jobs=jobs, progress=progress, say=say)


def of_words(
    model: str, words: list[str], keys: dict[str, Any], strategies: str, labels: str, seeds: int, metric: str | None
) -> Any:
    """The study that `compare MODEL DATA --strategies …` asks for; `E-USAGE` where a word is missing or no number."""
    from modeledge.config import load_values
    from modeledge.config.check import merged
    from modeledge.recipes.compare.quick import parse_strategies, quick_study

    if not words or "=" in words[0] or not strategies:
        what = "a model is compared on data, in several ways"
        remedy = "modeledge compare MODEL DATA --strategies full,probe, or name a study (.toml)"
        raise ModeledgeError("E-USAGE", what, where=model, remedy=remedy)
    budgets = labels.split(",") if labels else []
    wrong = [word for word in budgets if not word.isdecimal() or int(word) == 0]
    if wrong:
        raise ModeledgeError("E-USAGE", f"{wrong[0]!r} is no number of labels", where="--labels", remedy="100,1000")
    finetune = merged(keys, load_values(words[1:]))
    made = parse_strategies(strategies, strategy_of)
    return quick_study(
        model, words[0], made, labels=[int(w) for w in budgets], seeds=seeds, finetune=finetune, metric=metric
    )


def objectives() -> None:
    """Print which kind of pre-training fits which architecture: `objective.kind` by the body of a recipe."""
    from modeledge.recipes.objectives.fits import table

    rows = table()
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


VERBS = (compare, objectives)
