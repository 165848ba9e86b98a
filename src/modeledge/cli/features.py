"""The verb of frozen bodies: `modeledge features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeledge.cli.check import Allow, gate_keys
from modeledge.cli.judge import Layout
from modeledge.cli.models import Endpoint, ModelFolder, Revision
from modeledge.cli.terminal import said
from modeledge.cli.tuned import run_alone

Words = list[str] | None


def features(
    model: ModelFolder,
    data: Annotated[str, typer.Argument(help="csv, tsv, jsonl or parquet with labels, or a benchmark's folder.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, e.g. train.length=256")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="A fresh folder.")] = Path("runs/features"),
    text: str | None = None,
    pair: Annotated[str | None, typer.Option(help="The column of the second text.")] = None,
    label: str | None = None,
    task: Annotated[str, typer.Option(help="auto, classification, regression, tag or entities")] = "auto",
    layout: Layout = None,
    column: Annotated[Words, typer.Option(help="role=column, e.g. tokens=words")] = None,
    test: Annotated[str | None, typer.Option(help="A file of test rows; without one a fifth is held out.")] = None,
    layers: Annotated[Words, typer.Option(help="last, second, all, lastN, firstN, 0,4-6; last4:mean")] = None,
    combine: Annotated[str, typer.Option(help="concat, mean, sum, or mix (learned)")] = "concat",
    pool: Annotated[Words, typer.Option(help="cls, mean, max, last; of words: first, mean")] = None,
    head: Annotated[Words, typer.Option(help="logistic, svm, knn, forest, boosting or mlp")] = None,
    strength: Annotated[float | None, typer.Option(help="C, neighbours, least leaf, leaves or alpha.")] = None,
    pca: Annotated[int | None, typer.Option(help="Keep so many principal components.")] = None,
    joint: Annotated[bool, typer.Option("--joint", help="Read the two texts of a row as one.")] = False,
    search: Annotated[
        bool, typer.Option("--search", help="Choose by cross-validation on training rows; options may be repeated.")
    ] = False,
    seed: int = 0,
    revision: Revision = None,
    endpoint: Endpoint = None,
    allow: Allow = None,
) -> None:
    """Run a frozen body once over labelled rows and fit a classical head on its states; marks a held-out part."""
    how = said(None, combine=combine, search=search, pairs="joint" if joint else "apart", layers=layers, pool=pool,
               head=head, strength=strength, pca=pca)  # fmt: skip
    keys = said(column, model=model, data=data, task=task, seed=seed, features=how, text=text, label=label, pair=pair,
                test=test, layout=layout, revision=revision, endpoint=endpoint)  # fmt: skip
    run_alone(keys | gate_keys(False, False, allow), overrides or (), out)


VERBS = (features,)
