"""Pickled weights (`.bin`, `.pt`) made safetensors in a process that may do little else.

A pickle is a program. `torch.load(weights_only=True)` runs a small, safe part of its language, and has had holes
(CVE-2025-32434), so the reader is a process of its own (`unpickle.py`): without the environment's secrets, with limits
on memory and time, and with a hook that ends it when it opens a socket, starts a program or writes another file. What
comes back is safetensors and is read as strictly as any other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from modeledge import files
from modeledge.errors import ModeledgeError, printable
from modeledge.families.folder import CONFIG, INDEX, TOKENIZER, WEIGHTS, check_inside, check_link, read_json_object
from modeledge.families.weights import PICKLES, damaged, open_weights

BINARY, BINARY_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
SECONDS, SPEED = 60.0, 20e6  # to start, and the bytes a second that a slow disk reads
MEMORY, TIMES = 1 << 30, 4  # bytes above the size of the process, and a multiple of the file


def pickled_folder(source: Path, room: Path, say: Callable[[str], None]) -> Path:
    """A folder in `room` with the configuration at `source` and its pickled weights as safetensors.

    `source` is a model folder or a file in one. Raises `E-NO-FILE`, `E-UNSAFE-FORMAT` (more than weights is in it, or
    the limits were met), `E-UNSAFE-PATH`.
    """
    folder = source if source.is_dir() else source.parent
    placed = placement(source)
    for file in sorted(set(placed.values())):
        check_link(folder / file, folder)
        if not (folder / file).is_file():
            raise ModeledgeError("E-NO-FILE", "there is no such file", where=str(folder / file))
    made = room / "model"
    made.mkdir()
    for name in (CONFIG, TOKENIZER):
        if (folder / name).is_file():
            check_link(folder / name, folder)
            shutil.copyfile(folder / name, made / name)
    names = {file: WEIGHTS if len(placed) == 1 else f"{Path(file).stem}.safetensors" for file in placed.values()}
    listed: dict[str, str] = {}
    for file, name in sorted(names.items()):
        for tensor in unpickle(folder / file, made / name, say):
            listed[tensor] = name
    if set(names.values()) != {WEIGHTS}:
        files.write_json(made / INDEX, {"metadata": {}, "weight_map": listed})
    return made


def placement(source: Path) -> dict[str, str]:
    """Which pickled files make the model; the keys are the names of tensors where an index lists them."""
    if source.is_file():
        if source.suffix not in PICKLES:
            raise ModeledgeError("E-USAGE", f"{source.name} is no {' or '.join(PICKLES[:2])}", where=str(source))
        return {"": source.name}
    if (source / BINARY_INDEX).is_file():
        index = source / BINARY_INDEX
        said = read_json_object(index, 64 << 20).get("weight_map")
        if not isinstance(said, dict) or not said or not all(isinstance(v, str) for v in said.values()):
            damaged(index, "weight_map must map names to files")
        for file in set(said.values()):
            check_inside(index, file, kinds=PICKLES)
        return dict(said)
    found = sorted(p.name for p in source.iterdir() if p.suffix in PICKLES) if source.is_dir() else []
    chosen = [BINARY] if BINARY in found else found
    if len(chosen) != 1:
        what = f"{len(chosen)} files could be the weights" if chosen else "there is no pickle of weights"
        raise ModeledgeError("E-NO-FILE", what, where=str(source), remedy="name the file itself")
    return {"": chosen[0]}


def unpickle(path: Path, target: Path, say: Callable[[str], None]) -> list[str]:
    """Read one file in a process of its own; returns the names of its tensors."""
    size = path.stat().st_size
    seconds = SECONDS + size / SPEED
    script = Path(__file__).with_name("unpickle.py")
    words = [str(path.resolve()), str(target), str(MEMORY + TIMES * size), str(int(seconds) + 1)]
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    setting = {"PATH": os.defpath, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HOME": str(target.parent)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-B", str(script), *words],
            env=setting, cwd=target.parent, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _refused(path, f"it was not read within {seconds:.0f} seconds") from error
    told = done.stdout.decode("utf-8", "replace").splitlines()
    if done.returncode != 0 or not target.is_file():
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"])[-1]
        target.unlink(missing_ok=True)
        raise _refused(path, last)
    left = [line.removeprefix("left ") for line in told if line.startswith("left ")]
    if left:
        say(f"left out of {path.name}: {', '.join(printable(word) for word in left[:8])} (no tensors)")
    with open_weights(target) as (stored, _):
        return list(stored)


def _refused(path: Path, why: str) -> ModeledgeError:
    what, remedy = "the pickle was not read", "ask for the same weights as safetensors"
    return ModeledgeError("E-UNSAFE-FORMAT", what, where=str(path), why=printable(why), remedy=remedy)
