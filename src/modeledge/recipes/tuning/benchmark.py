"""Data as a benchmark gives them out: what the layout of the files says becomes the task, columns and splits of a run.

A recipe that names no column asks "what is this?"; the answer is said aloud, and any field of the recipe overrides it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modeledge.corpus.layouts import LAYOUTS, guess_layout, read_layout, splits_in
from modeledge.corpus.layouts.read import layout_named
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.hub_data import fetch_data, is_address
from modeledge.recipes.recipe import MEMORY, FinetuneRecipe
from modeledge.records import Ledger
from modeledge.tasks import TASKS

Say = Callable[[str], None]
# `layout = "plain"`, for "none" is TOML's null here: a table with columns, whatever it looks like
ORDINARY = "plain"
LEARNED, MARKED = ("train", "msr_train", "movie"), ("dev", "msr_test", "test", "dev_matched")


def stated(recipe: FinetuneRecipe, say: Say) -> FinetuneRecipe:
    """The recipe with what its data state: the layout (guessed where no column is named), the task, the columns.

    An address on a hub becomes one with its commit. Raises `E-CONFIG-VALUE` for an unknown layout.
    """
    if recipe.data == MEMORY:
        return recipe
    if is_address(recipe.data):
        recipe = recipe.model_copy(update={"data": fetch_data(recipe.data, recipe.endpoint).address})
    named = recipe.text or recipe.pair or recipe.label or recipe.columns
    name = recipe.layout or (None if named else guess_layout(local(recipe.data, recipe.endpoint)))
    if name is None or name == ORDINARY:
        return recipe
    layout = layout_named(name, LAYOUTS)
    kind = recipe.task if recipe.task != "auto" else layout.task
    task = TASKS.get(kind)
    roles = (*task.inputs, *task.optional, task.target) if task is not None else ()
    columns = {role: column for role, column in layout.roles.items() if role in roles}
    say(f"data: read as {name} ({how_known(recipe.layout)}); task {kind}: {plain_roles(columns)}")
    return recipe.model_copy(update={"layout": name, "task": kind, "columns": {**columns, **recipe.columns}})


def how_known(asked: str | None) -> str:
    """How a layout came to be known, and what to say against a guess."""
    return "as asked" if asked else f'guessed; --layout {ORDINARY} says "a plain table"'


def local(address: str, endpoint: str | None = None) -> Path:
    """The file or folder here."""
    return fetch_data(address, endpoint).path if is_address(address) else Path(address)


def split_of(recipe: FinetuneRecipe, part: str) -> tuple[Path, str] | None:
    """Where the rows of "train", "test" or "validation" are: a path and a split of the layout; `None` where they are
    set aside."""
    layout = layout_named(str(recipe.layout), LAYOUTS)
    given = {"train": recipe.data, "test": recipe.test, "validation": recipe.validation}[part]
    if given is None and part == "validation":
        return None
    place = local(given or recipe.data, recipe.endpoint)
    if not place.is_dir():
        return None if given is None else (place, "train")
    here = [s for s in splits_in(layout, place) if s not in layout.unlabelled]
    wanted = LEARNED if part == "train" else MARKED
    found = next((s for s in wanted if s in here), None)
    if found is None and part == "train":
        known = ", ".join(here) or "none"
        what = f"there is no training split of {layout.name!r}"
        raise ModeledgeError("E-NO-FILE", what, where=str(place), why=f"splits here: {known}", remedy="name a file")
    return None if found is None else (place, found)


def benchmark_rows(recipe: FinetuneRecipe, part: str, say: Say) -> list[dict[str, Any]] | None:
    """The rows of a part with every record accounted for; `None` where they are to be set aside."""
    found = split_of(recipe, part)
    return None if found is None else read_said(str(recipe.layout), *found, part, say)


def read_said(layout: str, place: Path, split: str, part: str, say: Say) -> list[dict[str, Any]]:
    """The rows of one split by a layout; what was left out, and what is odd, is said."""
    ledger = Ledger()
    rows = read_layout(layout, place, split, ledger=ledger)
    lost = {**ledger.filtered, **ledger.quarantined}
    gone = "".join(f", {count.records:,} left out ({reason})" for reason, count in lost.items())
    say(f"{part}: {len(rows):,} rows of split {split!r}{gone}")
    for note in ledger.notes:
        say(f"note: {note}")
    return rows


def plain_roles(columns: Mapping[str, str]) -> str:
    """Roles and their columns, for reading."""
    return ", ".join(f"{role} = {column!r}" for role, column in columns.items())
