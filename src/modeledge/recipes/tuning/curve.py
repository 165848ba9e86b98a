"""How much do more labels buy? The same fine-tuning on growing parts of the training rows, the same test rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.recipes.corpora.build import fresh
from modeledge.recipes.recipe import MEMORY, FinetuneRecipe, absolute
from modeledge.recipes.tuning.benchmark import stated
from modeledge.recipes.tuning.finetune import finetune
from modeledge.recipes.tuning.rows import split_rows
from modeledge.report import Figure, Page, Result, Section, Table, budget_plot, render_page
from modeledge.seed import Noise

Say = Callable[[str], None]


def learning_curve(
    recipe: FinetuneRecipe, budgets: Sequence[int], out: Path, *, seeds: int = 3, say: Say = print
) -> list[dict[str, Any]]:
    """One run a budget and seed in `out/N-seed-S`, each on the first N rows of that seed's order; a report beside them.

    A larger budget holds the smaller ones of its seed. The test rows are those of the recipe's own seed for all.
    Raises `E-CONFIG-VALUE` for a budget that the training rows do not reach, and for no seed.
    """
    fresh(out)
    recipe = stated(absolute(recipe), say)
    parts = split_rows(recipe.model_copy(update={"train": recipe.train.model_copy(update={"judge_every": None})}))
    beyond = [b for b in budgets if not 0 < b <= len(parts.train)]
    if seeds < 1:
        what = f"{seeds} seeds make no curve"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="seeds", remedy="ask for 1 or more")
    if beyond or not budgets:
        what = f"{beyond[0] if beyond else 'no'} labels are asked for; there are {len(parts.train):,} training rows"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="budgets")
    told = []
    for seed in range(seeds):
        order = Noise(seed).at("curve").generator().permutation(len(parts.train))
        for budget in sorted(set(budgets)):
            rows = [parts.train[i] for i in order[:budget]]
            asked = recipe.model_copy(update={"seed": seed, "data": MEMORY, "test": MEMORY})
            folder = out / f"{budget}-seed-{seed}"
            results = finetune(asked, folder, rows=rows, test_rows=parts.test, say=lambda text: None)
            for metric, mark in results["scores"].items():
                told.append({"labels": budget, "seed": seed, "metric": metric, "value": mark["value"]})
            first = next(iter(results["scores"]))
            say(f"{budget:,} labels, seed {seed}: {first} {results['scores'][first]['value']:.4f}")
    files.write_json(out / "results.json", {"curve": told})
    files.write_text(out / "report.html", render_page(curve_page(told)))
    return told


def curve_page(told: Sequence[dict[str, Any]]) -> Page:
    """A curve and a table a metric: the mean over seeds, and the lowest and highest seed."""
    sections = []
    for metric in dict.fromkeys(row["metric"] for row in told):
        results, rows = [], []
        for budget in sorted({row["labels"] for row in told}):
            values = [r["value"] for r in told if r["metric"] == metric and r["labels"] == budget]
            mean = sum(values) / len(values)
            results.append(Result("fine-tuned", budget, mean, min(values), max(values)))
            rows.append([budget, mean, min(values), max(values), len(values)])
        way = "higher is better" if METRICS[metric].greater_is_better else "lower is better"
        figure = Figure(budget_plot(results, score=metric), f"Mean over seeds; bars span the seeds; {way}.")
        sections.append(Section(metric, [figure, Table(("Labels", "Mean", "Lowest", "Highest", "Seeds"), rows)]))
    return Page("What more labels buy", "The same fine-tuning on growing parts of the training rows", sections)
