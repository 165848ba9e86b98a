"""Several prepared texts as one example: they share a row and an index, and none sees another.

What two objectives make of one example stands in two parts of it, told apart as the alternatives of a multiple choice
are (`Piece.breaks`): positions begin anew in each, and attention does not cross. So a body reads both in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.records import AnyArray, Piece, Prepared


def join(index: int, items: Sequence[Prepared]) -> Prepared:
    """One `Prepared` out of several on the same sides; names that several have are put one behind the other.

    Raises `E-CONFIG` for heads that read an example as a whole: they would read all parts as one. A head may read
    several places for each of its labels, under names that begin with its own ("sbo.left").
    """
    for item in items:
        for name in item.weights:
            if any(read == name or read.startswith(f"{name}.") for read in item.reads):
                continue
            what = f"{name!r} is learned from an example as a whole, which cannot be joined with another"
            raise ModeledgeError("E-CONFIG", what, remedy="let the objectives alternate")
    both = any(item.target is not None for item in items)
    lengths = [item.lengths()[both] for item in items]
    starts = np.cumsum([0, *lengths[:-1]])
    return Prepared(
        index,
        source=_joined([item.source for item in items], index),
        target=_joined([item.target for item in items], index),
        reads=_values([{n: at + s for n, at in item.reads.items()} for item, s in zip(items, starts, strict=True)]),
        labels=_values([item.labels for item in items]),
        weights=_values([item.weights for item in items]),
    )


def renamed(item: Prepared, name: str, *, empty: bool = False) -> Prepared:
    """The example with "name." before all its names; with `empty` the names alone, nothing to read or to learn."""
    cut = slice(0, 0) if empty else slice(None)
    fields = {f: {f"{name}.{n}": v[cut] for n, v in getattr(item, f).items()} for f in ("reads", "labels", "weights")}
    return Prepared(item.index, item.source, item.target, **fields)


def merged(chosen: Prepared, others: Sequence[Prepared]) -> Prepared:
    """The chosen one's pieces, with the names of all."""
    items = (chosen, *others)
    fields = {f: _values([getattr(item, f) for item in items]) for f in ("reads", "labels", "weights")}
    return Prepared(chosen.index, chosen.source, chosen.target, **fields)


def _values(parts: Sequence[Mapping[str, AnyArray]]) -> dict[str, AnyArray]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}


def _joined(pieces: Sequence[Piece | None], index: int) -> Piece | None:
    there = [piece for piece in pieces if piece is not None]
    if not there:
        return None
    if len(there) < len(pieces):
        what = "one objective reads an encoder's text, another a decoder's alone"
        raise ModeledgeError("E-CONFIG", what, where=f"example {index}", remedy="blend objectives of one body")
    starts = np.cumsum([0, *(len(piece.ids) for piece in there)])
    breaks = [s + b for s, piece in zip(starts, there, strict=False) for b in (0, *piece.breaks)]
    return Piece(
        np.concatenate([piece.ids for piece in there]),
        _marks([piece.types for piece in there], there, np.int64),
        _marks([piece.prefix for piece in there], there, np.bool_),
        tuple(int(place) for place in breaks[1:]),
    )


def _marks(marks: Sequence[AnyArray | None], pieces: Sequence[Piece], dtype: type) -> AnyArray | None:
    """Marks of all pieces; zeros for those that have none."""
    if all(mark is None for mark in marks):
        return None
    filled = [np.zeros(len(p.ids), dtype) if m is None else m for m, p in zip(marks, pieces, strict=True)]
    return np.concatenate(filled)
