"""A model folder in, a model out, and back: `config.json`, `model.safetensors`, and nothing that can run.

Reading is strict: each tensor of the file is used, or known and kept; each weight of the model is in the file, in the
right shape. Writing an untouched model gives the same configuration and the same bits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.families.family import Family, Origin, merged, origin_of
from modeledge.families.fill import build, listing, outlines
from modeledge.families.folder import (
    CONFIG,
    MAX_CONFIG,
    check_folder,
    located,
    open_folder,
    read_json_object,
    tokenizer_ids,
)
from modeledge.families.heads import described
from modeledge.families.keys import INERT
from modeledge.families.modules import module_names, module_rows
from modeledge.families.native import BEGINS
from modeledge.families.refused import check_depth, check_dtypes, check_names, check_vocabulary, check_writable
from modeledge.families.rules import (
    Rule,
    carried,
    needed,
    same_bits,
    write_tensors,
)
from modeledge.families.shards import SHARD_BYTES, write_folder
from modeledge.families.table import FAMILIES, family_of, find_family
from modeledge.families.weights import OnDisk
from modeledge.model.backbone import Backbone
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.transformer import Transformer


def load_model(folder: str | Path) -> Transformer:
    """Read a model folder of any family in `FAMILIES`, or the run folder around it (its model lies in `model`).

    Weights become fp32 masters (fp64 where the file has fp64).
    The model remembers its file (`origin`), so that `save_model` writes the same one. It is in training mode, as a
    fresh one. Raises `E-NO-FILE`, `E-FAMILY`, `E-CONFIG-KEY`, `E-CONFIG-VALUE`, `E-CONFIG-UNSAFE`, `E-KEYS`,
    `E-VOCAB-SIZE`, `E-SAFETENSORS`, `E-UNSAFE-FORMAT`, `E-UNSAFE-PATH`.
    """
    folder, family, said, config = stated(Path(folder))
    with located(folder / CONFIG):
        check_vocabulary(config, tokenizer_ids(folder))
    with open_folder(folder) as weights, located(folder):
        model = assemble(family, config, said, weights.tensors, weights.notes)
    origin = origin_of(model)
    assert origin is not None
    origin.placed = weights.placed
    return model


def read_shape(folder: str | Path) -> TransformerConfig:
    """The shape that a model folder states, its weights unread. Raises as `load_model` of a configuration."""
    return stated(Path(folder))[3]


def stated(folder: Path) -> tuple[Path, Family, dict[str, Any], TransformerConfig]:
    """The folder with the files (below a run's), whose family it is, and what its configuration says and means."""
    if (folder / "model" / CONFIG).is_file():
        folder = folder / "model"
    check_folder(folder)
    said = read_json_object(folder / CONFIG, MAX_CONFIG)
    with located(folder / CONFIG):
        family = family_of(said)
        return folder, family, said, family.read_config(said)[0]


def assemble(
    family: Family,
    config: TransformerConfig,
    said: dict[str, Any],
    stored: Mapping[str, Tensor],
    notes: dict[str, str],
) -> Transformer:
    """A model out of what a file said and stored, which it remembers. Raises `E-KEYS`, `E-VOCAB-SIZE`."""
    canonical = family.spelling(said, stored.keys())
    heads = family.heads(said, canonical.values())
    check_depth(config, len(stored))
    rules = family.rules(config, heads)
    names = {new: old for old, new in canonical.items()}
    check_names(rules, names)
    theirs = renamed(stored, canonical)
    shapes = outlines(theirs)
    dtypes = {name: shapes[name].dtype for name in needed(rules)}
    check_dtypes(dtypes)
    kept, copies = carried(rules, theirs)
    model = build(config, heads, rules, theirs)
    kept = {name: tensor.clone() for name, tensor in kept.items()}
    remember(model, Origin(family.model_type, said, heads, names, kept, copies, dtypes, notes), family, rules)
    return model


def renamed(stored: Mapping[str, Tensor], canonical: Mapping[str, str]) -> Mapping[str, Tensor]:
    """The same tensors under canonical names; those on the disk stay there."""
    if isinstance(stored, OnDisk):
        return OnDisk({canonical[name]: part for name, part in stored.stored.items()})
    return {canonical[name]: tensor for name, tensor in stored.items()}


def save_model(
    model: Transformer,
    folder: str | Path,
    *,
    family: str | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    words: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write a model folder that `load_model` and, for a family of theirs, Hugging Face libraries read.

    Without `family`: the one that the model came from, if that can hold it; else the first that gives back exactly the
    same model; else our own format. Each weight keeps the dtype of its file where that loses nothing; a model that has
    learned more than its dtype holds is written in its own; `dtype` asks for one, whatever it loses. Above
    `shard_bytes` the weights are cut into shards; those that came in shards keep them. `words` are keys of a
    configuration of theirs that change no number, as the names of labels; our own form has one of them, the token that
    a decoder begins with. Raises `E-FAMILY`,
    `E-OUTSIDE-FAMILY`, `E-OUTPUT`, `E-DISK`, `E-CONFIG-VALUE` for a dtype that cannot hold a weight.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ModeledgeError("E-OUTPUT", "this is a file", where=str(folder))
    heads, origin = described(model), origin_of(model)
    chosen = choose(model.config, heads, origin, family)
    origin = origin if origin is not None and origin.family == chosen.model_type else None
    rules = chosen.rules(model.config, heads)
    ours = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    check_writable(ours, model.config, heads)
    kept, copies = ({}, frozenset[str]()) if origin is None else (origin.kept, origin.copies)
    theirs = write_tensors(rules, ours, kept=kept, copies=copies)
    said = worded(chosen, merged(chosen, model.config, heads, origin), words)
    theirs = stored_as(theirs, said, origin) if dtype is None else cast_to(dtype, theirs, said, kept)
    names = origin.names if origin is not None and origin.heads.keys() == heads.keys() else {}
    bare = not heads and not names and chosen.prefix
    fresh = {n: n.removeprefix(chosen.prefix) if bare else chosen.called(heads, n) for n in theirs}
    spelled = {names.get(n) or fresh[n]: t for n, t in theirs.items()}
    notes, placed = ({"format": "pt"}, {}) if origin is None else (origin.metadata, origin.placed)
    write_folder(folder, said, spelled, notes, limit=shard_bytes, before=placed)


def worded(family: Family, said: dict[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with these words in it, but for any that would change what it computes."""
    if family.model_type == "modeledge":
        return {**said, **{key: value for key, value in words.items() if key == BEGINS}}
    config, out = family.read_config(said)[0], said
    for key, value in words.items():
        more = {**out, key: value}
        out = more if key in INERT and family.read_config(more)[0] == config else out
    return out


def choose(config: TransformerConfig, heads: Mapping[str, Head], origin: Origin | None, wanted: str | None) -> Family:
    """The family to write: the one that is asked for, the one the model came from, one that holds it exactly, ours."""
    if wanted is not None:
        family = find_family(wanted)
        reasons = family.lacks(config, heads)
        if reasons:
            what = f"a {wanted} checkpoint cannot hold this model: {'; '.join(reasons)}"
            raise ModeledgeError("E-OUTSIDE-FAMILY", what, remedy='write the native format: family="modeledge"')
        return family
    if origin is not None and not FAMILIES[origin.family].lacks(config, heads):
        return FAMILIES[origin.family]
    return next((f for f in FAMILIES.values() if holds(f, config, heads)), FAMILIES["modeledge"])


def holds(family: Family, config: TransformerConfig, heads: Mapping[str, Head]) -> bool:
    """Does this family give back exactly this configuration and these heads?"""
    if family.lacks(config, heads):
        return False
    said = merged(family, config, heads, None)
    names = needed(family.rules(config, heads))
    return family.read_config(said)[0] == config and family.heads(said, names) == dict(heads)


def stored_as(theirs: Mapping[str, Tensor], said: dict[str, Any], origin: Origin | None) -> dict[str, Tensor]:
    """Each tensor in the dtype of its file, where that is lossless for all of them; `said` names the dtype if not."""
    dtypes = {} if origin is None else origin.dtypes
    common = next(iter(dtypes.values())) if len(set(dtypes.values())) == 1 else None
    kept = set() if origin is None else set(origin.kept)
    wanted = {n: t.dtype if n in kept else dtypes.get(n, common or t.dtype) for n, t in theirs.items()}
    cast = {name: tensor.to(wanted[name]) for name, tensor in theirs.items()}
    if all(same_bits(cast[n].to(t.dtype), t) for n, t in theirs.items() if cast[n].dtype != t.dtype):
        if origin is None:
            said["torch_dtype"] = str(next(iter(cast.values())).dtype).removeprefix("torch.")
        return cast
    for key in ("torch_dtype", "dtype"):
        if key in said:
            said[key] = str(next(t.dtype for n, t in theirs.items() if n not in kept)).removeprefix("torch.")
    return dict(theirs)


def cast_to(
    dtype: torch.dtype, theirs: Mapping[str, Tensor], said: dict[str, Any], kept: Collection[str]
) -> dict[str, Tensor]:
    """Each weight in this dtype; one that would become infinite is `E-CONFIG-VALUE`. `said` names the dtype."""
    name = str(dtype).removeprefix("torch.")
    cast = {n: t.to(dtype) if t.is_floating_point() and n not in kept else t for n, t in theirs.items()}
    lost = [n for n, t in cast.items() if t.isinf().sum() > theirs[n].isinf().sum()]
    if lost:
        what = f"{listing(lost)}: a weight beyond {torch.finfo(dtype).max:,.0f} would become infinite in {name}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="dtype", remedy="ask for bfloat16 or float32")
    said["dtype" if "dtype" in said else "torch_dtype"] = name
    return cast


def remember(model: Transformer, origin: Origin, family: Family, rules: Sequence[Rule]) -> None:
    """Leave on the model where it came from, and what its modules are called there (for adapters in PEFT's format)."""
    vars(model)["origin"] = origin
    name_modules(model, family, origin.heads, rules)


def name_modules(model: Transformer, family: Family, heads: Mapping[str, Head], rules: Sequence[Rule]) -> None:
    """Tell a model what its modules are called in the class that these heads make, and where their rows lie there."""
    bare = "" if heads else family.prefix
    found = module_names(rules).items()
    model.hf_names = {path: (family.called(heads, name).removeprefix(bare), turned) for path, (name, turned) in found}
    model.hf_laid = module_rows(rules)


def start_of(model: Backbone) -> int | None:
    """The token with which the decoder begins to answer a source, as the model's file says; `None` where none says."""
    origin = origin_of(model)
    begins: int | None = getattr(model, "begins", None)  # one that is wrapped knows it itself
    return begins if origin is None else FAMILIES[origin.family].start(origin.said)
