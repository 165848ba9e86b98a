"""Packed rows for a model that knows no segments.

Our rows hold several examples, told apart by their segment numbers. A model that is wrapped has one example a row, with
padding on the right and an attention mask. So rows are unpacked, read, and the states put back where their tokens
stand: packing changes nothing, and saves nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.batch import Side


@dataclass(frozen=True)
class Rows:
    """One example a row: ids `[examples, longest]`, where there is padding a mask (1: a token), and token types."""

    ids: Tensor
    mask: Tensor | None = None
    types: Tensor | None = None


@dataclass(frozen=True)
class Layout:
    """Where the examples of packed rows `shape` lie: for each token its flat `place`, its `example` and its number
    `within` it; for each example its `name` (row and segment) and its length."""

    shape: tuple[int, int]
    place: Tensor
    example: Tensor
    within: Tensor
    names: Tensor
    lengths: Tensor

    @staticmethod
    def of(side: Side) -> Layout:
        """Examples in the order of rows and segments. Positions that do not count from 0, and a prefix, are `E-USAGE`:
        the model that is wrapped counts for itself, and knows one direction."""
        rows, seq = side.segments.shape
        segments = side.segments.reshape(-1)
        place = (segments > 0).nonzero().squeeze(1)
        row = torch.div(place, seq, rounding_mode="floor")
        names, example = torch.unique(row * (seq + 1) + segments[place], return_inverse=True)
        lengths = torch.bincount(example, minlength=len(names))
        order = torch.argsort(example, stable=True)
        first = torch.cumsum(lengths, 0) - lengths
        within = torch.empty_like(example)
        within[order] = torch.arange(len(example), device=example.device) - first[example[order]]
        if not torch.equal(side.positions.reshape(-1)[place], within):
            raise ModeledgeError("E-USAGE", "a model that is wrapped counts positions from 0 in each example")
        if side.prefix is not None:
            raise ModeledgeError("E-USAGE", "a model that is wrapped reads no prefix both ways")
        return Layout((rows, seq), place, example, within, names, lengths)

    def unpacked(self, side: Side, pad: int) -> Rows:
        """The side's examples, one a row, padded on the right with `pad`."""
        count, longest = len(self.names), int(self.lengths.max())

        def spread(values: Tensor, fill: int) -> Tensor:
            out = torch.full((count, longest), fill, dtype=values.dtype, device=values.device)
            out[self.example, self.within] = values.reshape(-1)[self.place]
            return out

        whole = bool((self.lengths == longest).all())
        mask = torch.arange(longest, device=self.lengths.device) < self.lengths[:, None]
        types = None if side.types is None else spread(side.types, 0)
        return Rows(spread(side.ids, pad), None if whole else mask.to(side.ids.dtype), types)

    def packed(self, states: Tensor) -> Tensor:
        """States `[examples, longest, width]` → `[rows, seq, width]`, zero where there is no token."""
        flat = states.new_zeros(self.shape[0] * self.shape[1], states.shape[-1])
        return flat.index_copy(0, self.place, states[self.example, self.within]).view(*self.shape, -1)


def chosen(rows: Rows, examples: Tensor, length: int) -> Rows:
    """Some examples, all of one length: nothing is padded."""
    types = None if rows.types is None else rows.types[examples, :length]
    return Rows(rows.ids[examples, :length], None, types)


def alike(layouts: list[Layout]) -> list[Tensor]:
    """The examples in groups that have the same length on each side."""
    lengths = torch.stack([layout.lengths for layout in layouts], 1)
    kinds, group = torch.unique(lengths, dim=0, return_inverse=True)
    return [(group == number).nonzero().squeeze(1) for number in range(len(kinds))]


@dataclass(frozen=True)
class Reading:
    """What a body gives for examples one a row, `[examples, longest, width]` each: its last states and all layers', and
    those of the encoder that a decoder reads."""

    last: Tensor
    layers: tuple[Tensor, ...] = ()
    encoder: Tensor | None = None
    below: tuple[Tensor, ...] = ()

    @staticmethod
    def joined(readings: list[Reading], groups: list[Tensor], layouts: list[Layout]) -> Reading:
        """Readings of groups of examples as one."""

        def whole(pieces: list[Tensor], layout: Layout) -> Tensor:
            shape = (len(layout.names), int(layout.lengths.max()), pieces[0].shape[-1])
            out = pieces[0].new_zeros(shape)
            for piece, examples in zip(pieces, groups, strict=True):
                out[examples, : piece.shape[1]] = piece
            return out

        def every(name: str, layout: Layout) -> tuple[Tensor, ...]:
            return tuple(whole(list(p), layout) for p in zip(*(getattr(r, name) for r in readings), strict=True))

        encoders = [r.encoder for r in readings if r.encoder is not None]
        return Reading(
            whole([r.last for r in readings], layouts[-1]),
            every("layers", layouts[-1]),
            whole(encoders, layouts[0]) if encoders else None,
            every("below", layouts[0]),
        )
