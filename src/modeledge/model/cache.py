"""Keys and values of tokens already read, as a value: `forward` takes one and returns the next.

The buffers have a fixed capacity and are only ever appended to, so an older value stays a true prefix of a newer one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.batch import Side
from modeledge.model.config import TransformerConfig
from modeledge.model.pattern import Marks


@dataclass(frozen=True)
class Cache:
    """For each layer keys and values `[rows, capacity, kv_heads, head_width]`; marks `[rows, capacity]`.

    A token's heads lie together: a CPU reads the filled part of such a buffer up to twice as fast. A decoder that reads
    an encoder keeps each layer's keys and values of the source `[rows, kv_heads, seq, head_width]` in `sources`, and
    who is who there in `source`. The first `shared` of the keys (`source_shared` of the source's) were given and belong
    to no text. `begun_from` says which row of the first reading each row goes on from, and `line` is one object in all
    values that come from one empty cache.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    positions: Tensor
    segments: Tensor
    filled: int = 0
    whole: bool = True
    source: Marks | None = None
    source_whole: bool = True
    sources: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    shared: int = 0
    source_shared: int = 0
    begun_from: Tensor | None = None
    line: object = field(default_factory=object)

    @staticmethod
    def empty(
        config: TransformerConfig, rows: int, capacity: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> Cache:
        """A cache with room for `capacity` tokens a row."""
        stack = config.stack
        heads = stack.attention.kv_heads or stack.attention.heads
        head_width = stack.attention.head_width or config.width // stack.attention.heads
        shape = (rows, capacity, heads, head_width)

        def buffers() -> tuple[Tensor, ...]:
            return tuple(torch.zeros(shape, dtype=dtype, device=device) for _ in range(stack.layers))

        marks = torch.zeros(2, rows, capacity, dtype=torch.long, device=device)
        return Cache(buffers(), buffers(), marks[0], marks[1], begun_from=torch.arange(rows, device=device))

    @property
    def begun(self) -> bool:
        """Was anything read?"""
        return self.filled > 0

    def extended(self, side: Side, shared: int = 0) -> Cache:
        """The cache after the tokens of `side`: their marks are written, room for their keys and values is claimed. At
        the first reading also room for `shared` keys that are given before all others."""
        assert side.prefix is None or self.filled == 0, (
            "a prefix is read first: a cache does not remember which tokens stood in one"
        )
        shared = self.shared if self.begun else shared
        start = self.filled if self.begun else shared
        stop = start + side.ids.shape[1]
        if stop > self.positions.shape[1]:
            what = f"{stop} tokens do not fit a cache of {self.positions.shape[1]}"
            raise ModeledgeError("E-POSITION", what, remedy="ask for fewer new tokens")
        self.positions[:, :shared] = torch.arange(shared, device=self.positions.device)
        self.positions[:, start:stop] = side.positions
        self.segments[:, start:stop] = side.segments
        return replace(self, filled=stop, whole=self.whole and side.whole, shared=shared)

    def marks(self) -> Marks:
        """Positions and segments of everything read so far."""
        return Marks(self.positions[:, : self.filled], self.segments[:, : self.filled])

    def write(
        self, layer: int, key: Tensor, value: Tensor, given: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Append this layer's new keys and values `[rows, kv_heads, new, head_width]`; return all of them. Those that
        are `given` `[kv_heads, shared, head_width]` come first, at the first reading."""
        start = self.filled - key.shape[2]
        if given is not None and start == self.shared:
            self.keys[layer][:, :start] = given[0].transpose(0, 1)
            self.values[layer][:, :start] = given[1].transpose(0, 1)
        self.keys[layer][:, start : self.filled] = key.transpose(1, 2)
        self.values[layer][:, start : self.filled] = value.transpose(1, 2)
        keys, values = self.keys[layer][:, : self.filled], self.values[layer][:, : self.filled]
        return keys.transpose(1, 2), values.transpose(1, 2)

    def of_source(self, marks: Marks, whole: bool, shared: int = 0) -> Cache:
        """The cache of another source, of which it knows who is who, and no keys and values yet."""
        return replace(self, source=marks, source_whole=whole, source_shared=shared, sources={})

    def source_at(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of the source in this layer, once they were made."""
        return self.sources.get(layer)

    def keep_source(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Hold what this layer made of the source."""
        self.sources[layer] = (key, value)

    def rows(self, chosen: Tensor) -> Cache:
        """The cache of some rows alone (finished prompts leave the batch)."""
        return replace(
            self,
            keys=tuple(k[chosen] for k in self.keys),
            values=tuple(v[chosen] for v in self.values),
            positions=self.positions[chosen],
            segments=self.segments[chosen],
            begun_from=None if self.begun_from is None else self.begun_from[chosen],
            source=None if self.source is None else self.source.rows(chosen),
            sources={layer: (k[chosen], v[chosen]) for layer, (k, v) in self.sources.items()},
        )
