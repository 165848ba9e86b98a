"""What every model is to those above it: a batch in, states out, with named heads on top.

Objectives, tasks, strategies, the trainer and the engine that generates are written against this page alone. There are
two kinds: `Transformer`, which is built here out of its configuration, and `HuggingFaceModel`, which wraps a model of
another library whole (docs/decisions/0008-a-model-that-is-wrapped.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.batch import Batch
from modeledge.model.cache import Cache
from modeledge.model.facts import Facts
from modeledge.model.heads import Head
from modeledge.model.init import initialise
from modeledge.model.parts import Parts
from modeledge.model.sites import Site
from modeledge.seed import Noise


@dataclass(frozen=True)
class Keep:
    """What a forward pass should hold beside the last states: all layers' states, the attention weights."""

    layers: bool = False
    attention: bool = False


@dataclass(frozen=True)
class States:
    """What a forward pass returns; only what `Keep` asked for is held.

    `last [rows, seq, width]`; `encoder`: the encoder's last states, where there is one; `layers`: the embeddings and
    each layer's output (the last one normed), `encoder_layers` the same of an encoder that a decoder reads;
    `attention`: each layer's weights `[rows, heads, queries, keys]`, in a decoder that reads an encoder each followed
    by those over the source, `encoder_attention` likewise; `cache`: the next one, where one was given. All are of the
    tokens alone: what stands before an example without being read (`modeledge.model.lead`) is left out.
    """

    last: Tensor
    encoder: Tensor | None = None
    layers: tuple[Tensor, ...] = ()
    attention: tuple[Tensor, ...] = ()
    cache: Cache | None = None
    encoder_layers: tuple[Tensor, ...] = ()
    encoder_attention: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Start:
    """States that were computed before, `[rows, seq, width]`: those that enter block `layer` (0: the embeddings)."""

    states: Tensor
    layer: int


class Backbone(nn.Module):
    """A body that turns a batch into states, and named heads. `compute` is the dtype of the states and of all products;
    the parameters stay fp32 masters. `compiled` says that `compile_blocks` was called."""

    config: Facts
    compute: torch.dtype
    heads: nn.ModuleDict
    compiled: bool = False

    def forward(
        self,
        batch: Batch,
        cache: Cache | None = None,
        keep: Keep = Keep(),
        start: Start | None = None,
    ) -> States:
        """Read the batch; with a cache, its side holds only the new tokens; with a `start`, begin there."""
        raise NotImplementedError

    @property
    def table(self) -> Tensor:
        """The token embeddings `[vocab, width]` that a tied head shares: those of the side it reads."""
        raise NotImplementedError

    @property
    def cuts(self) -> bool:
        """Can the body be cut at a block: are there `states_at` it, and can `forward` `start` from them?"""
        return False

    def states_at(self, batch: Batch, layer: int) -> Tensor:
        """The states that enter block `layer`, `[rows, seq, width]`; only where the body `cuts`."""
        raise NotImplementedError

    def new_cache(self, rows: int, capacity: int) -> Cache:
        """An empty cache with room for `capacity` tokens a row; a model that keeps none is `E-USAGE`."""
        raise NotImplementedError

    def sites(self, kind: str) -> Sequence[Site]:
        """Where an adapter of this kind may act: see `modeledge.model.sites`."""
        raise NotImplementedError

    def parts(self) -> Parts:
        """The model cut into embeddings, blocks, last norm and heads: each parameter is in one part."""
        raise NotImplementedError

    def checkpoint_blocks(self, on: bool = True) -> None:
        """Recompute each block in the backward pass instead of holding its inner states."""
        raise NotImplementedError

    def compile_blocks(self) -> None:
        """Let torch's compiler join the small operations of each block, and of the loss over a vocabulary.

        A model that is wrapped is `E-USAGE`. The first batches of each shape are slow, and a C++ compiler is needed.
        """
        what = f"the blocks of a {type(self).__name__} are its own library's"
        raise ModeledgeError("E-USAGE", what, where="train.compile", remedy="leave train.compile out")

    def encode(self, batch: Batch) -> Tensor:
        """The encoder's last states of the batch's source `[rows, seq, width]`; a decoder that reads it is not run."""
        raise NotImplementedError

    def layers_of(self, batch: Batch) -> tuple[Tensor, ...]:
        """The embeddings and each layer's output `[rows, seq, width]` (the last one normed), of the encoder where there
        is one: a decoder that reads it is not run."""
        assert not self.config.both, "a body of two stacks says how its encoder is read alone"
        return self(batch, keep=Keep(layers=True)).layers  # type: ignore[no-any-return]

    def save(self, folder: str | Path) -> None:
        """Write the model into a folder, where it has a writer of its own."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def add_heads(self, heads: Mapping[str, Head], noise: Noise) -> None:
        """Add the heads that are not there yet, freshly drawn; a head that is there is kept as it is."""
        for name, head in heads.items():
            if name not in self.heads:
                module = head.build(self.config).to(self.device)
                initialise(
                    module, noise, std=self.config.init, layers=self.config.stack.layers, prefix=f"heads.{name}."
                )
                self.heads[name] = module

    def logits(self, states: Tensor, head: str = "lm") -> Tensor:
        """Scores over the vocabulary `[..., vocab]` for states `[..., width]`."""
        return self.heads[head](states, self.table)  # type: ignore[no-any-return]

    @property
    def taken(self) -> int:
        """Positions that prompts and prefixes take before each example."""
        return 0

    @property
    def room(self) -> int | None:
        """The longest example that fits the positions beside what stands before it; `None`: there is no limit."""
        limit = self.config.positions
        return None if limit is None else max(limit - self.taken, 0)

    def check_length(self, length: int) -> None:
        """Refuse examples longer than the positions that the model knows (`E-POSITION`)."""
        limit, taken = self.config.positions, self.taken
        if limit is not None and length + taken > limit:
            what = f"length {length} is beyond the model's {limit} positions"
            what += f", {taken} of which stand before each example" if taken else ""
            remedy = f"shorten the rows to {limit - taken} tokens, or give fewer positions" if taken < limit else ""
            raise ModeledgeError("E-POSITION", what, remedy=remedy if taken else "")
