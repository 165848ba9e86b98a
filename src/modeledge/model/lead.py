"""What stands before every example of a model and is given, not read.

Two kinds, and both may be there at once: vectors in the place of token embeddings (prompts), which run through all
layers as tokens do, and keys and values of every layer (prefixes), which nothing has computed and everything sees. They
stand in the order keys, vectors, tokens: the positions of the tokens count on behind them.

A model runs them by itself: it makes room before each example of a row, puts the vectors there, and gives back the
states of the tokens alone, at the places where they were asked for. So whoever fills rows, reads states or generates
need not know of them, and an example is the same packed and alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.model.batch import Batch, Side

Place: TypeAlias = Literal["encoder", "decoder", "cross"]  # over itself, or a decoder's over its source
TASK = "task"  # the label that says which of several tasks an example is of, by which leads may tell them apart


class Lead(nn.Module):
    """One method's part of what stands before an example: a subclass gives `vectors`, or `pairs`.

    `tokens` is how many vectors stand before the tokens of the side that is read first (an encoder's, where there is
    one), `keys` how many keys each layer sees before those of the tokens. With `leads` a head that reads the first
    state of an example reads that of the first vector.
    """

    tokens: int = 0
    keys: int = 0
    leads: bool = False

    def vectors(self) -> Tensor:
        """`[kinds, tokens, width of the table]`; examples may be of several kinds."""
        raise NotImplementedError

    def kinds(self, batch: Batch, side: Side) -> Tensor | None:
        """The kind of each token's example `[rows, seq]`; `None` where all are of the first."""
        return None

    def pairs(self, place: Place) -> Tensor | None:
        """Keys and values of one attention of each layer `[layers, 2, kv_heads, keys, head_width]`."""
        return None


@dataclass(frozen=True)
class Led:
    """A side as the model runs it. `column [rows, seq]` is where each of its tokens stands now, `slot [rows, wide]`
    which of the `vectors [n, width]` stands in a place, -1 for a token, `real [rows, seq]` which places are no padding;
    all `None` where nothing was put in."""

    side: Side
    column: Tensor | None = None
    slot: Tensor | None = None
    vectors: Tensor | None = None
    real: Tensor | None = None

    def put(self, embedded: Tensor) -> Tensor:
        """Embedded tokens `[rows, wide, width]` with the vectors in their places."""
        if self.slot is None or self.vectors is None:
            return embedded
        given = F.embedding(self.slot.clamp(min=0), self.vectors.to(embedded.dtype))
        return torch.where((self.slot >= 0)[..., None], given, embedded)

    def back(self, states: Tensor) -> Tensor:
        """States `[rows, wide, width]` → those of the tokens, `[rows, seq, width]`."""
        if self.column is None:
            return states
        return states.gather(1, self.column[..., None].expand(-1, -1, states.shape[-1]))

    def seen(self, weights: Tensor, over: Led, keys: int) -> Tensor:
        """Attention weights `[rows, heads, queries, keys]` of the tokens over the tokens of a side, which add up to
        less than 1: what falls on the vectors and on the `keys` that are given is left out."""
        weights = weights[..., keys:]
        for dim, column in ((2, self.column), (3, over.column)):
            if column is not None:
                shape = list(weights.shape)
                shape[dim] = column.shape[1]
                index = column[:, None, :, None] if dim == 2 else column[:, None, None, :]
                weights = weights.gather(dim, index.expand(shape))
        return weights if over.real is None else weights * over.real[:, None, None, :]


class Leads(nn.ModuleDict):
    """All that may stand before an example, by the name of its adapter. `active` names those that do, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.active: tuple[str, ...] = ()

    def acting(self) -> list[Lead]:
        """Those that stand there now."""
        return [lead for name in self.active if isinstance(lead := self[name], Lead)]

    @property
    def tokens(self) -> int:
        """How many vectors stand before each example."""
        return sum(lead.tokens for lead in self.acting())

    @property
    def keys_before(self) -> int:
        """How many keys each layer sees before those of an example."""
        return sum(lead.keys for lead in self.acting())

    def pairs(self, place: Place) -> Tensor | None:
        """Keys and values that are given to one attention of each layer `[layers, 2, kv_heads, keys, head_width]`."""
        found = [pairs for lead in self.acting() if lead.keys and (pairs := lead.pairs(place)) is not None]
        if not found:
            return None
        return found[0] if len(found) == 1 else torch.cat(found, 3)

    def before(self, batch: Batch, side: Side, *, first: bool, later: bool = False) -> Led:
        """A side with what stands before its examples; `first` says that it is the side that is read first, `later`
        that its examples have begun in a cache, so that only their positions count on."""
        acting = self.acting()
        if not acting:
            return Led(side)
        keys, tokens = self.keys_before, self.tokens if first else 0
        begins = later and tokens and bool(((side.segments > 0) & (side.positions == 0)).any())
        assert not begins, "an example begins at the first reading, so that what stands before it is in the cache"
        if later or not tokens:
            return Led(replace(side, positions=side.positions + (keys + tokens)))
        slots: list[tuple[Tensor, int]] = []
        tables: list[Tensor] = []
        for lead in acting:
            if lead.tokens:
                kinds, start = lead.kinds(batch, side), sum(map(len, tables))
                rows = torch.zeros_like(side.segments) if kinds is None else kinds * lead.tokens
                slots.append((rows + start, lead.tokens))
                tables.append(lead.vectors().flatten(0, 1))
        return _widened(side, slots, torch.cat(tables), keys, leads=any(lead.leads for lead in acting))


def _widened(side: Side, slots: list[tuple[Tensor, int]], vectors: Tensor, keys: int, *, leads: bool) -> Led:
    """The side with room before each example; free places in its rows are used up, so that rows in which room was
    kept do not grow. `slots` name for each lead the first row of `vectors` by token, and how many follow it."""
    segments, count = side.segments, sum(number for _, number in slots)
    rows, seq = segments.shape
    real = segments > 0
    begins = real & (segments != F.pad(segments, (1, 0))[:, :-1])
    column = real.long().cumsum(1) - 1 + count * begins.long().cumsum(1)
    wide = seq + count if side.whole else int(torch.where(real, column, 0).max()) + 1
    place = torch.where(real, column, wide)
    numbers = torch.arange(seq, device=segments.device).expand(rows, seq)
    origin = torch.full((rows, wide + 1), -1, device=segments.device).scatter(1, place, numbers)
    owner, slot = torch.zeros_like(origin), torch.full_like(origin, -1)
    row, first = begins.nonzero().unbind(1)
    at = column[row, first] - count
    for start, number in slots:
        steps = torch.arange(number, device=segments.device)
        where = (row[:, None], at[:, None] + steps)
        slot[where], owner[where] = start[row, first][:, None] + steps, first[:, None].expand(-1, number)
        at = at + number
    origin, owner, slot = origin[:, :wide], owner[:, :wide], slot[:, :wide]
    given = slot >= 0
    there = given | (origin >= 0)
    origin = torch.where(given, owner, origin.clamp(min=0))

    def spread(values: Tensor, vector: int | Tensor | None = None) -> Tensor:
        out = values.gather(1, origin)
        out = out if vector is None else torch.where(given, vector, out)
        return torch.where(there, out, torch.zeros_like(out))

    ahead = torch.arange(wide, device=segments.device) - _first_of(given, wide)
    moved = Side(
        spread(side.ids, 0),
        spread(side.positions) + keys + torch.where(given, ahead, count),
        spread(segments),
        None if side.prefix is None else spread(side.prefix),
        None if side.types is None else spread(side.types, 0),
        side.whole,
    )
    back = torch.where(real, column, 0)
    return Led(moved, torch.where(begins, column - count, back) if leads else back, slot, vectors, real)


def _first_of(given: Tensor, wide: int) -> Tensor:
    """For each place the first place of the run of vectors that it stands in."""
    numbers = torch.arange(wide, device=given.device).expand_as(given)
    starts = given & ~F.pad(given, (1, 0))[:, :-1]
    return torch.where(starts, numbers, 0).cummax(1).values
