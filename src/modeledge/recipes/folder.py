"""The run folder: one format for every verb, owned by one process at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modeledge import files
from modeledge.errors import ModeledgeError

RECIPE = "run.toml"


def model_folder(path: str | Path) -> Path:
    """The model folder at a path, or inside the run folder at that path (`E-NO-FILE`)."""
    for folder in (Path(path) / "model", Path(path)):
        if (folder / "config.json").is_file():
            return folder
    remedy = "name a folder with config.json and model.safetensors, or a finished run"
    raise ModeledgeError("E-NO-FILE", "there is no model", where=str(path), remedy=remedy)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


@contextmanager
def run_folder(folder: Path, recipe: str, *, resume: bool = False) -> Iterator[Path]:
    """Open a run folder and hold it until the block ends.

    A fresh run wants an absent or empty folder; a resumed one wants the recipe that is there to be this one. The lock
    is the kernel's: it ends with the process, however that dies. A run that fails before its first step leaves nothing
    behind. Raises `E-OUTPUT`.
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
        present = sorted(p.name for p in folder.iterdir() if p.name != ".lock")
        if present and not resume:
            remedy = f"choose another folder, or `modeledge resume {folder}`" if RECIPE in present else ""
            what = f"the folder is not empty ({', '.join(present[:4])})"
            raise ModeledgeError("E-OUTPUT", what, where=str(folder), remedy=remedy)
        if resume and (folder / RECIPE).read_text(encoding="utf-8") != recipe:
            raise ModeledgeError("E-RESUME", "the recipe is not the one of this run", where=str(folder / RECIPE))
        if not resume:
            files.write_text(folder / RECIPE, recipe)
        try:
            yield folder
        except BaseException:
            if not resume and not (folder / "metrics.jsonl").exists():
                _empty(folder)  # nothing was trained: the name stays free for the corrected command
            raise
    finally:
        os.close(lock)
