"""One layer, and a tower of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modeledge.model.attention import CrossAttention, SelfAttention, Way
from modeledge.model.batch import Side
from modeledge.model.cache import Cache
from modeledge.model.config import Stack
from modeledge.model.draw import Draw, add_dropped, drawing_again, dropped
from modeledge.model.feedforward import FeedForward
from modeledge.model.linear import build_norm
from modeledge.model.pattern import Marks, Pattern
from modeledge.model.position import Angles, build_position


@dataclass(frozen=True)
class Source:
    """What a decoder reads: the encoder's states `[rows, seq, width]` (`None` where a cache holds what is made of
    them), and who is who there. `given` are keys and values of each layer before those of the source
    `[layers, 2, kv_heads, shared, head_width]`, and the first `shared` of `marks` are theirs."""

    states: Tensor | None
    marks: Marks
    whole: bool
    shared: int = 0
    given: Tensor | None = None

    def pattern(self, queries: Marks, whole: bool) -> Pattern:
        """Each query sees the source of its own example, all of it."""
        whole = self.whole and whole
        return Pattern(False, None, queries, self.marks, shared=self.shared, whole=whole, cross=True)


@dataclass(frozen=True)
class Beside:
    """What a tower reads beside its states: a `source`, and keys and values that stand before those of the tokens in
    each layer, `given [layers, 2, kv_heads, n, head_width]`. `both_ways`: a tower of a model with `share_sides` reads
    the source itself."""

    source: Source | None = None
    given: Tensor | None = None
    both_ways: bool = False


NOTHING_ELSE = Beside()


class Block(nn.Module):
    """Attention, attention over a source where there is one, and feed-forward, each added to the residual stream.

    A norm stands before, after the sum, on the sub-layer's output, or before and on the output: see `Norm`. A block
    that also serves as an encoder's (`share_sides`) leaves the source out where it is given none.
    """

    def __init__(self, stack: Stack, width: int, layer: int, *, cross: bool = False) -> None:
        super().__init__()
        norm, rate = stack.norm, stack.dropout.attention
        self.place, self.rate, self.parallel = norm.place, stack.dropout.hidden, stack.parallel
        self.mixed = self.rate if stack.dropout.mixed is None else stack.dropout.mixed
        absent = norm.place == "pre" and not norm.first and layer == 0
        self.attention_norm = None if absent else build_norm(norm, width)
        self.attention = SelfAttention(stack.attention, width, rate, norm)
        self.cross_norm = build_norm(norm, width) if cross else None
        self.cross = CrossAttention(stack.attention, width, rate) if cross else None
        self.feedforward_norm = build_norm(norm, width)
        self.feedforward = FeedForward(stack.feedforward, width, stack.dropout.inner)
        around = norm.place == "around"
        self.attention_after = build_norm(norm, width) if around else None
        self.cross_after = build_norm(norm, width) if around and cross else None
        self.feedforward_after = build_norm(norm, width) if around else None

    def forward(self, x: Tensor, way: Way) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """States `[rows, seq, width]` → states, attention weights, and those over the source."""
        if self.parallel:
            return self._parallel(x, way)
        states, weights = self.attention(self._before(x, self.attention_norm), way)
        x = self._added(x, states, self.attention_norm, self.attention_after, way, "hidden")
        over = None
        if self.cross is not None and way.cross is not None:
            states, over = self.cross(self._before(x, self.cross_norm), way)
            x = self._added(x, states, self.cross_norm, self.cross_after, way, "cross")
        states = self.feedforward(self._before(x, self.feedforward_norm), way.draw)
        x = self._added(x, states, self.feedforward_norm, self.feedforward_after, way, "feedforward")
        return x, weights, over

    def _parallel(self, x: Tensor, way: Way) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """x + attention(norm₁ x) + feedforward(norm₂ x) (Black et al. 2022, section 2.1)."""
        states, weights = self.attention(self._before(x, self.attention_norm), way)
        more = self.feedforward(self._before(x, self.feedforward_norm), way.draw)
        x = add_dropped(x, states, way.draw.mask(states, self.mixed, "hidden"))
        return add_dropped(x, more, way.draw.mask(more, self.rate, "feedforward")), weights, None

    def _before(self, x: Tensor, norm: Callable[[Tensor], Tensor] | None) -> Tensor:
        return norm(x) if norm is not None and self.place in ("pre", "around") else x

    def _added(
        self,
        x: Tensor,
        states: Tensor,
        norm: Callable[[Tensor], Tensor] | None,
        after: Callable[[Tensor], Tensor] | None,
        way: Way,
        site: str,
    ) -> Tensor:
        if self.place == "inner" and norm is not None:
            states = norm(states)
        elif after is not None:
            states = after(states)
        rate = self.rate if site == "feedforward" else self.mixed
        x = add_dropped(x, states, way.draw.mask(states, rate, site))
        return norm(x) if self.place == "post" and norm is not None else x


class Tower(nn.Module):
    """A stack of blocks with its positions and a last norm where none stands after each sum.

    `width` is that of the states, `embed_width` that of the embeddings that its positions are added to. `cross` towers
    read the states of another; one of a model with `share_sides` reads the source itself before, `both_ways`.
    """

    def __init__(
        self, stack: Stack, width: int, *, causal: bool, cross: bool = False, embed_width: int | None = None
    ) -> None:
        super().__init__()
        self.causal, self.depth = causal, stack.layers
        head_width = stack.attention.head_width or width // stack.attention.heads
        self.position = build_position(stack.position, embed_width or width, head_width, stack.attention.heads)
        blocks = 1 if stack.share else stack.layers
        self.blocks = nn.ModuleList([Block(stack, width, layer, cross=cross) for layer in range(blocks)])
        self.windows = tuple(stack.attention.windows)
        self.final_norm = build_norm(stack.norm, width) if stack.norm.place != "post" else None
        self.rate, self.checkpointing = stack.dropout.last, False

    def block(self, number: int) -> Block:
        """The block of a layer; one for all where the weights are shared."""
        block = self.blocks[number if len(self.blocks) > 1 else 0]
        assert isinstance(block, Block)
        return block

    def forward(
        self,
        x: Tensor,
        side: Side,
        draw: Draw,
        cache: Cache | None,
        layers: list[Tensor] | None,
        weights: list[Tensor] | None,
        first: int = 0,
        beside: Beside = NOTHING_ELSE,
    ) -> Tensor:
        """Embedded tokens → last states `[rows, seq, width]`; `layers` and `weights` are filled where they are lists.

        With `first > 0` x are the states that enter block `first`: the blocks before it have run already.
        """
        if layers is not None:
            layers.append(x)
        x = self.through(x, side, draw, range(first, self.depth), cache, layers, weights, beside)
        if self.final_norm is not None:
            x = self.final_norm(x)
            x = dropped(x, draw.mask(x, self.rate, "last") if self.final_norm.training else None)
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
        beside: Beside = NOTHING_ELSE,
    ) -> Tensor:
        """States `[rows, seq, width]` through the blocks `numbers`, before the last norm.

        A block in eval mode drops nothing, also in a model that trains: frozen blocks give the same states each time.
        """
        source, given = beside.source, beside.given
        queries, causal = Marks.of(side), self.causal and not beside.both_ways
        shared = cache.shared if cache is not None else 0 if given is None else given.shape[3]
        fresh = cache is None or cache.filled == shared + side.ids.shape[1]  # it sees itself alone, prefix and all
        keys, whole = (queries.led(shared), side.whole) if cache is None or fresh else (cache.marks(), cache.whole)
        cross = None if source is None else source.pattern(queries, whole)
        score = self.position.score(queries, keys, whole=whole, causal=causal)
        far = self.position.far(queries, keys)
        patterns: dict[int | None, Pattern] = {}
        angles: dict[bool, Angles] = {}
        for number in numbers:
            block, window = self.block(number), self.windows[number % len(self.windows)]
            if window not in patterns:
                patterns[window] = Pattern(causal, window, queries, keys, shared=shared, whole=whole)
                if score is not None and torch.is_grad_enabled():
                    patterns[window].scored(score, x.dtype, dense=x.device.type == "cpu", keep=True)
            local, turns = window is not None, self.position.turns(number)
            if turns and local not in angles:
                angles[local] = self.position.angles(side.positions, x.dtype, local=local, far=far)
            masks = draw.at(number) if block.training else Draw(None)
            way = Way(
                patterns[window],
                angles[local] if turns else None,
                masks,
                cache,
                number,
                weights is not None,
                score,
                cross,
                None if source is None else source.states,
                pair_of(given, number),
                pair_of(None if source is None else source.given, number),
            )
            x, seen, over = self._run(block, x, way)
            if layers is not None:
                layers.append(x)
            if weights is not None:
                weights += [w for w in (seen, over) if w is not None]
        return x

    def _run(self, block: Block, x: Tensor, way: Way) -> tuple[Tensor, Tensor | None, Tensor | None]:
        out: tuple[Tensor, Tensor | None, Tensor | None]
        if self.checkpointing and torch.is_grad_enabled() and way.cache is None and not way.weights:
            out = checkpoint(block, x, way, use_reentrant=False, preserve_rng_state=False, context_fn=drawing_again)
            return out
        out = block(x, way)
        return out


def pair_of(given: Tensor | None, layer: int) -> tuple[Tensor, Tensor] | None:
    """The keys and the values that are given to a layer, `[kv_heads, n, head_width]` each."""
    return None if given is None else (given[layer, 0], given[layer, 1])
