"""Which model an adapter belongs to: its place, and a digest of its weights.

An adapter is a difference, and a difference to another model is noise. So the weights of the base are hashed, tensor by
tensor: the digest of the body names the base, whatever folder it lies in and in however many shards, and what differs
after training is what has to be stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modeledge.adapt.graft import PLACE
from modeledge.adapt.leading import PLACE as BEFORE
from modeledge.adapt.quantize import quantized_names
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.recipes.recipe import is_name
from modeledge.recipes.store.hub import find_model


@dataclass(frozen=True)
class Base:
    """A base model: its path or name on a hub, its revision there, and the SHA-256 of each weight by our names."""

    source: str
    revision: str | None
    weights: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The SHA-256 of the body: heads come and go, and an adapter stands on the body alone."""
        lines = (f"{name} {value}\n" for name, value in sorted(self.weights.items()) if not name.startswith("heads."))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def base_from(model: Backbone, source: str, revision: str | None = None) -> Base:
    """A model as the base that it is now; adapters on it are not a part of it."""
    return Base(source, revision, {name: hashed(tensor) for name, tensor in plain(model).items()})


def plain(model: Backbone) -> dict[str, Tensor]:
    """The weights of a model by name, without what adapters added, and without those that were put into fewer bits and
    so are no longer what was read."""
    state, codes = model.state_dict().items(), quantized_names(model)
    return {
        n: t.detach() for n, t in state if f".{PLACE}." not in n and not n.startswith(f"{BEFORE}.") and n not in codes
    }


def hashed(tensor: Tensor) -> str:
    """The SHA-256 of a tensor's shape and numbers, in its own dtype."""
    held = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{held.dtype} {list(held.shape)}\n".encode())
    digest.update(held.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def changed(base: Base, model: Backbone) -> list[str]:
    """The weights of a model that its base does not have, or has otherwise."""
    return [name for name, tensor in plain(model).items() if base.weights.get(name) != hashed(tensor)]


def check_base(
    found: Base, wanted: str, folder: Path, remedy: str = "name the base that it was trained on: base="
) -> None:
    """Refuse a base of other weights than those that an adapter was trained on (`E-BASE`, with both digests)."""
    if found.digest != wanted:
        raise ModeledgeError(
            "E-BASE",
            f"it was trained on a base of SHA-256 {wanted}; {found.source} has {found.digest}",
            where=str(folder),
            why="on other weights an adapter is noise",
            remedy=remedy,
        )


def find_base(folder: Path, said: Mapping[str, Any], base: str | Path | None = None) -> tuple[str, Path]:
    """Where the base of an adapter lies: where it is said to (`base`), else where its configuration says. A path that
    is not absolute is looked for from the adapter's folder, then from here. Raises `E-BASE` where it is gone."""
    named = str(base) if base is not None else said.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        what = "it does not say which model it belongs to"
        raise ModeledgeError("E-BASE", what, where=str(folder), remedy="name its base: base=")
    beside, revision = folder / named, said.get("revision")
    if base is None and not Path(named).is_absolute() and beside.is_dir():
        return named, find_model(beside).folder
    try:
        return named, find_model(named, revision if isinstance(revision, str) and is_name(named) else None).folder
    except ModeledgeError as error:
        what = f"its base {named} cannot be opened ({error.code}: {error.what})"
        remedy = "bring it back, or say where it lies now: base="
        raise ModeledgeError("E-BASE", what, where=str(folder), remedy=remedy) from error
