"""A model folder of any family in, another form or dtype out: written whole or not at all, and every loss said."""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.families import load_model, origin_of, save_model
from modeledge.families.fill import listing
from modeledge.families.folder import CONFIG
from modeledge.families.keys import INERT
from modeledge.model.transformer import Transformer
from modeledge.recipes.pretraining.writing import note_of, way_of
from modeledge.recipes.store.card import Card, base_of, write_card
from modeledge.recipes.store.hub import TOKENIZERS, find_model, remember_source
from modeledge.recipes.store.models import dtype_of, family_for
from modeledge.recipes.store.sandbox import pickled_folder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What a conversion is asked for."""

    to: str = "hf"
    dtype: str | None = None
    from_pickle: bool = False
    revision: str | None = None
    endpoint: str | None = None


def convert(source: str | Path, target: str | Path, wish: Wish, say: Say = print) -> Path:
    """Read `source` (a folder, a run folder, or a name on a hub) and write `target`, which must not be there yet.

    Tokenizer files are copied as they are. Raises what `load_model` and `save_model` raise, and `E-OUTPUT`.
    """
    final, dtype = Path(target), dtype_of(wish.dtype)
    if final.is_file() or (final.is_dir() and any(final.iterdir())):
        raise ModeledgeError("E-OUTPUT", "it is there already", where=str(final))
    found = find_model(source, wish.revision, wish.endpoint, pickles=wish.from_pickle)
    with TemporaryDirectory(prefix="modeledge-") as room:
        folder = pickled_folder(found.folder, Path(room), say) if wish.from_pickle else found.folder
        model = load_model(folder)
    origin = found.folder if found.folder.is_dir() else found.folder.parent
    remember_source(model, found.source)
    family = family_for(model, wish.to)
    for line in (*unwritten(model, family), *([rounding(model, dtype)] if dtype is not None else [])):
        say(line)
    if final.is_dir():
        final.rmdir()  # empty
    with files.committed_folder(final, {"schema": 1}) as temporary:
        save_model(model, temporary, family=family, dtype=dtype)
        copied = copy_tokenizer(origin, temporary)
        for name, value in note_of(way_of(origin)).items():  # how it writes is a matter of how it was trained
            files.write_json(temporary / name, value)
        write_card(temporary, Card(verb="convert", base=base_of(origin, model)), model)
    say(f"{family}, {sum(p.numel() for p in model.parameters()):,} weights, {', '.join(copied) or 'no tokenizer'}")
    return final


def rounding(model: Transformer, dtype: torch.dtype) -> str:
    """How many weights a dtype does not hold exactly, and by how much the worst of them changes."""
    changed, count, worst = 0, 0, 0.0
    for tensor in model.state_dict().values():
        near = tensor.to(dtype).to(tensor.dtype)
        moved = (near != tensor) & tensor.isfinite()
        changed, count = changed + int(moved.sum()), count + tensor.numel()
        if moved.any():
            worst = max(worst, float((near - tensor).abs()[moved].max()))
    name = str(dtype).removeprefix("torch.")
    if not changed:
        return f"{name} holds all {count:,} weights exactly"
    return f"{name} was asked for and rounds {changed:,} of {count:,} weights, the worst by {worst:.3g}"


def unwritten(model: Transformer, family: str) -> list[str]:
    """What another format cannot carry, in words: tensors and keys that nothing is computed with."""
    origin = origin_of(model)
    if origin is None or origin.family == family:
        return []
    plain = {"architectures", "dtype", "model_type", "torch_dtype", "transformers_version"}
    keys = sorted(key for key in origin.said if key in INERT - plain)
    lines = [f"left out: keys that change no number ({listing(keys)})"] if keys else []
    kept = sorted(origin.kept)
    return lines + ([f"left out: tensors that nothing is computed with ({listing(kept)})"] if kept else [])


def copy_tokenizer(source: Path, target: Path) -> list[str]:
    """Copy the files of a tokenizer, and of a task, as they are; returns their names."""
    names = sorted(
        p.name for p in source.iterdir() if p.is_file() and any(fnmatch.fnmatch(p.name, t) for t in TOKENIZERS)
    )
    for name in names:
        shutil.copyfile(source / name, target / name)
    assert CONFIG not in names
    return names
