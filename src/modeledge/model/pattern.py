"""Who sees whom, as a symbolic value: it is turned into numbers only by the kernel that needs them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from modeledge.model.batch import Side


@dataclass(frozen=True)
class Marks:
    """What a pattern asks of one side: `positions`, `segments`, `prefix`, each `[rows, n]`; `steady` as in `Side`."""

    positions: Tensor
    segments: Tensor
    prefix: Tensor | None = None
    steady: bool = False

    @staticmethod
    def of(side: Side) -> Marks:
        return Marks(side.positions, side.segments, side.prefix, side.steady)

    def led(self, count: int) -> Marks:
        """The marks with those of `count` keys before them that belong to no text and stand at positions from 0."""
        if not count:
            return self
        rows, device = len(self.positions), self.positions.device
        before = torch.arange(count, device=device).expand(rows, count)
        none = torch.zeros_like(before)
        prefix = None if self.prefix is None else torch.cat((none.bool(), self.prefix), 1)
        positions, segments = torch.cat((before, self.positions), 1), torch.cat((none, self.segments), 1)
        return Marks(positions, segments, prefix)

    def rows(self, chosen: Tensor) -> Marks:
        """The marks of some rows alone."""
        return Marks(
            self.positions[chosen],
            self.segments[chosen],
            None if self.prefix is None else self.prefix[chosen],
            self.steady,
        )


@dataclass(frozen=True)
class Pattern:
    """Query i sees key j when they are of one segment (or j is shared), and the direction and the window allow it.

    In full: (segment_i = segment_j ≠ 0, or j is the padding token i itself), and (not `causal`, or position_j ≤
    position_i, or both stand in the prefix), and |position_i − position_j| < `window`; the first `shared` keys belong
    to no text and are seen by every query but padding, whatever direction and window say. The queries are the last
    ones of the keys where the two differ (a cache); with `cross` they stand on another side than the keys, where an
    example has the same number, and padding sees nothing. `whole` promises one full segment a row.
    """

    causal: bool
    window: int | None
    queries: Marks
    keys: Marks
    shared: int = 0
    whole: bool = False
    cross: bool = False
    _made: dict[tuple[torch.dtype, int], Tensor] = field(default_factory=dict, compare=False, repr=False)
    _scored: dict[tuple[torch.dtype, bool], tuple[Tensor, Tensor]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def open(self) -> bool:
        """True where every query sees every key, known without looking at a tensor."""
        one_query = self.queries.positions.shape[1] == 1
        return self.whole and self.window is None and (not self.causal or one_query)

    def allowed(self) -> Tensor:
        """The pattern written out: bool `[rows, queries, keys]` (one row where all rows are alike)."""
        queries, keys = self.queries, self.keys
        rows = slice(0, 1) if self.whole and queries.prefix is None else slice(None)
        position_i, position_j = queries.positions[rows, :, None], keys.positions[rows, None, :]
        segment_i, segment_j = queries.segments[rows, :, None], keys.segments[rows, None, :]
        count_i, count_j = position_i.shape[1], position_j.shape[2]
        number = torch.arange(count_j, device=position_j.device)
        sees = (segment_i == segment_j) & (segment_i != 0)
        if not self.cross:
            itself = number[None, :] == (number[count_j - count_i :])[:, None]
            sees = sees | (itself & (segment_i == 0))
        if self.causal:
            before = position_j <= position_i
            if queries.prefix is not None and keys.prefix is not None:
                before = before | (queries.prefix[rows, :, None] & keys.prefix[rows, None, :])
            sees = sees & before
        if self.window is not None:
            sees = sees & ((position_i - position_j).abs() < self.window)
        if self.shared:
            sees = sees | ((number < self.shared) & (segment_i != 0))
        return sees

    def bias(self, dtype: torch.dtype, heads: int) -> Tensor | None:
        """What is added to the scores: 0 or a large negative number, `[1 or rows · heads, queries, keys]`.

        The number is finite, so that a row which sees nothing yields no NaN. Made once a forward pass, kept for all
        layers of the same pattern.
        """
        if self.open:
            return None
        key = (dtype, heads)
        if key not in self._made:
            sees = self.allowed()
            bias = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
            bias.masked_fill_(~sees, torch.finfo(dtype).min / 2)
            self._made[key] = bias if len(bias) == 1 else bias.repeat_interleave(heads, 0)
        return self._made[key]

    def scored(self, score: Tensor, dtype: torch.dtype, *, dense: bool, keep: bool = False) -> Tensor:
        """The same with `score` `[1 or rows, heads, queries, keys]` added: of that shape, or `dense`ly written out for
        `[rows · heads, queries, keys]`.

        With `keep` it is made once for all layers that ask, so that its gradient is summed over rows once. It must be
        kept before the first layer: one that is computed again for the backward pass has to find what it found before.
        """
        kept = self._scored.get((dtype, dense))
        if kept is not None and kept[0] is score:
            return kept[1]
        bias, rows = self.bias(dtype, 1), len(self.queries.positions)
        made = score.to(dtype) if bias is None else score.to(dtype) + bias[:, None]
        made = made.expand(rows, *made.shape[1:]).flatten(0, 1) if dense else made
        if keep:
            self._scored[dtype, dense] = (score, made)
        return made
