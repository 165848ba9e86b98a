"""The verbs that look at answers: prompt, errors, ensemble, curve, submit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modeledge.cli.terminal import columns_of, say, show_scores

Layout = Annotated[str | None, typer.Option(help="How a benchmark's files are laid out; else guessed.")]
SplitName = Annotated[str | None, typer.Option(help="The split of the layout to read; else the one to be marked on.")]


def errors(
    model: Annotated[Path, typer.Argument(help="A fine-tuned model, or the run folder around it.")],
    data: Annotated[str, typer.Argument(help="Labelled rows, or a benchmark's file or folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A fresh .html file.")] = Path("errors.html"),
    layout: Layout = None,
    split: SplitName = None,
    seed: int = 0,
) -> None:
    """Write a page that shows where a model is wrong: by class, by length, and where it was sure of it."""
    from modeledge.recipes.asking.asked import Laid
    from modeledge.recipes.asking.mistakes import write_errors
    from modeledge.recipes.asking.use import Model

    laid = Laid(layout, split)
    write_errors(Model.load(model), data, out, title=f"Errors of {model.name}", laid=laid, seed=seed, say=say)
    say(f"errors: {out}")


def ensemble(
    models: Annotated[list[Path], typer.Argument(help="Fine-tuned models of one task, or their run folders.")],
    data: Annotated[str, typer.Option(help="Labelled rows, or a benchmark's file or folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A fresh folder.")] = Path("runs/ensemble"),
    layout: Layout = None,
    split: SplitName = None,
    seed: int = 0,
) -> None:
    """Average the answers of several models (seeds, checkpoints); each alone and all together in one table."""
    from modeledge.recipes.asking.asked import Laid
    from modeledge.recipes.asking.mistakes import run_ensemble

    run_ensemble(models, data, out, laid=Laid(layout, split), seed=seed, say=say)
    say(f"report: {out / 'report.html'}")


def curve(
    recipe: Annotated[Path, typer.Argument(help="A fine-tuning recipe (TOML), e.g. a run's run.toml.")],
    budgets: Annotated[str, typer.Option(help="Numbers of labels, e.g. 100,300,1000")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A fresh folder.")] = Path("runs/curve"),
    seeds: int = 3,
) -> None:
    """Fine-tune on growing parts of the training rows: what do more labels buy?"""
    from modeledge.config import load_config, read_toml
    from modeledge.recipes.folder import check_single
    from modeledge.recipes.recipe import FinetuneRecipe
    from modeledge.recipes.tuning.curve import learning_curve

    check_single(read_toml(recipe), recipe)
    asked = load_config(FinetuneRecipe, recipe)
    learning_curve(asked, numbers(budgets), out, seeds=seeds, say=say)
    say(f"report: {out / 'report.html'}")


def submit(
    model: Annotated[Path, typer.Argument(help="A fine-tuned model, or the run folder around it.")],
    data: Annotated[str, typer.Argument(help="The benchmark's test file.")],
    task: Annotated[str, typer.Option(help="cola, sst2, mrpc, stsb, qqp, mnli-m, mnli-mm, qnli, rte, wnli or ax")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A fresh .tsv file.")],
    layout: Layout = None,
    split: SplitName = None,
) -> None:
    """Write a model's answers as one file of a GLUE submission."""
    from modeledge.recipes.asking.asked import Laid
    from modeledge.recipes.asking.mistakes import write_submission
    from modeledge.recipes.asking.use import Model

    write_submission(Model.load(model), data, out, task, laid=Laid(layout, split), say=say)
    say(f"submission: {out}")


def prompt(
    model: Annotated[str, typer.Argument(help="A decoder that need not be fine-tuned.")],
    data: Annotated[str, typer.Argument(help="Labelled rows, or a benchmark's folder.")],
    task: Annotated[str, typer.Option(help="A row of the tasks; auto looks at the labels.")] = "auto",
    layout: Layout = None,
    column: Annotated[list[str] | None, typer.Option(help="role=column, e.g. text=sentence")] = None,
    template: Annotated[str | None, typer.Option(help='The request, e.g. "{text}\\nIt was"')] = None,
    word: Annotated[list[str] | None, typer.Option(help="A word for each class, in the order of classes.")] = None,
    limit: Annotated[int | None, typer.Option(help="The first rows alone.")] = None,
) -> None:
    """Ask a model that was never fine-tuned; its answers are marked as those of one that was."""
    from modeledge.config import load_config
    from modeledge.recipes.asking.prompt import prompt as ask
    from modeledge.recipes.recipe import FinetuneRecipe

    wording: dict[str, Any] = {"template": template and template.replace("\\n", "\n"), "words": word}
    values: dict[str, Any] = {"model": model, "data": data, "task": task, "layout": layout}
    values |= {"columns": columns_of(column or []), "options": {k: v for k, v in wording.items() if v}}
    asked = load_config(FinetuneRecipe, None, values={k: v for k, v in values.items() if v})
    show_scores(ask(asked, limit=limit, say=say))


def numbers(words: str) -> list[int]:
    """`100,300` → [100, 300]; `E-USAGE` for anything else."""
    from modeledge.errors import ModeledgeError

    if not all(word.strip().isdecimal() for word in words.split(",")):
        raise ModeledgeError("E-USAGE", f"{words!r} are no whole numbers", where="--budgets", remedy="100,300,1000")
    return [int(word) for word in words.split(",")]


VERBS = (prompt, errors, ensemble, curve, submit)
