"""A recipe that is given again from Python, as the run in its folder began with it.

What a recipe leaves open is settled when its run begins, and written down: the layout of the data and what follows from
it, the commit of a model and of a file on a hub. Given again, the same recipe leaves the same open. It is not asked
anew, since a branch may have moved, nor taken for another recipe: what the run settled stands in for it.
"""

from __future__ import annotations

from pathlib import Path

from modeledge.config import load_config, to_toml
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.hub_data import same_file
from modeledge.recipes.folder import RECIPE
from modeledge.recipes.recipe import FinetuneRecipe, is_name
from modeledge.recipes.store.hub import find_model, without_secrets


def as_begun(asked: FinetuneRecipe, folder: Path) -> FinetuneRecipe:
    """The recipe with what the run in the folder settled, where it is left open and what it hangs on is the same.

    Whether the whole is the same is for `run_folder` to say; a folder without a recipe changes nothing.
    """
    if not (folder / RECIPE).is_file():
        return asked
    try:
        begun = load_config(FinetuneRecipe, folder / RECIPE)
    except ModeledgeError:  # of another kind or version: `run_folder` refuses it
        return asked
    settled: dict[str, object] = {}
    if same_file(asked.data, begun.data):
        settled["data"] = begun.data
        named = asked.text or asked.pair or asked.label or asked.columns
        if begun.layout is not None and (asked.layout == begun.layout or (asked.layout is None and not named)):
            settled |= {"layout": begun.layout, "columns": {**begun.columns, **asked.columns}}
            settled |= {"task": begun.task} if asked.task == "auto" else {}
    if is_name(asked.model) and asked.model == begun.model:
        same = asked.endpoint is None or without_secrets(asked.endpoint) == begun.endpoint
        if same and asked.revision is None:
            settled |= {"revision": begun.revision, "endpoint": begun.endpoint if asked.endpoint else None}
    return asked.model_copy(update=settled)


def pinned(recipe: FinetuneRecipe) -> FinetuneRecipe:
    """The recipe with the commit that its revision leads to now, where it names a model on a hub."""
    if not is_name(recipe.model):
        return recipe
    found = find_model(recipe.model, recipe.revision, recipe.endpoint)
    return recipe.model_copy(update=found.pins(recipe.endpoint))


def finished_as(asked: FinetuneRecipe, folder: Path) -> str:
    """The text of the recipe that a finished run must have been of."""
    recipe, path = as_begun(asked, folder), folder / RECIPE
    if recipe.revision is not None and path.is_file() and to_toml(recipe) != path.read_text(encoding="utf-8"):
        recipe = pinned(recipe)
    return to_toml(recipe)
