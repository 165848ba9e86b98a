"""A model filled with weights, a tensor at a time.

At the peak there is the model and one tensor more: what is read from a file in the model's own dtype and order stays
where it was read, the rest is copied and let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError, printable
from modeledge.families.family import blank
from modeledge.families.rules import Rule, moved
from modeledge.families.weights import OnDisk
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.transformer import Transformer

LISTED = 8


def outlines(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names, shapes and dtypes without the numbers."""
    if isinstance(theirs, OnDisk):
        return theirs.outlines()
    return {name: tensor.to("meta") for name, tensor in theirs.items()}


def build(
    config: TransformerConfig, heads: Mapping[str, Head], rules: Sequence[Rule], theirs: Mapping[str, Tensor]
) -> Transformer:
    """A model with these weights. Shapes are compared before any memory is asked for.

    `theirs` has canonical names. Raises `E-VOCAB-SIZE`, `E-KEYS`.
    """
    model = blank(config, heads)
    shapes = {name: shape for part in moved(rules, outlines(theirs)) for name, shape in part.items()}
    check_shapes(model.state_dict(), shapes)
    dtype = torch.float64 if any(s.dtype is torch.float64 for s in shapes.values()) else torch.float32
    model.compute = dtype
    fresh = isinstance(theirs, OnDisk)  # what was read for us alone may be kept
    ours = {n: settled(t, dtype, keep=fresh) for part in moved(rules, theirs) for n, t in part.items()}
    model.load_state_dict(ours, assign=True)
    return model


def settled(tensor: Tensor, dtype: torch.dtype, *, keep: bool) -> Tensor:
    """A tensor as a weight: in the dtype, its elements in order, alone in its storage. With `keep` it may be itself."""
    alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    if keep and alone and tensor.dtype == dtype:
        return tensor
    return torch.empty(tensor.shape, dtype=dtype).copy_(tensor)


def check_shapes(wanted: Mapping[str, Tensor], shapes: Mapping[str, Tensor]) -> None:
    """Refuse weights of other shapes than the configuration says (`E-VOCAB-SIZE`, `E-KEYS`)."""
    rows = len(wanted["tokens"]) if "tokens" in wanted else 0
    if rows and shapes["tokens"].ndim == 2 and len(shapes["tokens"]) != rows:
        what = f"the configuration says {rows:,} ids, the embedding has {len(shapes['tokens']):,} rows"
        raise ModeledgeError("E-VOCAB-SIZE", what, remedy="restore the vocab_size that belongs to these weights")
    wrong = [
        f"{name} is {list(shapes[name].shape)} and must be {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if shapes[name].shape != tensor.shape
    ]
    if wrong:
        raise ModeledgeError("E-KEYS", f"wrong shapes: {listing(wrong)}", why="configuration and weights disagree")


def listing(words: Sequence[str]) -> str:
    """The first few of many words, safe for a terminal."""
    shown = ", ".join(printable(word) for word in words[:LISTED])
    return shown + (f" and {len(words) - LISTED} more" if len(words) > LISTED else "")
