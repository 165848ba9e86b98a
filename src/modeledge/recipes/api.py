"""The same verbs for Python: paths, lists, data frames and iterators in, plain values out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.config import load_config
from modeledge.recipes.asking.use import Model
from modeledge.recipes.begun import as_begun, finished_as
from modeledge.recipes.folder import finished, run_folder
from modeledge.recipes.pretraining.pretrain import pretrain as run_pretrain
from modeledge.recipes.recipe import MEMORY, FinetuneRecipe, PretrainRecipe, absolute
from modeledge.recipes.resume import resume as run_resume
from modeledge.recipes.tuning.finetune import finetune as run_finetune
from modeledge.records import Document


def pretrain(
    recipe: str | Path | dict[str, Any],
    folder: str | Path,
    *overrides: str,
    texts: Iterable[str] | None = None,
    say: Callable[[str], None] = print,
    resume: bool = False,
) -> Model:
    """Pre-train from a recipe file or its values; `texts` takes the place of the recipe's files.

    With `resume` a run that was stopped goes on: the same recipe and the same texts as before (`E-RESUME`).

    >>> me.pretrain({"corpus": {}, "train": {"steps": 10}}, "runs/a", texts=["…"])  # doctest: +SKIP
    """
    path, values = (None, recipe) if isinstance(recipe, dict) else (Path(recipe), None)
    loaded = load_config(PretrainRecipe, path, overrides, values=values)
    documents = None if texts is None else [Document(text, f"text {i + 1}") for i, text in enumerate(texts)]
    return Model.load(run_pretrain(loaded, Path(folder), documents=documents, say=say, resume=resume))


def finetune(
    model: str | Path,
    data: Any,
    folder: str | Path,
    *overrides: str,
    say: Callable[[str], None] = print,
    resume: bool = False,
    test: Any = None,
    **fields: Any,
) -> tuple[Model, dict[str, Any]]:
    """Fine-tune a model folder on a file, a list of dicts, a data frame or an iterator of dicts.

    `test` holds the rows to be marked on, in the same forms; without it a part of `data` is set aside. `fields` are
    those of `FinetuneRecipe` (`text=`, `label=`, `epochs=`, …). Returns the model and its marks. With `resume` a run
    that was stopped goes on: the same model, rows and fields as before (`E-RESUME`).
    """
    given = [source if source is None or isinstance(source, str | Path) else MEMORY for source in (data, test)]
    values = {"model": str(model), "data": str(given[0]), "test": given[1] and str(given[1]), **fields}
    loaded, folder = absolute(load_config(FinetuneRecipe, None, overrides, values=values)), Path(folder)
    if resume and finished(folder):
        with run_folder(
            folder, finished_as(loaded, folder), resume=True
        ):  # refuses another recipe than that of the run
            say("the run is finished")
            return Model.load(folder), dict(files.read_json(folder / "results.json"))
    rows, test_rows = (source if kind == MEMORY else None for source, kind in zip((data, test), given, strict=True))
    loaded = as_begun(loaded, folder) if resume else loaded
    results = run_finetune(loaded, folder, rows=rows, test_rows=test_rows, say=say, resume=resume)
    return Model.load(folder), results


def resume(folder: str | Path, *, say: Callable[[str], None] = print) -> Model:
    """Go on with a run that was stopped."""
    run_resume(Path(folder), say=say)
    return Model.load(folder)
