"""The verb that averages fine-tuned models, and `finetune` from a recipe: one task, several, or stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from modeledge.cli.terminal import progress, say, show_scores, write_report
from modeledge.errors import ModeledgeError


def run_alone(values: Mapping[str, Any], overrides: Sequence[str], out: Path) -> None:
    """Run what `finetune` or `features` was asked on one table, and say what came of it."""
    from modeledge.config import load_config
    from modeledge.recipes.recipe import FinetuneRecipe
    from modeledge.recipes.tuning.finetune import finetune

    recipe = load_config(FinetuneRecipe, None, overrides, values=values)
    with progress("fine-tuning" if recipe.features is None else "features") as listen:
        show_scores(finetune(recipe, out, listeners=[listen], say=say))
    say(f"model: {out / 'model'}\nreport: {write_report(out)}")


def from_recipe(path: Path, overrides: Sequence[str], out: Path, values: Mapping[str, Any]) -> None:
    """Run a recipe of `finetune`, of several tasks (`[tasks.NAME]`) or of stages (`[[stages]]`), with `values` over it.

    A value that is no key of such a recipe is `E-CONFIG-KEY`.
    """
    from modeledge.config import load_config, read_toml
    from modeledge.recipes.folder import check_single
    from modeledge.recipes.recipe import FinetuneRecipe
    from modeledge.recipes.tuning.finetune import finetune
    from modeledge.recipes.tuning.multitask import MultitaskRecipe, multitask
    from modeledge.recipes.tuning.stages import StagesRecipe, run_stages

    tree = read_toml(path)
    check_single(tree, path, but=("stages", "tasks"))
    with progress("fine-tuning") as listen:
        results: dict[str, Any]
        if "tasks" in tree:
            results = multitask(
                load_config(MultitaskRecipe, path, overrides, values=values), out, listeners=[listen], say=say
            )
        elif "stages" in tree:
            results = run_stages(
                load_config(StagesRecipe, path, overrides, values=values), out, listeners=[listen], say=say
            )
        else:
            results = finetune(
                load_config(FinetuneRecipe, path, overrides, values=values), out, listeners=[listen], say=say
            )
    show_scores(results)
    for pair, told in results.get("conflicts", {}).items():
        print(f"{pair}: gradients' cosine {told['mean']:.3f}, apart in {told['conflicting']:.0%} of {told['n']}")
    say(f"model: {out / 'model'}\nreport: {write_report(out)}")


def soup(
    runs: Annotated[list[Path], typer.Argument(help="Runs that began with one model, or their model folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A fresh folder.")],
    data: Annotated[str | None, typer.Option(help="Labelled rows to choose by; without them all are averaged.")] = None,
    wise_ft: Annotated[
        Path | None, typer.Option(help="The model that the run began with: mix the two (WiSE-FT).")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="The share of the fine-tuned weights; else chosen on --data.")
    ] = None,
) -> None:
    """Average the weights of fine-tuned models: uniform, greedy (with --data), or with the model they came from."""
    from modeledge.recipes.tuning.soup import greedy_soup, uniform_soup, wise_soup

    if wise_ft is not None:
        if len(runs) != 1:
            raise ModeledgeError("E-USAGE", f"{len(runs)} runs with --wise-ft", remedy="name the one fine-tuned run")
        wise_soup(runs[0], wise_ft, out, alpha=alpha, data=data, say=say)
    elif alpha is not None:
        raise ModeledgeError("E-USAGE", "--alpha is of --wise-ft", remedy="name the model that the run began with")
    elif data is None:
        uniform_soup(runs, out, say=say)
    else:
        greedy_soup(runs, out, data, say=say)
    say(f"model: {out}")


VERBS = (soup,)
