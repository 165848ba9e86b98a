"""What is wrong with a checkpoint, found before a weight is read: names, layers, ids, dtypes, parts without a name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

import torch

from modeledge.errors import ModeledgeError
from modeledge.families.family import blank
from modeledge.families.fill import listing
from modeledge.families.rules import Rule, allowed, needed
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import Head

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_names(rules: Sequence[Rule], names: Mapping[str, str]) -> None:
    """Refuse missing and unexpected tensors, with both lists and the nearest names (`E-KEYS`).

    `names` maps the canonical names that are there to those of the file.
    """
    missing = [name for name in needed(rules) if name not in names]
    known = allowed(rules)
    extra = [names[name] for name in names if name not in known]
    if not missing and not extra:
        return
    parts = []
    if missing:
        parts.append(f"missing: {listing([_beside(name, extra) for name in missing])}")
    if extra:
        parts.append(f"unexpected: {listing([_beside(name, missing) for name in extra])}")
    raise ModeledgeError(
        "E-KEYS", "; ".join(parts), why="a model with other weights than its file says is another model"
    )


def check_depth(config: TransformerConfig, count: int) -> None:
    """Refuse a configuration with more layers than there are tensors, before anything is built (`E-KEYS`)."""
    stacks = [s for s in (config.encoder, config.decoder) if s is not None and not s.share]
    layers = max((stack.layers for stack in stacks), default=0)
    if layers > count:
        what = f"the configuration says {layers:,} layers, the file has {count:,} tensors"
        raise ModeledgeError("E-KEYS", what)


def check_vocabulary(config: TransformerConfig, ids: int | None) -> None:
    """Refuse a tokenizer in the same folder that has more ids than the model (`E-VOCAB-SIZE`)."""
    if ids is not None and ids > config.table.vocab:
        what = f"the tokenizer has {ids:,} ids, the model {config.table.vocab:,} rows"
        raise ModeledgeError("E-VOCAB-SIZE", what)


def check_dtypes(dtypes: Mapping[str, torch.dtype]) -> None:
    """Refuse weights that are not floating-point numbers (`E-KEYS`): quantised files hold other things than weights."""
    wrong = [f"{name} is {dtype}" for name, dtype in dtypes.items() if dtype not in FLOATS]
    if wrong:
        remedy = "use the checkpoint as it was before quantisation"
        raise ModeledgeError("E-KEYS", f"not a weight: {listing(wrong)}", remedy=remedy)


def check_writable(ours: Collection[str], config: TransformerConfig, heads: Mapping[str, Head]) -> None:
    """Refuse a model with parts that its configuration does not name, as adapters are (`E-OUTSIDE-FAMILY`)."""
    wanted = blank(config, heads).state_dict().keys()
    if wanted != set(ours):
        odd = sorted(set(ours) ^ wanted)
        what = f"the model has other weights than its configuration says: {listing(odd)}"
        raise ModeledgeError("E-OUTSIDE-FAMILY", what, remedy="merge or detach adapters first")


def _beside(name: str, others: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, others[:200], n=1, cutoff=0.8)
    return f"{name} (nearest: {close[0]})" if close else name
