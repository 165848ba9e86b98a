"""The one transformer: a batch in, states out. It knows no loss, no tokenizer, no trainer and no adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.batch import Batch, Side
from modeledge.model.block import Tower
from modeledge.model.cache import Cache
from modeledge.model.config import TransformerConfig
from modeledge.model.draw import Draw, dropped
from modeledge.model.heads import Head
from modeledge.model.init import initialise
from modeledge.model.linear import build_norm
from modeledge.model.sites import Site, find_sites
from modeledge.seed import Noise


@dataclass(frozen=True)
class Keep:
    """What a forward pass should hold beside the last states: all layers' states, the attention weights."""

    layers: bool = False
    attention: bool = False


@dataclass(frozen=True)
class States:
    """What a forward pass returns; only what `Keep` asked for is held.

    `last [rows, seq, width]`; `layers`: the embeddings and each layer's output (the last one normed); `attention`: each
    layer's weights `[rows, heads, queries, keys]`; `cache`: the next one, where one was given.
    """

    last: Tensor
    encoder: Tensor | None = None
    layers: tuple[Tensor, ...] = ()
    attention: tuple[Tensor, ...] = ()
    cache: Cache | None = None


@dataclass(frozen=True)
class Start:
    """States that were computed before, `[rows, seq, width]`: those that enter block `layer` (0: the embeddings)."""

    states: Tensor
    layer: int


class EmbedDropout(nn.Module):
    """Dropout on the embeddings: a module of its own, so that frozen embeddings can be in eval mode by themselves."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, states: Tensor, draw: Draw) -> Tensor:
        """Embedded tokens `[rows, seq, width]` → the same shape."""
        return dropped(states, draw.mask(states, self.rate, "embed") if self.training else None)


class Transformer(nn.Module):
    """An encoder or a decoder over token embeddings, with named heads.

    Parameters are fp32 masters; `compute` is the dtype of the states and of all products. Fresh weights are a function
    of (seed, parameter name).
    """

    def __init__(self, config: TransformerConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.compute = torch.float32
        self.hf_names: dict[str, tuple[str, bool]] = {}
        stack, embed = config.stack, config.embed
        self.tokens = nn.Parameter(torch.empty(embed.vocab, config.width))
        self.types = nn.Parameter(torch.empty(embed.types, config.width)) if embed.types else None
        self.embed_norm = build_norm(stack.norm.kind, config.width, stack.norm.eps) if embed.norm else None
        self.embed_dropout = EmbedDropout(stack.dropout.embed)
        self.tower = Tower(stack, config.width, causal=config.decoder is not None)
        self.heads = nn.ModuleDict()
        initialise(self, Noise(seed), std=config.init, layers=stack.layers)

    def forward(
        self,
        batch: Batch,
        cache: Cache | None = None,
        keep: Keep = Keep(),
        start: Start | None = None,
    ) -> States:
        """Run the tower over the batch's side; with a cache, the side holds only the new tokens.

        With a `start` the embeddings and the blocks before it are not run, and `layers` begins at its states.
        """
        assert cache is None or start is None, "a cache holds the keys of every layer; a start skips some"
        side, draw = batch.side, Draw.current(self.training)
        cache = None if cache is None else cache.extended(side)
        layers: list[Tensor] | None = [] if keep.layers else None
        weights: list[Tensor] | None = [] if keep.attention else None
        first = 0 if start is None else start.layer
        states = self._embed(side, draw) if start is None else start.states.to(self.compute)
        last = self.tower(states, side, draw, cache, layers, weights, first)
        encoder = last if self.config.encoder is not None else None
        return States(last, encoder, tuple(layers or ()), tuple(weights or ()), cache)

    def states_at(self, batch: Batch, layer: int) -> Tensor:
        """The states that enter block `layer`, `[rows, seq, width]`; those of the last layer are not normed yet."""
        side, draw = batch.side, Draw.current(self.training)
        return self.tower.through(self._embed(side, draw), side, draw, range(layer))

    def _embed(self, side: Side, draw: Draw) -> Tensor:
        assert side.types is None or self.types is not None, "the model has no token types"
        states = F.embedding(side.ids, self.tokens)
        if self.types is not None:
            states = states + (self.types[0] if side.types is None else F.embedding(side.types, self.types))
        states = self.tower.position.embed(states, side.positions)
        if self.embed_norm is not None:
            states = self.embed_norm(states)
        embedded: Tensor = self.embed_dropout(states.to(self.compute), draw)
        return embedded

    def add_heads(self, heads: Mapping[str, Head], noise: Noise) -> None:
        """Add the heads that are not there yet, freshly drawn; a head that is there is kept as it is."""
        for name, head in heads.items():
            if name not in self.heads:
                module = head.build(self.config).to(self.tokens.device)
                initialise(
                    module, noise, std=self.config.init, layers=self.config.stack.layers, prefix=f"heads.{name}."
                )
                self.heads[name] = module

    def logits(self, states: Tensor, head: str = "lm") -> Tensor:
        """Scores over the vocabulary `[..., vocab]` for states `[..., width]`."""
        return self.heads[head](states, self.tokens)  # type: ignore[no-any-return]

    def sites(self, kind: str) -> Sequence[Site]:
        """Where an adapter of this kind may act: see `modeledge.model.sites`."""
        return find_sites(self, kind, self.hf_names)

    def checkpoint_blocks(self, on: bool = True) -> None:
        """Recompute each block in the backward pass instead of holding its inner states."""
        self.tower.checkpointing = on

    def check_length(self, length: int) -> None:
        """Refuse examples longer than the positions that the model knows (`E-POSITION`)."""
        limit = self.config.positions
        if limit is not None and length > limit:
            raise ModeledgeError("E-POSITION", f"length {length} is beyond the model's {limit} positions")
