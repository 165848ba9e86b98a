"""The one transformer: a batch in, states out. It knows no loss, no tokenizer, no trainer and no adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone, Keep, Start, States
from modeledge.model.batch import Batch, Side
from modeledge.model.block import Beside, Source, Tower
from modeledge.model.cache import Cache
from modeledge.model.config import Tokens, TransformerConfig
from modeledge.model.draw import Draw, dropped
from modeledge.model.init import initialise
from modeledge.model.lead import Leads, Led
from modeledge.model.linear import Linear, build_norm
from modeledge.model.parts import Part, Parts
from modeledge.model.pattern import Marks
from modeledge.model.sites import Laid, Site, find_sites
from modeledge.seed import Noise


class EmbedDropout(nn.Module):
    """Dropout on the embeddings: a module of its own, so that frozen embeddings can be in eval mode by themselves."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, states: Tensor, draw: Draw) -> Tensor:
        """Embedded tokens `[rows, seq, width]` → the same shape."""
        return dropped(states, draw.mask(states, self.rate, "embed") if self.training else None)


class Transformer(Backbone):
    """An encoder, a decoder, or both, over token embeddings or image patches, with named heads.

    `tower` is the stack whose states the heads read; `source_tower` is the encoder that a decoder reads, where it has
    weights of its own: with `share_sides` the source runs through `tower` too. `leads` is what stands before every
    example without being read (`modeledge.model.lead`). Parameters are fp32 masters; `compute`
    is the dtype of the states and of all products. Fresh weights are a function of (seed, parameter name).
    """

    config: TransformerConfig

    def __init__(self, config: TransformerConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.compute = torch.float32
        self.hf_names: dict[str, tuple[str, bool]] = {}
        self.hf_laid: dict[str, Laid] = {}
        stack, embed, width = config.stack, config.embed, config.width
        inner = width
        self.types = self.embed_norm = self.project = self.patches = self.target_tokens = self.target_norm = None
        if isinstance(embed, Tokens):
            inner = embed.width or width
            self.tokens = nn.Parameter(torch.empty(embed.vocab, inner))
            self.types = nn.Parameter(torch.empty(embed.types, inner)) if embed.types else None
            norm = config.encoder.norm if config.encoder is not None else stack.norm
            self.embed_norm = build_norm(norm, inner) if embed.norm else None
            self.project = Linear(inner, width) if embed.width is not None else None
        else:
            self.patches = Linear(embed.dim, width)
            self.leading = nn.Parameter(torch.empty(embed.leading, width))
        if config.both:
            target = config.table
            self.target_tokens = None if config.target_embed is None else nn.Parameter(torch.empty(target.vocab, inner))
            self.target_norm = build_norm(stack.norm, inner) if target.norm and not config.share_sides else None
        self.embed_dropout = EmbedDropout(stack.dropout.embed)
        self.source_dropout = self.source_tower = None
        if config.both:
            assert config.encoder is not None
            self.source_dropout = EmbedDropout(config.encoder.dropout.embed)
            if not config.share_sides:
                self.source_tower = Tower(config.encoder, width, causal=False, embed_width=inner)
        self.tower = Tower(stack, width, causal=config.decoder is not None, cross=config.both, embed_width=inner)
        self.leads = Leads()
        self.heads = nn.ModuleDict()
        initialise(self, Noise(seed), std=config.init, layers=stack.layers)

    @property
    def table(self) -> Tensor:
        """The token embeddings `[vocab, width]` that a tied head shares: those of the side it reads."""
        return self.tokens if self.target_tokens is None else self.target_tokens

    def forward(
        self,
        batch: Batch,
        cache: Cache | None = None,
        keep: Keep = Keep(),  # noqa: B008
        start: Start | None = None,
    ) -> States:
        """Run the tower over the batch's side; with a cache, the side holds only the new tokens.

        With a `start` the embeddings and the blocks before it are not run, and `layers` begins at its states. Where a
        decoder reads an encoder, the source runs first; with a cache it is given once, at the first call.
        """
        assert cache is None or start is None, "a cache holds the keys of every layer; a start skips some"
        draw, both, later = Draw.current(self.training), self.config.both, cache is not None and cache.begun
        led = self.leads.before(batch, batch.side, first=not both, later=later)
        assert start is None or led.slot is None, "a start holds the states of the tokens alone"
        given = None if later else self.leads.pairs("encoder" if self.config.decoder is None else "decoder")
        shared = 0 if given is None else given.shape[3]
        cache = None if cache is None else cache.extended(led.side, shared)
        kept: list[list[Tensor] | None] = [[] if asked else None for asked in (keep.layers, keep.attention) * 2]
        source, below = None, Led(batch.side)
        if both:
            source, below, cache = self._source(batch, draw.at("source"), cache, kept)
        first = 0 if start is None else start.layer
        states = self._embed(led, draw) if start is None else start.states.to(self.compute)
        last = self.tower(states, led.side, draw, cache, *kept[:2], first, Beside(source, given))
        over = source.states if source is not None else last if self.config.encoder is not None else None
        return States(
            led.back(last),
            None if over is None else (below if both else led).back(over),
            tuple(led.back(x) for x in kept[0] or ()),
            tuple(_seen(kept[1] or (), led, below, source, shared if cache is None else cache.shared)),
            cache,
            tuple(below.back(x) for x in kept[2] or ()),
            tuple(below.seen(x, below, x.shape[3] - x.shape[2]) for x in kept[3] or ()),
        )

    def _source(
        self, batch: Batch, draw: Draw, cache: Cache | None, kept: Sequence[list[Tensor] | None]
    ) -> tuple[Source, Led, Cache | None]:
        """The encoder's states of the batch's source, or what a cache still knows of it."""
        if batch.source is None:
            if cache is None or cache.source is None:
                what, remedy = "a decoder that reads an encoder is given no source", "give each example a source"
                raise ModeledgeError("E-NO-TARGET", what, remedy=remedy)
            return Source(None, cache.source, cache.source_whole, cache.source_shared), Led(batch.side), cache
        if batch.target is None:
            what, remedy = "the decoder is given no token", "give each example a target"
            raise ModeledgeError("E-NO-TARGET", what, remedy=remedy)
        led, given = self.leads.before(batch, batch.source, first=True), self.leads.pairs("cross")
        states = self._below(led, draw, *kept[2:])
        shared, whole = 0 if given is None else given.shape[3], led.side.whole
        marks = Marks.of(led.side).led(shared)
        source = Source(states, marks, whole, shared, given)
        return source, led, None if cache is None else cache.of_source(marks, whole, shared)

    def _below(
        self, led: Led, draw: Draw, layers: list[Tensor] | None = None, weights: list[Tensor] | None = None
    ) -> Tensor:
        """The states of the encoder that the decoder reads; with shared sides the decoder's tower, read both ways."""
        tower = self.tower if self.source_tower is None else self.source_tower
        embedded, beside = self._embed(led, draw, target=False), Beside(None, self.leads.pairs("encoder"), True)
        return tower(embedded, led.side, draw, None, layers, weights, beside=beside)  # type: ignore[no-any-return]

    def encode(self, batch: Batch) -> Tensor:
        assert batch.source is not None, "an encoder reads a source"
        if not self.config.both:
            return self(batch).last  # type: ignore[no-any-return]
        led = self.leads.before(batch, batch.source, first=True)
        return led.back(self._below(led, Draw.current(self.training).at("source")))

    def layers_of(self, batch: Batch) -> tuple[Tensor, ...]:
        if not self.config.both:
            return super().layers_of(batch)
        assert batch.source is not None, "an encoder reads a source"
        layers: list[Tensor] = []
        led = self.leads.before(batch, batch.source, first=True)
        self._below(led, Draw.current(self.training).at("source"), layers)
        return tuple(led.back(x) for x in layers)

    @property
    def cuts(self) -> bool:
        """At every block, unless a decoder reads an encoder: its states depend on all below them; nor where vectors
        stand before the tokens, which have states of their own."""
        return not self.config.both and not self.leads.tokens

    @property
    def taken(self) -> int:
        return self.leads.tokens + self.leads.keys_before

    def new_cache(self, rows: int, capacity: int) -> Cache:
        """An empty cache with room for `capacity` tokens a row and what stands before them, in the dtype of the
        products."""
        return Cache.empty(self.config, rows, capacity + self.taken, self.compute, self.device)

    def states_at(self, batch: Batch, layer: int) -> Tensor:
        """The states that enter block `layer`, `[rows, seq, width]`; those of the last layer are not normed yet."""
        assert self.cuts, "the states of a decoder that reads an encoder depend on all below them"
        led, draw = self.leads.before(batch, batch.side, first=True), Draw.current(self.training)
        given = self.leads.pairs("encoder" if self.config.decoder is None else "decoder")
        return self.tower.through(self._embed(led, draw), led.side, draw, range(layer), beside=Beside(None, given))

    def embedded(self, batch: Batch) -> Tensor:
        """What the tables say of the batch's side, before it is projected: `[rows, seq, width of the table]`."""
        return self._looked_up(Led(batch.side), Draw.current(self.training))

    def _embed(self, led: Led, draw: Draw, *, target: bool = True) -> Tensor:
        """One side's embeddings; `target` is the side that the heads read."""
        embedded = self._looked_up(led, draw, target=target)
        return embedded if self.project is None else self.project(embedded)

    def _looked_up(self, led: Led, draw: Draw, *, target: bool = True) -> Tensor:
        """Tokens (with the vectors before them), types and positions summed, normed and dropped."""
        side, beyond = led.side, target and self.config.both  # the decoder's side of two
        tower = self.tower if target or self.source_tower is None else self.source_tower
        if self.patches is not None:
            states = self._patched(side)
        else:
            config = self.config.table if beyond else self.config.embed
            assert isinstance(config, Tokens)
            states = F.embedding(side.ids, self.table if beyond else self.tokens)
            states = led.put(states if config.scale == 1.0 else states * config.scale)
            types = None if beyond else self.types
            assert side.types is None or types is not None, "the model has no token types on this side"
            if types is not None:
                states = states + (types[0] if side.types is None else F.embedding(side.types, types))
        states = tower.position.embed(states, side.positions)
        norm = self.target_norm if beyond and not self.config.share_sides else self.embed_norm
        states = states if norm is None else norm(states)
        dropout = self.embed_dropout if target or self.source_dropout is None else self.source_dropout
        return dropout(states.to(self.compute), draw)  # type: ignore[no-any-return]

    def _patched(self, side: Side) -> Tensor:
        """Patches `[rows, seq, channels · patch²]` → states; the leading positions are tokens of their own."""
        assert self.patches is not None
        leading = side.positions < len(self.leading)
        first = F.embedding(side.positions.clamp(max=len(self.leading) - 1), self.leading)
        return torch.where(leading[..., None], first, self.patches(side.ids.to(first.dtype)))

    def sites(self, kind: str) -> Sequence[Site]:
        """Where an adapter of this kind may act: see `modeledge.model.sites`."""
        return find_sites(self, kind, self.hf_names, self.hf_laid)

    def checkpoint_blocks(self, on: bool = True) -> None:
        """Recompute each block in the backward pass instead of holding its inner states."""
        for tower in (self.tower, self.source_tower):
            if tower is not None:
                tower.checkpointing = on

    def compile_blocks(self, backend: str = "inductor") -> None:
        for tower in (self.tower, self.source_tower):
            for block in () if tower is None else tower.blocks:
                block.compile(backend=backend)
        self.compiled = True

    def parts(self) -> Parts:
        """Embeddings (with positions, their norm, and what stands before an example), blocks (an encoder's before
        those of its decoder), last norms."""
        drops = tuple(drop for drop in (self.embed_dropout, self.source_dropout) if drop is not None)
        own = Part(tuple(name for name, _ in self.named_parameters(recurse=False)), drops)
        towers = {"source_tower": self.source_tower, "tower": self.tower}
        there = {name: tower for name, tower in towers.items() if tower is not None}
        below = {name: getattr(self, name) for name in ("embed_norm", "target_norm", "project", "patches", "leads")}
        below |= {f"{name}.position": tower.position for name, tower in there.items()}
        return Parts(
            embeddings=Part.joined([own, *(Part.of(name, module) for name, module in below.items())]),
            blocks=tuple(
                Part.of(f"{name}.blocks.{number}", block)
                for name, tower in there.items()
                for number, block in enumerate(tower.blocks)
            ),
            last=Part.joined([Part.of(f"{name}.final_norm", tower.final_norm) for name, tower in there.items()]),
            heads={name: Part.of(f"heads.{name}", head) for name, head in self.heads.items()},
        )


def _seen(weights: Sequence[Tensor], led: Led, below: Led, source: Source | None, shared: int) -> Iterator[Tensor]:
    """Each layer's attention over the tokens alone; with a source those over it stand behind those over itself."""
    for number, layer in enumerate(weights):
        over = source is not None and number % 2 == 1
        yield led.seen(layer, below, source.shared) if over and source is not None else led.seen(layer, led, shared)
