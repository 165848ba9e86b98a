"""The folder of a model that is wrapped: its own files as its library writes them, our heads beside them.

Everything is read by ourselves before the library sees it: the configuration names no code, no pickle lies where
weights should be, each safetensors header is sound, no file leads out of the folder. Nothing is asked of a network.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.families.fill import listing, outlines
from modeledge.families.folder import (
    CONFIG,
    MAX_CONFIG,
    check_folder,
    located,
    open_folder,
    read_json_object,
)
from modeledge.families.heads import heads_as_plain, heads_from_plain
from modeledge.families.keys import refuse_code
from modeledge.families.refused import check_dtypes
from modeledge.families.weights import read_weights, write_weights
from modeledge.model.heads import Head

HEADS, HEAD_WEIGHTS, ADAPTER = "heads.json", "heads.safetensors", "adapter_config.json"


def library() -> Any:
    """The library, imported when it is first needed; without the extra `E-EXTRA`."""
    try:
        import transformers
    except ImportError as error:
        what = "a model that is wrapped needs transformers"
        raise ModeledgeError("E-EXTRA", what, remedy="pip install 'modeledge[transformers]'") from error
    return transformers


def read_body(
    folder: Path, architecture: Any, without: Sequence[str], *, leave_heads: bool = False
) -> tuple[nn.Module, tuple[str, ...]]:
    """The library's model out of a local folder, its weights as fp32 masters (fp64 where the file has fp64), and what
    of the file stands beside it.

    Weights that are missing or left over are `E-KEYS`, unless their names begin with one of `without`, or, with
    `leave_heads`, they stand beside the body in a file whose body has a name of its own.
    """
    check_folder(folder)
    said = read_json_object(folder / CONFIG, MAX_CONFIG)
    with located(folder / CONFIG):
        refuse_code(said)
        if said.get("quantization_config") is not None:
            what = "the weights are quantised"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="quantization_config", remedy="use them as they were")
    if (folder / ADAPTER).exists():
        what = f"{ADAPTER} names another model to load"
        raise ModeledgeError("E-USAGE", what, where=str(folder), remedy="name the folder of that model")
    with open_folder(folder) as stored, located(folder):
        shapes = outlines(stored.tensors)
        check_dtypes({name: tensor.dtype for name, tensor in shapes.items() if tensor.is_floating_point()})
    wide = any(tensor.dtype is torch.float64 for tensor in shapes.values())
    hf = library()
    try:
        body, told = (architecture or hf.AutoModel).from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float64 if wide else torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # whatever its classes raise for a configuration that they cannot build
        code = "E-FAMILY" if isinstance(error, ValueError) else "E-CONFIG"
        what = f"{hf.__name__} {hf.__version__} does not read it ({str(error).strip().splitlines()[0]})"
        raise ModeledgeError(code, what, where=str(folder), remedy="see its documentation") from error
    left = beside(shapes, f"{body.base_model_prefix}.") if leave_heads else ()
    check_told(folder, told, (*without, *left))
    return body, left


def beside(names: Collection[str], prefix: str) -> tuple[str, ...]:
    """How the names of a file begin that do not belong to its body, where the body's begin with a prefix."""
    if prefix == "." or not any(name.startswith(prefix) for name in names):
        return ()
    return tuple(sorted({name.partition(".")[0] for name in names if not name.startswith(prefix)}))


def check_told(folder: Path, told: dict[str, Any], without: Sequence[str]) -> None:
    """Refuse weights that are missing, left over or of another shape (`E-KEYS`), but for those that are let go."""
    parts = []
    for kind in ("missing", "unexpected", "mismatched"):
        names = sorted(n if isinstance(n, str) else n[0] for n in told.get(f"{kind}_keys", ()))
        if kind != "mismatched":
            names = [name for name in names if not any(f"{name}.".startswith(f"{w.rstrip('.')}.") for w in without)]
        if names:
            parts.append(f"{kind}: {listing(names)}")
    if parts:
        why = "a weight that is drawn afresh or left out in silence makes another model"
        remedy = "name the class that the file holds (architecture=), or let weights go by name (without=)"
        raise ModeledgeError("E-KEYS", "; ".join(parts), where=str(folder), why=why, remedy=remedy)


def read_heads(folder: Path) -> tuple[dict[str, Head], dict[str, Tensor]]:
    """The heads that lie beside the body, and their weights; none where there is no such file."""
    if not (folder / HEADS).exists():
        return {}, {}
    said = read_json_object(folder / HEADS, MAX_CONFIG)
    with located(folder / HEADS):
        heads = heads_from_plain(said)
    return heads, read_weights(folder / HEAD_WEIGHTS)[0] if (folder / HEAD_WEIGHTS).exists() else {}


def write_model(folder: Path, body: Any, heads: dict[str, Head], weights: dict[str, Tensor]) -> None:
    """The body as its library writes it, then heads: weights first, so that a folder that names heads has them."""
    if folder.is_file():
        raise ModeledgeError("E-OUTPUT", "this is a file", where=str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADS).unlink(missing_ok=True)
        (folder / HEAD_WEIGHTS).unlink(missing_ok=True)
        body.save_pretrained(str(folder))
    except OSError as error:
        raise files.disk_error(folder, error) from error
    if weights:
        made = write_weights(folder / HEAD_WEIGHTS, weights, {"format": "pt"})
        try:
            os.replace(made, folder / HEAD_WEIGHTS)
        except OSError as error:
            made.unlink(missing_ok=True)
            raise files.disk_error(folder / HEAD_WEIGHTS, error) from error
        files.sync_folder(folder)
    if heads:
        files.write_json(folder / HEADS, heads_as_plain(heads))
