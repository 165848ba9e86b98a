"""Examples of several parts: the alternatives of a choice, the two orders of a pair.

A part is a text of its own, with positions from 0, that sees nothing of the others (`Piece.breaks`). They stand in one
example because they share one label: the objective reads each part and joins what the head says. A batch tells where
parts begin in `reads[name]`; where each ends follows, because the parts of an example lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modeledge.model.batch import Batch
from modeledge.model.heads import pooled
from modeledge.records import AnyArray, FloatArray, IntArray, Piece

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Laid:
    """A run of ids with their token type; `text` says whether it is of a text, or special tokens around it."""

    ids: Sequence[int] | IntArray
    type: int
    text: bool = False


def joined(parts: Sequence[Sequence[Laid]], types: bool) -> tuple[Piece, Bools]:
    """The piece of several parts, and which of its ids `[n]` are of a text; with `types` their token types, too."""
    runs = [run for part in parts for run in part]
    ids = np.concatenate([np.asarray(run.ids, dtype=np.int64) for run in runs])
    told = np.concatenate([np.full(len(run.ids), run.type, dtype=np.int64) for run in runs]) if types else None
    text = np.concatenate([np.full(len(run.ids), run.text) for run in runs])
    ends = np.cumsum([sum(len(run.ids) for run in part) for part in parts])
    return Piece(ids, told, breaks=tuple(int(end) for end in ends[:-1])), text


def next_tokens(piece: Piece, text: Bools) -> tuple[dict[str, IntArray], dict[str, AnyArray], dict[str, FloatArray]]:
    """What an auxiliary language model learns of a piece: each token of a text from the one before it in its part."""
    begins = np.zeros(len(text), dtype=np.bool_)
    begins[[0, *piece.breaks]] = True
    learned = np.flatnonzero(text & ~begins)
    ids: Any = piece.ids
    return {"lm": learned - 1}, {"lm": ids[learned]}, {"lm": np.ones(len(learned), dtype=np.float32)}


def parted(batch: Batch, name: str) -> tuple[Batch, Tensor]:
    """The batch with the spans of parts `[parts, 3]` in the place of those of examples, and whose each is `[parts]`."""
    starts, seq = batch.reads[name], batch.side.positions.shape[1]
    row, start, end = batch.spans.unbind(1)
    owner = torch.searchsorted(row * seq + start, starts, right=True) - 1
    ends = (row * seq + end)[owner]
    inner = owner[1:] == owner[:-1]
    ends[:-1] = torch.where(inner, starts[1:], ends[:-1])
    base = row[owner] * seq
    return replace(batch, spans=torch.stack((row[owner], starts - base, ends - base), 1)), owner


def read_by(head: Any, states: Tensor, batch: Batch, name: str) -> Tensor:
    """What a head says of each example; of one in several parts it reads the sum of their vectors, element by element.

    States `[rows, seq, width]` → `[examples, …]`.
    """
    if name not in batch.reads:
        return head(states, batch)  # type: ignore[no-any-return]
    parts, owner = parted(batch, name)
    vectors = pooled(states, parts, head.spec.pool)
    sums = vectors.new_zeros(len(batch.spans), vectors.shape[1]).index_add(0, owner, vectors)
    alone = torch.arange(len(sums), device=sums.device)
    spans = torch.stack((alone, torch.zeros_like(alone), torch.ones_like(alone)), 1)
    return head(sums[:, None], replace(batch, spans=spans))  # type: ignore[no-any-return]
