"""The run folder: one format for every verb, owned by one process at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from modeledge import files
from modeledge.config import read_toml
from modeledge.errors import ModeledgeError
from modeledge.families.folder import check_folder

RECIPE = files.RECIPE
RESUMABLE = ("pretrain", "finetune", "multitask", "stages", "study")
SEVERAL = {
    "cells": ("a study", "modeledge compare runs it"),
    "stages": ("several stages", "modeledge finetune runs it; write one stage as a recipe of its own"),
    "tasks": ("several tasks", "modeledge finetune runs it; write one task as a recipe of its own"),
}
SAYS = ("config.json", "adapter_config.json")  # one of them lies in every folder of a model, or of an adapter


def model_folder(path: str | Path) -> Path:
    """The folder of a model or an adapter at a path, or inside the run folder at that path.

    Raises `E-NO-FILE`, and `E-UNSAFE-FORMAT` where there is only a pickle.
    """
    for folder in (Path(path) / "model", Path(path)):
        if any((folder / name).is_file() for name in SAYS):
            return folder
    check_folder(Path(path))
    remedy = "name a folder with config.json and model.safetensors, or a finished run"
    raise ModeledgeError("E-NO-FILE", "there is no model", where=str(path), remedy=remedy)


def kind_of(folder: Path) -> str:
    """Which verb made this run folder. Raises `E-RUN-FOLDER` where it does not say."""
    try:
        return str(read_toml(folder / RECIPE)["kind"])
    except (OSError, KeyError, ModeledgeError) as error:
        what = f"there is no {RECIPE} that names its kind"
        raise ModeledgeError("E-RUN-FOLDER", what, where=str(folder)) from error


def check_single(tree: Collection[str], path: Path, *, but: Sequence[str] = ()) -> None:
    """Refuse a recipe of several runs where a verb reads one, or those of `but` (`E-USAGE`): by the names of its
    tables, which would be unknown keys."""
    found = next((name for name in SEVERAL if name not in but and name in tree), None)
    if found is not None:
        what, remedy = SEVERAL[found]
        raise ModeledgeError("E-USAGE", f"this is a recipe of {what}", where=str(path), remedy=remedy)


def finished(folder: Path) -> bool:
    """Is the run done? Its model comes last, whole or not at all."""
    return any((folder / "model" / name).is_file() for name in SAYS)


def _trained(folder: Path) -> bool:
    """Was a step made here, or in a stage below? The log is opened before the first one, so an empty log says no."""
    logs = (folder / "metrics.jsonl", *folder.glob("stages/*/metrics.jsonl"))
    return any(log.is_file() and log.stat().st_size > 0 for log in logs) or any(folder.glob("checkpoints/step-*"))


def _occupied(folder: Path, present: list[str]) -> ModeledgeError:
    remedy = ""
    if RECIPE in present:
        try:
            resumable = kind_of(folder) in RESUMABLE
        except ModeledgeError:
            resumable = False
        remedy = f"choose another folder, or `modeledge resume {folder}`" if resumable else "choose another folder"
    what = f"the folder is not empty ({', '.join(present[:4])})"
    return ModeledgeError("E-OUTPUT", what, where=str(folder), remedy=remedy)


def empty(folder: Path) -> None:
    """Remove what is in a folder, but its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


@contextmanager
def held(folder: Path) -> Iterator[list[str]]:
    """Hold a folder until the block ends, made where it is not there; gives the names of what it holds.

    The lock is the kernel's: it ends with the process, however that dies. Raises `E-OUTPUT` for a file, and for a
    folder that another process holds.
    """
    if folder.is_file():
        raise ModeledgeError("E-OUTPUT", "this is a file", where=str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ModeledgeError("E-OUTPUT", error.strerror or str(error), where=str(folder)) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModeledgeError("E-OUTPUT", "another process is running here", where=str(folder)) from error
        files.remove_stale(folder)
        yield sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    finally:
        os.close(lock)


@contextmanager
def run_folder(folder: Path, recipe: str, *, resume: bool = False) -> Iterator[Path]:
    """Open a run folder and hold it until the block ends.

    A fresh run wants an absent or empty folder; a resumed one wants the recipe that is there to be this one. A run
    that fails before its first step leaves nothing behind. Raises what `held` raises, `E-OUTPUT`, and for a resumed run
    `E-RUN-FOLDER` and `E-RESUME`.
    """
    with held(folder) as present:
        if present and not resume:
            raise _occupied(folder, present)
        if resume and RECIPE not in present:
            raise ModeledgeError("E-RUN-FOLDER", f"there is no {RECIPE}: nothing to resume", where=str(folder))
        if resume and (folder / RECIPE).read_text(encoding="utf-8") != recipe:
            raise ModeledgeError("E-RESUME", "the recipe is not the one of this run", where=str(folder / RECIPE))
        if not resume:
            files.write_text(folder / RECIPE, recipe)
        try:
            yield folder
        except BaseException:
            if not resume and not _trained(folder):
                empty(folder)  # nothing was trained: the name stays free for the corrected command
            raise
