"""Prepared examples → rows: the one collate of every objective, run after the noise (which may change lengths)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modeledge.corpus.pack import choose_capacity, plan_rows, plan_rows_two
from modeledge.errors import ModeledgeError
from modeledge.model.batch import Batch, Side
from modeledge.records import AnyArray, Piece, Prepared


@dataclass(frozen=True)
class Shape:
    """How rows are filled: `seq` tokens at most; `tight` lets a batch choose narrower rows; `reserve` positions are
    kept free before each example (prefix tuning); `packed=False` gives each example a row of its own."""

    seq: int
    tight: bool = True
    packed: bool = True
    reserve: int = 0


def plan(prepared: Sequence[Prepared], shape: Shape) -> tuple[list[list[int]], int]:
    """Which examples share a row, and the width of the rows: a pure function of the examples' lengths."""
    assert prepared, "a batch holds at least one example"
    for side, sides in (("source", [p.source for p in prepared]), ("target", [p.target for p in prepared])):
        empty = [p.index for p, piece in zip(prepared, sides, strict=True) if piece is not None and not len(piece.ids)]
        if empty:
            what, remedy = f"its {side} has no token", "drop it, or mend its text"
            raise ModeledgeError("E-NO-TARGET", what, where=f"example {empty[0]}", remedy=remedy)
    lengths = [max(p.lengths()) + shape.reserve for p in prepared]
    longest = max(lengths)
    if longest > shape.seq:
        which = prepared[lengths.index(longest)].index
        raise ModeledgeError(
            "E-TOO-LONG", f"{longest} tokens do not fit a row of {shape.seq}", where=f"example {which}"
        )
    if not shape.packed:
        return [[i] for i in range(len(prepared))], longest if shape.tight else shape.seq
    width = choose_capacity(lengths, shape.seq) if shape.tight else shape.seq
    if all(p.source is not None and p.target is not None for p in prepared):
        counts = [[p.lengths()[side] + shape.reserve for p in prepared] for side in (0, 1)]
        return plan_rows_two(counts[0], counts[1], width, width), width
    return plan_rows(lengths, width), width


def collate(prepared: Sequence[Prepared], shape: Shape, *, place: Mapping[str, Any] | None = None) -> Batch:
    """Fill rows with examples. Reads become flat positions (row · width + column) on the side that the heads read."""
    rows, width = plan(prepared, shape)
    return fill(prepared, rows, width, reserve=shape.reserve, narrow=shape.tight, place=place)


def fill(
    prepared: Sequence[Prepared],
    rows: Sequence[Sequence[int]],
    width: int,
    *,
    reserve: int = 0,
    narrow: bool = False,
    place: Mapping[str, Any] | None = None,
) -> Batch:
    """The batch of the named rows alone: a rank or a micro-batch collates its share of the plan.

    Where there are two sides, `narrow` makes each as wide as its own fullest row and not as the plan: of 512 inputs
    T5's span corruption makes 114 targets.
    """
    order = [(row, example) for row, members in enumerate(rows) for example in members]
    sources = [(row, prepared[i].source) for row, i in order]
    targets = [(row, prepared[i].target) for row, i in order]
    two = narrow and all(p.source is not None and p.target is not None for p in (prepared[i] for _, i in order))
    widths = [_fullest(side, len(rows), width, reserve) if two else width for side in (sources, targets)]
    source, source_starts = _side(sources, len(rows), widths[0], reserve)
    target, target_starts = _side(targets, len(rows), widths[1], reserve)
    starts, side = (target_starts, 1) if target is not None else (source_starts, 0)
    chosen = [prepared[i] for _, i in order]
    spans = [(row, s, s + p.lengths()[side]) for (row, _), s, p in zip(order, starts, chosen, strict=True)]
    offsets = np.array([row * widths[side] + start for row, start, _ in spans], dtype=np.int64)
    reads: dict[str, Tensor] = {}
    for name in _names(chosen, "reads"):
        reads[name] = _joined([p.reads[name] + o for p, o in zip(chosen, offsets, strict=True)])
    labels = {name: _joined([p.labels[name] for p in chosen]) for name in _names(chosen, "labels")}
    weights = {name: _joined([p.weights[name] for p in chosen]).float() for name in _names(chosen, "weights")}
    indices = torch.tensor([p.index for p in chosen], dtype=torch.long)
    return Batch(
        source, target, torch.tensor(spans, dtype=torch.long), reads, labels, weights, indices, dict(place or {})
    )


def _fullest(pieces: Sequence[tuple[int, Piece | None]], rows: int, width: int, reserve: int) -> int:
    """The tokens of the fullest row, to the next multiple of 8 (kernels like it), at most `width`."""
    used = [0] * rows
    for row, piece in pieces:
        used[row] += reserve + (0 if piece is None else len(piece.ids))
    return min(-(-max(used) // 8) * 8, width)


def _side(
    pieces: Sequence[tuple[int, Piece | None]], rows: int, width: int, reserve: int
) -> tuple[Side | None, list[int]]:
    """One stack's rows and where each example starts in its row."""
    if all(piece is None for _, piece in pieces):
        return None, []
    positions, segments, types = (np.zeros((rows, width), dtype=np.int64) for _ in range(3))
    ids = empty_ids([piece for _, piece in pieces if piece is not None], rows, width)
    prefix = np.zeros((rows, width), dtype=np.bool_)
    used, members = [0] * rows, [0] * rows
    starts: list[int] = []
    for row, piece in pieces:
        assert piece is not None, "all examples of a batch have the same sides"
        start = used[row] + reserve
        stop = start + len(piece.ids)
        where = (row, slice(start, stop))
        ids[where] = piece.ids
        for first, last in pairwise((0, *piece.breaks, len(piece.ids))):
            members[row] += 1
            part = (row, slice(start + first, start + last))
            segments[part], positions[part] = members[row], piece.begins + np.arange(last - first)
        if piece.types is not None:
            types[where] = piece.types
        if piece.prefix is not None:
            prefix[where] = piece.prefix
        starts.append(start)
        used[row] = stop
    has_prefix, has_types = (
        any(getattr(piece, name) is not None for _, piece in pieces) for name in ("prefix", "types")
    )
    whole = max(members) == 1 and min(used) == width and reserve == 0
    return Side(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(segments),
        torch.from_numpy(prefix) if has_prefix else None,
        torch.from_numpy(types) if has_types else None,
        whole,
        steady=True,
    ), starts


def empty_ids(pieces: Sequence[Piece], rows: int, width: int) -> AnyArray:
    """Padding for token ids `[rows, width]`, or for patches of pictures `[rows, width, dim]` in their own dtype."""
    dims = {piece.ids.shape[1:] for piece in pieces}
    assert len(dims) == 1, "all examples of a batch are texts, or pictures in patches of one size"
    floats = {piece.ids.dtype for piece in pieces if piece.ids.ndim > 1}
    return np.zeros((rows, width, *dims.pop()), dtype=np.result_type(*floats) if floats else np.int64)


def _names(prepared: Sequence[Prepared], field: str) -> list[str]:
    names = set(getattr(prepared[0], field))
    assert all(set(getattr(p, field)) == names for p in prepared), f"all examples of a batch have the same {field}"
    return sorted(names)


def _joined(parts: Sequence[AnyArray]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.concatenate(parts)))
