"""What a run began with, as its folder says: runs whose weights are to be mixed must have one beginning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledge.config import read_toml
from modeledge.errors import ModeledgeError
from modeledge.recipes.folder import RECIPE, model_folder
from modeledge.recipes.recipe import PRESET
from modeledge.recipes.store.hub import find_model
from modeledge.recipes.store.open import open_model
from modeledge.tasks.featured import body_digest

Say = Callable[[str], None]
REMEDY = "average runs that began with one model"


@dataclass(frozen=True)
class Beginning:
    """The model that a run names, by path or by name and revision; with a seed where its weights were drawn afresh."""

    model: str
    revision: str | None = None
    drawn: int | None = None

    def __str__(self) -> str:
        return self.model if self.drawn is None else f"fresh weights of {self.model} (seed {self.drawn})"


def beginning_of(run: Path) -> Beginning | None:
    """What the recipe of a run says that it began with; the recipe lies in its folder, or around its model's. `None`
    where there is none."""
    places = [run, *([run.parent] if run.name == "model" else []), *([run.parent.parent] if _of_several(run) else [])]
    for folder in places:
        if (folder / RECIPE).is_file():
            said = read_toml(folder / RECIPE)
            model, revision = said.get("model"), said.get("revision")
            if said.get("kind") in ("finetune", "multitask", "stages") and isinstance(model, str):
                drawn = int(said.get("seed", 0)) if said.get("fresh") or model.startswith(PRESET) else None
                return Beginning(model, revision if isinstance(revision, str) else None, drawn)
    return None


def _of_several(run: Path) -> bool:
    """Is this the model of one task among several?"""
    return run.parent.name == "tasks"


def check_one_beginning(runs: Sequence[Path], say: Say) -> None:
    """Refuse runs that began with other weights than the first one (`E-USAGE`); what does not say is told."""
    known = {run: found for run in runs if (found := beginning_of(run.resolve())) is not None}
    for run in runs:
        if run not in known:
            say(f"note: {run} does not say what it began with: it is taken to be the model of the others")
    first = next(iter(known.items()), None)
    for run, found in known.items():
        assert first is not None
        check_alike(first[1], found, run, f"{first[0]} with {first[1]}", say)


def check_start(run: Path, start: Path, say: Say) -> None:
    """Refuse a model that is not the one that a run began with (`E-USAGE`); a run that does not say is told."""
    found = beginning_of(run.resolve())
    if found is None:
        say(f"note: {run} does not say what it began with: {start} is taken to be it")
    else:
        told, remedy = f"{start} is another model", f"name the model that it began with: --wise-ft {found.model}"
        check_alike(Beginning(str(start.resolve())), found, run, told, say, remedy)


def check_alike(one: Beginning, other: Beginning, run: Path, told: str, say: Say, remedy: str = REMEDY) -> None:
    """Refuse a beginning that is not another one: by its name, else by a digest of the body. One that is gone can only
    be told."""
    if one == other:
        return
    same = False
    if one.drawn is None and other.drawn is None:
        try:
            same = alike(one, other)
        except ModeledgeError as error:
            say(f"note: {run} began with {other}; {told}: whether these are one model cannot be seen ({error.what})")
            return
    if not same:
        what, why = f"it began with {other}; {told}", "a mean of weights that grew apart from the start is no model"
        raise ModeledgeError("E-USAGE", what, where=str(run), why=why, remedy=remedy)


def alike(one: Beginning, other: Beginning) -> bool:
    """Are these the same weights? Raises what opening them raises."""
    there = [model_folder(find_model(each.model, each.revision).folder).resolve() for each in (one, other)]
    if there[0] == there[1]:
        return True
    digests = {body_digest(open_model(folder, lambda line: None)) for folder in there}
    return len(digests) == 1
