"""Models in and out by one word each: `load` from a folder or a hub, `save` in the form that others read or in ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch

from modeledge import files
from modeledge.errors import ModeledgeError, nearest
from modeledge.families import FAMILIES, origin_of, save_model
from modeledge.families.checkpoint import choose, holds
from modeledge.families.heads import described
from modeledge.model.backbone import Backbone
from modeledge.model.transformer import Transformer
from modeledge.recipes.asking.use import Model
from modeledge.recipes.pretraining.reshaped import reshaped, tell
from modeledge.recipes.pretraining.writing import note_of
from modeledge.recipes.store.card import Card, write_card
from modeledge.recipes.store.hub import find_model, remember_source

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FORMS = ("hf", "modeledge")


def load(
    source: str | Path,
    revision: str | None = None,
    endpoint: str | None = None,
    *,
    bidirectional: bool = False,
    say: Callable[[str], None] = print,
) -> Model:
    """A model from a folder, from a run folder, or by its name on a hub, `org/name`.

    `revision` is a branch, a tag or a commit; the commit that it led to is remembered. `endpoint` names a mirror, as
    the variable `HF_ENDPOINT` does. Without a network what is in the cache is used, else `E-OFFLINE` says what to do.
    With `bidirectional` a decoder is read both ways, as an encoder of the same weights (LLM2Vec); another body is
    `E-USAGE`.
    """
    found = find_model(source, revision, endpoint)
    model = Model.load(found.folder, say=say)
    remember_source(model.transformer, found.source)
    if not bidirectional:
        return model
    turned = reshaped(model.transformer, bidirectional=True, decoder=None, seed=0)
    tell(turned, None, say)
    return Model(turned, model.tokenizer)


def save(
    model: Model | Backbone,
    path: str | Path,
    to: str = "hf",
    dtype: str | torch.dtype | None = None,
    *,
    license: str | None = None,
) -> Path:
    """Write a model folder with tokenizer and model card: `hf` as Hugging Face libraries read it, `modeledge` as it is.

    Raises `E-OUTSIDE-FAMILY` where no known architecture of theirs is this model, and what `save_model` raises.
    """
    transformer = model.transformer if isinstance(model, Model) else model
    folder, wanted = Path(path), dtype_of(dtype)
    if not isinstance(transformer, Transformer):
        return save_wrapped(model, folder, to, wanted, license)
    family = family_for(transformer, to)
    if folder.is_file():
        raise ModeledgeError("E-OUTPUT", "this is a file", where=str(folder))
    origin = origin_of(transformer)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Model) and model.tokenizer is not None:
        model.tokenizer.save(folder)
    write_card(folder, Card(license=license, base=origin.source if origin else {}), transformer)
    for name, note in note_of(model.writes if isinstance(model, Model) else None).items():
        files.write_json(folder / name, note)
    save_model(transformer, folder, family=family, dtype=wanted)
    return folder


def save_wrapped(
    model: Model | Backbone, folder: Path, to: str, dtype: torch.dtype | None, license: str | None
) -> Path:
    """Write a model that is wrapped, as its own library does, with our heads, tokenizer and card beside it."""
    if to != "hf":
        raise ModeledgeError("E-USAGE", "a wrapped model is written by its own library alone", remedy='to="hf"')
    if dtype is not None:
        remedy = "leave dtype out, and convert the folder with its own library"
        raise ModeledgeError("E-USAGE", "a wrapped model is written as it is", where="dtype", remedy=remedy)
    transformer = model.transformer if isinstance(model, Model) else model
    transformer.save(folder)
    if isinstance(model, Model) and model.tokenizer is not None:
        model.tokenizer.save(folder)
    write_card(folder, Card(license=license), transformer)
    return folder


def family_for(model: Transformer, to: str) -> str:
    """The family to write for a form: ours, or the one of theirs that holds exactly this model (`E-OUTSIDE-FAMILY`)."""
    if to not in FORMS:
        raise ModeledgeError("E-USAGE", f"there is no form {to!r}", where="to", remedy=nearest(to, FORMS))
    if to == "modeledge":
        return "modeledge"
    heads, origin = described(model), origin_of(model)
    family = choose(model.config, heads, origin, None).model_type
    if family != "modeledge":
        return family
    others = [f for name, f in FAMILIES.items() if name != "modeledge"]
    family = next((f.model_type for f in others if holds(f, model.config, heads)), "")
    if not family:
        first = {f.model_type: reasons[0] for f in others if (reasons := f.lacks(model.config, heads))}
        what = "no architecture of Hugging Face's is this model: " + "; ".join(f"{n}: {r}" for n, r in first.items())
        raise ModeledgeError("E-OUTSIDE-FAMILY", what, remedy='write our own form: to="modeledge"')
    return family


def dtype_of(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The dtype of a word (`E-USAGE`)."""
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype in DTYPES.values()):
        return dtype
    word = re.sub(r"^torch\.", "", str(dtype))
    if word not in DTYPES:
        raise ModeledgeError("E-USAGE", f"there is no dtype {word!r}", where="dtype", remedy=nearest(word, DTYPES))
    return DTYPES[word]
