"""Is it the study of this folder that goes on, and do its runs begin with the models that they began with?

What changes no trained number may change: labels, notes, the row compared with, metrics. The models are named by
digests of their files, which are kept in `bases.json`: a table must not set runs on old weights beside runs on new
ones. A file of the same size that nothing has touched since is not read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.config import load_config
from modeledge.config.changed import check_same, flat
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare.beforehand import recipe_of
from modeledge.recipes.compare.grid import ASKED, BEST, Unit, begun_with, learned_by, units
from modeledge.recipes.compare.study import StudyRecipe
from modeledge.recipes.folder import RECIPE
from modeledge.recipes.recipe import PRESET, PretrainRecipe
from modeledge.recipes.store.hub import WANTED, find_model

BASES = "bases.json"
READ = (*WANTED, "adapter_config.json")  # what is read of a model's folder; safetensors are among `WANTED`
FREE = ("minutes", "title", "note", "against")  # keys that change no number (more seeds are welcome too)
Say = Callable[[str], None]
Digests = dict[str, dict[str, Any]]


def check_study(study: StudyRecipe, folder: Path) -> None:
    """Refuse a study that is not the one of the folder, with the keys that differ (`E-RESUME`).

    Seeds behind those that it had are welcome: what is finished stays as it is. So are other labels and metrics, and
    another way to adapt in a cell of which no run was begun.
    """
    before = load_config(StudyRecipe, folder / RECIPE)
    grown = study.model_copy(update={"seeds": study.seeds[: len(before.seeds)]})
    trained = {unit.cell for s in (before, grown) for unit in units(s) if unit.task and begun(unit, folder)}
    searched = {unit.task for unit in units(before) if unit.search and begun(unit, folder)}
    was, now = (flat(lasting(s, trained, searched)) for s in (before, grown))
    why, remedy = "its finished runs are of another study", "restore the study, or begin another one in another folder"
    check_same(was, now, folder / RECIPE, why=why, remedy=remedy)


def lasting(study: StudyRecipe, trained: Iterable[str], searched: Iterable[str | None]) -> dict[str, Any]:
    """What of a study a number hangs on: of the cells that were not `trained` yet only the body, of the metrics those
    that a search chooses by."""
    tree: dict[str, Any] = study.model_dump(mode="json", exclude=set(FREE))
    for kind in ("cells", "tasks", "sources", "marks"):
        for name, row in tree[kind].items():
            for key in ("label", "group"):
                row.pop(key, None)
            if kind == "cells" and name not in trained:
                del row["finetune"]
            if "metrics" in row:
                row["metrics"] = row["metrics"][:1] if name in searched else None
    return tree


def begun(unit: Unit, folder: Path) -> bool:
    """Is there anything of a run in its folder?"""
    here = unit.folder(folder)
    return any((here / name).exists() for name in (RECIPE, ASKED, BEST)) or any(here.glob(f"*/{RECIPE}"))


def check_bases(study: StudyRecipe, left: Sequence[Unit], folder: Path, say: Say) -> None:
    """Refuse a model whose files are not those that the study's runs began with (`E-RESUME`, with both digests).

    Only models that a run still `left` begins with are looked at. One that cannot be found is that run's error. A
    folder that knows no digests, since an earlier version began it, takes the model as it is now, and says so.
    """
    path = folder / BASES
    known: dict[str, Digests] = files.read_json(path) if path.exists() else {}
    stood = {name for unit in units(study) if begun(unit, folder) and (name := given_name(study, unit, folder)[0])}
    for name, revision, endpoint in dict.fromkeys(given_name(study, unit, folder) for unit in left):
        try:
            there = find_model(name, revision, endpoint).folder if name else None
        except ModeledgeError:
            continue
        if there is None:
            continue
        now = digests(there, known.get(name, {}))
        if name in known and name in stood:
            check_files(name, known[name], now, folder)
        elif name in stood:
            say(f"note: this study has kept no digest of {name}: it is taken to be what the finished runs began with")
        known[name] = now
    if known:
        files.write_json(path, known)


def given_name(study: StudyRecipe, unit: Unit, folder: Path) -> tuple[str, str | None, str | None]:
    """The model that exists and that a run begins with: its path or name, revision and endpoint; "" for none."""
    if learned_by(study, unit) is not None or (unit.task is not None and begun_with(study, unit) is not None):
        return "", None, None
    recipe = recipe_of(study, unit, folder)
    if isinstance(recipe, PretrainRecipe):
        return recipe.model.start or "", recipe.model.revision, recipe.model.endpoint
    return "" if recipe.model.startswith(PRESET) else recipe.model, recipe.revision, recipe.endpoint


def digests(folder: Path, known: Mapping[str, Mapping[str, Any]]) -> Digests:
    """The SHA-256 of each file of a model's folder that is read; those that stand as they are `known` are not read."""
    found: Digests = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and any(fnmatchcase(path.name, pattern) for pattern in READ):
            said = path.stat()
            stands = {"bytes": said.st_size, "changed": said.st_ctime_ns, "node": said.st_ino}
            was = known.get(path.name, {})
            same = all(was.get(key) == value for key, value in stands.items())
            found[path.name] = {**stands, "sha256": was["sha256"] if same else files.sha256(path)}
    return found


def check_files(model: str, before: Digests, now: Digests, folder: Path) -> None:
    """Refuse other files than before (`E-RESUME`)."""
    for name in dict.fromkeys([*before, *now]):
        was, there = (side.get(name, {}).get("sha256", "none") for side in (before, now))
        if was != there:
            what = f"{model} is another model: {name} had SHA-256 {was}, and has {there}"
            why = "finished runs began with the other one, and stand in the same table"
            remedy = "bring the model back, or begin another study in another folder"
            raise ModeledgeError("E-RESUME", what, where=str(folder / BASES), why=why, remedy=remedy)
