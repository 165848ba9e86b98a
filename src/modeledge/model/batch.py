"""What a step computes on: rows filled with several examples each, told apart by their segment numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """One stack's input. All tensors are `[rows, seq]`, but for patches of pictures: these are `[rows, seq, dim]` in
    the place of ids.

    `positions` restart at 0 in each segment. `segments` number the examples of a row from 1; 0 is padding, which sees
    itself alone. `prefix` marks tokens that are read both ways in a causal stack; `types` are token type ids. `whole`
    promises that every row is one full segment, so that no mask need be built; `steady` that each segment is one run of
    columns in which positions rise by one, so that two of its tokens are as far apart as their columns.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    prefix: Tensor | None = None
    types: Tensor | None = None
    whole: bool = False
    steady: bool = False

    @staticmethod
    def of(ids: Tensor, lengths: Tensor | None = None) -> Side:
        """One example a row: ids `[rows, seq]` (patches `[rows, seq, dim]`), each row's first `lengths[row]` tokens
        being real."""
        positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape[:2])
        if lengths is None:
            return Side(ids, positions, torch.ones_like(positions), whole=True, steady=True)
        return Side(ids, positions, (positions < lengths[:, None]).long(), steady=True)


@dataclass(frozen=True)
class Batch:
    """Everything a step needs, and nothing that asks for a loss, a tokenizer or a trainer.

    `spans [examples, 3]` holds row, start and end of each example on the side that the heads read. `reads[name] [n]`
    are flat positions (`row * seq + column`) that head `name` looks at; `labels[name]` and `weights[name]` stand beside
    them. `indices [examples]` are the global example numbers, `place` the stream's state after this batch.
    """

    source: Side | None = None
    target: Side | None = None
    spans: Tensor = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.long))
    reads: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    indices: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    place: Mapping[str, Any] = field(default_factory=dict)

    @property
    def side(self) -> Side:
        """The side that the heads read: the decoder's where there is one."""
        side = self.target if self.target is not None else self.source
        assert side is not None, "a batch has at least one side"
        return side

    @property
    def tokens(self) -> int:
        """Real tokens on both sides, padding not counted."""
        return sum(int((s.segments > 0).sum()) for s in (self.source, self.target) if s is not None)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return replace(self, **{f.name: moved(getattr(self, f.name), device) for f in fields(self)})


def moved(value: Any, device: torch.device | str) -> Any:
    """Tensors on another device, inside sides and mappings too; other values as they are."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Side):
        return replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value)})
    if isinstance(value, Mapping):
        return {k: moved(v, device) for k, v in value.items()}
    return value
