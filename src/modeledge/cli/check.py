"""The verbs that look before a run: `modeledge check` and `modeledge plan`, and the options of the gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from modeledge.cli.terminal import say

NoCheck = Annotated[bool, typer.Option("--no-check", help="Begin without the pre-flight.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse warnings of the pre-flight too.")]
Allow = Annotated[list[str] | None, typer.Option("--allow", help="A check whose findings shall not stop the run.")]
Recipe = Annotated[Path, typer.Argument(help="A recipe of pretrain or finetune, or the run.toml of a run.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.path=value, over the recipe")]


def gate_keys(no_check: bool, strict: bool, allow: list[str] | None) -> dict[str, Any]:
    """The options as keys of a recipe; those that were not given leave its own as they are."""
    return {
        **({"check": False} if no_check else {}),
        **({"strict": True} if strict else {}),
        **({"allow": list(allow)} if allow else {}),
    }


def check(recipe: Recipe, overrides: Overrides = None, strict: Strict = False, allow: Allow = None) -> None:
    """Look for what would spoil a run, on a sample and two real steps; refuses by its exit status."""
    from modeledge.recipes.look import check_recipe

    print(check_recipe(recipe, overrides or (), gate_keys(False, strict, allow), say))


def lr_range(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="A fresh folder for the figure.")] = Path("runs/lr-range"),
    low: Annotated[float, typer.Option(help="The first rate.")] = 1e-6,
    high: Annotated[float, typer.Option(help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Updates between them.")] = 100,
) -> None:
    """Let the learning rate rise until training diverges, and suggest one; the weights are thrown away."""
    from modeledge.files import write_json
    from modeledge.recipes.corpora.build import fresh
    from modeledge.recipes.look import range_of_rates
    from modeledge.report import write_report
    from modeledge.report.rates import range_page

    fresh(out)
    found = range_of_rates(recipe, overrides or (), say, low=low, high=high, steps=steps)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "lr_range.json", found.as_plain())
    report = write_report(out, range_page(found.as_plain(), recipe.name))
    print(f"train.learning_rate={found.suggested:.2g}")
    say(f"lowest loss at {found.lowest:.2g}, steepest fall at {found.steepest:.2g}\nreport: {report}")


def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain values for programs.")] = False,
) -> None:
    """Measure a few steps and say what the whole run takes: parameters, memory by part, speed, time, disk."""
    from modeledge.recipes.look import plan_recipe

    told = plan_recipe(recipe, overrides or (), say)
    print(json.dumps(told.as_plain(), indent=1) if as_json else told.table())
