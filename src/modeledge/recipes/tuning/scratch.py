"""A fine-tuning that begins from nothing: `model = "preset:transformer-2017"`, a tokenizer trained on its own rows.

What a task teaches without any pre-training is the baseline of every comparison, and for the transformer of 2017, which
was only ever trained on the pairs of a translation, it is the method.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.recipes.corpora.vocabulary import grown, trained
from modeledge.recipes.presets import drawn, shape_named
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.store.hub import Found, find_model
from modeledge.recipes.tuning.rows import Rows, task_named
from modeledge.tokens import Tokenizer

START = "start"  # the folder of fresh weights in a run's


def starting_model(recipe: FinetuneRecipe, rows: Rows, folder: Path) -> Found:
    """The model that a fine-tuning starts from: the one it names, or fresh weights, kept in the run's folder.

    A preset's tokenizer is the one of `tokenizer.path`, or trained on the training rows. Raises `E-CONFIG-VALUE` for a
    preset that there is not, `E-USAGE` for a revision of it, and what `find_model` raises.
    """
    preset = recipe.preset
    if preset is None:
        return find_model(recipe.model, recipe.revision, recipe.endpoint)
    check_preset(recipe)
    if not (folder / START).exists():
        with files.committed_folder(folder / START, {"schema": 1}) as temporary:
            tokenizer = tokenizer_for(recipe, rows)
            model = drawn(preset, tokenizer.vocab_size, recipe.seed, "model")
            tokenizer.save(temporary)
            save_model(model, temporary, family="modeledge")
    return Found(folder / START)


def check_preset(recipe: FinetuneRecipe) -> None:
    """Refuse a preset that there is not (`E-CONFIG-VALUE`), and what is said of a fetched model alone (`E-USAGE`)."""
    preset = recipe.preset
    if preset is None:
        return
    shape_named(preset, 1000, "model")
    if recipe.revision or recipe.endpoint:
        what = "a preset is no model on a hub: it has no revision and no endpoint"
        raise ModeledgeError("E-USAGE", what, where="model", remedy="leave both out")


def tokenizer_for(recipe: FinetuneRecipe, rows: Rows) -> Tokenizer:
    """The tokenizer that the recipe names, or one trained on all texts that the task reads and writes."""
    wanted = recipe.tokenizer
    if wanted.path is not None:
        return grown(Tokenizer.load(wanted.path), wanted)
    return trained(wanted, texts_of(recipe, rows), wanted.reserving())


def texts_of(recipe: FinetuneRecipe, rows: Rows) -> Iterator[str]:
    """Every text in the columns of the task's roles, a row's side by side."""
    _, roles = task_named(recipe)
    for row in rows:
        for column in roles.values():
            value = row.get(column)
            for text in value if isinstance(value, list | tuple) else (value,):
                if isinstance(text, str):
                    yield text
