"""Writing a model folder: one file of weights, or several with an index that says which tensor lies in which.

Hubs and file systems do not like single files of many gigabytes, so large models are cut into shards, named as the
reference library names them: `model-00001-of-00003.safetensors`, and `model.safetensors.index.json` beside them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from modeledge import files
from modeledge.families.folder import CONFIG, INDEX, WEIGHTS
from modeledge.families.weights import write_weights

SHARD_BYTES = 5_000_000_000  # the reference library's for many years
NAMED = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def place(tensors: Mapping[str, Tensor], limit: int, before: Mapping[str, str]) -> dict[str, str]:
    """Which file each tensor goes to: the one it came from, where all did; else files of at most `limit` bytes.

    A tensor that is larger by itself has a file of its own.
    """
    if before and before.keys() == tensors.keys():
        return dict(before)
    number, filled = 0, 0
    numbers: dict[str, int] = {}
    for name, tensor in tensors.items():
        if filled and filled + tensor.nbytes > limit:
            number, filled = number + 1, 0
        numbers[name], filled = number, filled + tensor.nbytes
    if number == 0:
        return dict.fromkeys(tensors, WEIGHTS)
    return {name: f"model-{n + 1:05}-of-{number + 1:05}.safetensors" for name, n in numbers.items()}


def write_folder(
    folder: Path,
    said: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    notes: Mapping[str, str],
    *,
    limit: int = SHARD_BYTES,
    before: Mapping[str, str] | None = None,
) -> None:
    """Weights first and the configuration last: a folder that has one is whole.

    A model that was there stays until the new weights are on the disk, then its configuration goes before they come.
    """
    placed = place(tensors, limit, before or {})
    waiting: dict[str, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(set(placed.values())):
            part = {name: tensors[name] for name, f in placed.items() if f == file}
            waiting[file] = write_weights(folder / file, part, notes)
        (folder / CONFIG).unlink(missing_ok=True)
        for file, temporary in waiting.items():
            os.replace(temporary, folder / file)
        for path in [p for p in folder.iterdir() if _weights(p.name) and p.name not in waiting]:
            path.unlink()
        if set(waiting) != {WEIGHTS}:
            files.write_json(folder / INDEX, index(tensors, placed))
        files.sync_folder(folder)
    except OSError as error:
        raise files.disk_error(folder, error) from error
    finally:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)
    files.write_json(folder / CONFIG, said)


def index(tensors: Mapping[str, Tensor], placed: Mapping[str, str]) -> dict[str, Any]:
    """What `model.safetensors.index.json` says."""
    count, size = sum(t.numel() for t in tensors.values()), sum(t.nbytes for t in tensors.values())
    return {"metadata": {"total_parameters": count, "total_size": size}, "weight_map": dict(placed)}


def _weights(name: str) -> bool:
    """Is this a file of weights, or the index, of the model that was here before?"""
    return name in (WEIGHTS, INDEX) or NAMED.fullmatch(name) is not None
