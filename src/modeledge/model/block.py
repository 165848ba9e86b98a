"""One layer, and a tower of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modeledge.model.attention import SelfAttention, Way
from modeledge.model.batch import Side
from modeledge.model.cache import Cache
from modeledge.model.config import Stack
from modeledge.model.draw import Draw, add_dropped
from modeledge.model.feedforward import FeedForward
from modeledge.model.linear import build_norm
from modeledge.model.pattern import Marks, Pattern
from modeledge.model.position import build_position


class Block(nn.Module):
    """Attention and feed-forward, each added to the residual stream; the norm stands before or after."""

    def __init__(self, stack: Stack, width: int, layer: int) -> None:
        super().__init__()
        self.pre = stack.norm.place == "pre"
        self.rate = stack.dropout.hidden
        self.attention_norm = build_norm(stack.norm.kind, width, stack.norm.eps)
        self.attention = SelfAttention(stack.attention, width, stack.dropout.attention, layer, stack.norm)
        self.feedforward_norm = build_norm(stack.norm.kind, width, stack.norm.eps)
        self.feedforward = FeedForward(stack.feedforward, width)

    def forward(self, x: Tensor, way: Way) -> tuple[Tensor, Tensor | None]:
        """States `[rows, seq, width]` → states, attention weights."""
        states, weights = self.attention(self.attention_norm(x) if self.pre else x, way)
        x = add_dropped(x, states, way.draw.mask(states, self.rate, "hidden"))
        x = x if self.pre else self.attention_norm(x)
        states = self.feedforward(self.feedforward_norm(x) if self.pre else x)
        x = add_dropped(x, states, way.draw.mask(states, self.rate, "feedforward"))
        return (x if self.pre else self.feedforward_norm(x)), weights


class Tower(nn.Module):
    """A stack of blocks with its positions and, where norms stand before, a last norm."""

    def __init__(self, stack: Stack, width: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        head_width = stack.attention.head_width or width // stack.attention.heads
        self.position = build_position(stack.position, width, head_width)
        self.blocks = nn.ModuleList([Block(stack, width, layer) for layer in range(stack.layers)])
        self.final_norm = build_norm(stack.norm.kind, width, stack.norm.eps) if stack.norm.place == "pre" else None
        self.checkpointing = False

    def forward(
        self,
        x: Tensor,
        side: Side,
        draw: Draw,
        cache: Cache | None,
        layers: list[Tensor] | None,
        weights: list[Tensor] | None,
        first: int = 0,
    ) -> Tensor:
        """Embedded tokens → last states `[rows, seq, width]`; `layers` and `weights` are filled where they are lists.

        With `first > 0` x are the states that enter block `first`: the blocks before it have run already.
        """
        if layers is not None:
            layers.append(x)
        x = self.through(x, side, draw, range(first, len(self.blocks)), cache, layers, weights)
        if self.final_norm is not None:
            x = self.final_norm(x)
            if layers is not None:
                layers[-1] = x
        return x

    def through(
        self,
        x: Tensor,
        side: Side,
        draw: Draw,
        numbers: range,
        cache: Cache | None = None,
        layers: list[Tensor] | None = None,
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """States `[rows, seq, width]` through the blocks `numbers`, before the last norm.

        A block in eval mode drops nothing, also in a model that trains: frozen blocks give the same states each time.
        """
        queries = Marks.of(side)
        keys, whole = (queries, side.whole) if cache is None else (cache.marks(), cache.whole)
        patterns: dict[int | None, Pattern] = {}
        angles = self.position.angles(side.positions, x.dtype)
        for number in numbers:
            block = self.blocks[number]
            assert isinstance(block, Block)
            window = block.attention.window
            if window not in patterns:
                patterns[window] = Pattern(self.causal, window, queries, keys, whole=whole)
            masks = draw.at(number) if block.training else Draw(None)
            way = Way(patterns[window], angles, masks, cache, number, weights is not None)
            x, seen = self._run(block, x, way)
            if layers is not None:
                layers.append(x)
            if weights is not None and seen is not None:
                weights.append(seen)
        return x

    def _run(self, block: Block, x: Tensor, way: Way) -> tuple[Tensor, Tensor | None]:
        out: tuple[Tensor, Tensor | None]
        if self.checkpointing and torch.is_grad_enabled() and way.cache is None and not way.weights:
            out = checkpoint(block, x, way, use_reentrant=False, preserve_rng_state=False)
            return out
        out = block(x, way)
        return out
