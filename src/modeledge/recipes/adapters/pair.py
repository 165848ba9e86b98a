"""The two files of an adapter, `adapter_config.json` and `adapter_model.safetensors`, read as strangers' files are.

No pickle is opened, no link followed out of the folder, no key obeyed that names code. What is ours alone (the base's
digest, the heads as values, the task's form) stands in the notes of the safetensors file, where other readers pass over
it: `adapter_config.json` holds nothing that the PEFT library does not know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.families.folder import MAX_CONFIG, check_link, read_json_object
from modeledge.families.keys import refuse_code
from modeledge.families.weights import read_weights, write_weights
from modeledge.strictjson import Flaw, parse

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
NOTE = "modeledge"  # the key of our notes among those of the safetensors file
SCHEMA = 1


@dataclass(frozen=True)
class Pair:
    """What the two files say: the configuration, the tensors by their names in the file, and our notes (empty where
    another library wrote it)."""

    said: dict[str, Any]
    tensors: dict[str, Tensor]
    notes: dict[str, Any] = field(default_factory=dict)


def is_adapter(folder: Path) -> bool:
    """Does this folder hold an adapter and no model?"""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def read_pair(folder: Path) -> Pair:
    """Both files. Raises `E-NO-FILE`, `E-UNSAFE-FORMAT`, `E-UNSAFE-PATH`, `E-CONFIG-UNSAFE`, `E-SAFETENSORS`, and what
    is wrong with a JSON file."""
    said = read_said(folder)
    if (folder / WEIGHTS).exists():
        check_link(folder / WEIGHTS, folder)
    if not (folder / WEIGHTS).is_file():
        if (folder / PICKLE).exists():
            raise ModeledgeError(
                "E-UNSAFE-FORMAT",
                "this is a pickle, not safetensors",
                where=str(folder / PICKLE),
                why="pickle files can run code when they are read",
                remedy="where you trust it, load it with peft and save_pretrained it again: that writes safetensors",
            )
        raise ModeledgeError("E-NO-FILE", f"there is no {WEIGHTS}", where=str(folder))
    tensors, metadata = read_weights(folder / WEIGHTS)
    return Pair(said, tensors, _notes(metadata.get(NOTE), folder / WEIGHTS))


def read_said(folder: Path) -> dict[str, Any]:
    """The configuration alone. Raises `E-NO-FILE`, `E-UNSAFE-PATH`, `E-CONFIG-UNSAFE`, and what is wrong with JSON."""
    if (folder / CONFIG).exists():
        check_link(folder / CONFIG, folder)
    said = read_json_object(folder / CONFIG, MAX_CONFIG)
    refuse_code(said)
    return said


def write_pair(folder: Path, said: Mapping[str, Any], tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write both files, each whole or not at all, the weights first; the same values give the same bytes.

    So the weights have one note and not two: their order in the header would be another in each process.
    """
    text = json.dumps({"schema": SCHEMA, **notes}, sort_keys=True)
    made = write_weights(folder / WEIGHTS, tensors, {NOTE: text})
    os.replace(made, folder / WEIGHTS)
    files.sync_folder(folder)
    files.write_json(folder / CONFIG, dict(said))


def _notes(text: str | None, path: Path) -> dict[str, Any]:
    """Our notes, checked for what is read of them."""
    if text is None:
        return {}
    try:
        notes = parse(text)
    except Flaw as flaw:
        raise ModeledgeError(flaw.code, f"its notes: {flaw.what}", where=str(path)) from flaw
    if not isinstance(notes, dict) or notes.get("schema") != SCHEMA or not isinstance(notes.get("base"), str):
        what = "its notes are of another version"
        remedy = "read it with the version that wrote it"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=str(path), remedy=remedy)
    return notes
