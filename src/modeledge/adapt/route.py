"""Several adapters in one batch: each example is read with its own.

The frozen weights read all tokens in one product, as they would for one adapter; what each adapter adds is computed for
the tokens of its examples alone. So a batch of a hundred tasks costs about what a batch of one does (Chen et al. 2023,
arXiv 2310.18547, and Sheng et al. 2023, arXiv 2311.03285, serve thousands of LoRAs so). A token belongs to an example
by its row and segment, on both sides of a model that reads a source.

Whose a token is must be known at every map, and a map sees states alone. So each tower says what it is about to read:
its tokens must be those that were routed, and their rows and segments give the owners. Where they are read into a
cache, its rows keep their owners, also when some have left it or changed places: a step of one token a row finds its
adapters by them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.adapt.graft import ROUTES, Grafts, all_grafts, joined
from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch, Side
from modeledge.model.block import NOTHING_ELSE, Beside
from modeledge.model.cache import Cache
from modeledge.model.sites import HIDDEN, Site
from modeledge.model.transformer import Transformer
from modeledge.records import IntArray

BASE = -1  # the owner of what no adapter reads


@dataclass(frozen=True)
class Texts:
    """What may be read on one side: the tokens of each text, by rows and segments in their order, and its owner. `side`
    is the one that they come from, if they do."""

    tokens: tuple[Tensor, ...]
    owners: tuple[int, ...]
    side: Side | None = None


@dataclass(frozen=True)
class Asked:
    """What was routed: the texts of each side, nothing for a side that is not known before."""

    source: Texts | None
    target: Texts | None


class Routing:
    """The routes of one model within one block. `names` are those of the adapters; an owner is a number among them.

    An owner table `[rows, segments + 1]` says whose the texts of a row are; column 0 is padding, which is nobody's.
    """

    def __init__(self, model: Transformer, names: Sequence[str], asked: Asked) -> None:
        self.model, self.names, self.asked = model, tuple(names), asked
        self.grafts = {id(grafts): grafts for _, grafts in all_grafts(model)}
        self.lines: dict[object, Tensor] = {}
        self.known: dict[int, Tensor] = {}
        self.sources: Tensor | None = None
        self.over: dict[str, Tensor] | None = None
        self.now: dict[str, Tensor] | None = None

    # ---- what a tower is about to read

    def reads(self, tower: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Called before a tower runs: find the owners of the tokens, or refuse them (`E-USAGE`)."""
        if ROUTES.get() is not self:
            return
        side: Side = args[1]
        cache: Cache | None = args[3]
        beside: Beside = args[7] if len(args) > 7 else named.get("beside", NOTHING_ELSE)
        if getattr(tower, "checkpointing", False) and torch.is_grad_enabled() and cache is None:
            what = "blocks are computed again in the backward pass, where nobody says whose a token is"
            raise ModeledgeError("E-USAGE", what, remedy="model.checkpoint_blocks(False) before it is routed")
        if self.model.config.both and (tower is not self.model.tower or beside.source is None):
            self.sources = self.table_of(side, self.asked.source)
            self.now = self.over = self.masks(self.sources, side)
        else:
            self.now = self.masks(self.of_rows(side, cache), side)

    def done(self, tower: nn.Module, args: tuple[Any, ...], states: Tensor) -> None:
        """Called behind a tower: what else is read of the model has to say itself what it is."""
        if ROUTES.get() is self:
            self.now = None

    def of_rows(self, side: Side, cache: Cache | None) -> Tensor:
        """The owner table of the side that the heads read: that of a cache that goes on, of a source whose answers
        begin, or of the texts that were routed."""
        if cache is not None and cache.filled > cache.shared + side.ids.shape[1]:
            if cache.line not in self.lines or cache.begun_from is None:
                raise refused("a cache goes on that was begun with other texts")
            return self.lines[cache.line][cache.begun_from]
        answers = self.sources is not None and (cache is not None or self.asked.target is None)
        table = self.sources if answers else self.table_of(side, self.asked.target)
        assert table is not None
        if cache is not None:
            self.lines[cache.line] = table
        return table

    def table_of(self, side: Side, texts: Texts | None) -> Tensor:
        """The owner table of a side whose texts are those that were routed, in their order, wherever in its rows they
        stand; any others are `E-USAGE`."""
        if texts is None:
            raise refused("nothing was routed on this side of the model")
        if texts.side is side and id(texts) in self.known:
            return self.known[id(texts)]
        found = texts_of(side)
        alike = len(found) == len(texts.tokens) and all(map(torch.equal, found.values(), texts.tokens))
        if not alike:
            raise refused(f"other texts are read ({len(found)}) than were routed ({len(texts.tokens)})")
        table = torch.full((len(side.segments), max((s for _, s in found), default=0) + 1), BASE)
        for place, owner in zip(found, texts.owners, strict=True):
            table[place] = owner
        table = table.to(side.segments.device)
        if texts.side is side:
            self.known[id(texts)] = table
        return table

    def masks(self, table: Tensor, side: Side) -> dict[str, Tensor]:
        """Which tokens `[rows, seq]` each adapter reads, of those that read any."""
        if len(table) != len(side.segments) or int(side.segments.max()) >= table.shape[1]:
            raise refused(f"{len(side.segments)} rows are read behind texts in {len(table)}, or more texts in a row")
        owners = table.gather(1, side.segments)
        there = owners.unique().tolist()  # type: ignore[no-untyped-call]
        return {self.names[n]: owners == n for n in there if n != BASE}

    # ---- what happens at a map

    def at(self, site: Site) -> Mapping[str, Tensor]:
        """The tokens that a map reads: those of the source in an encoder, and where it is read. A head, which reads
        examples, is refused (`E-USAGE`)."""
        if site.kind == HIDDEN:
            what = f"an adapter stands at {site.path}, and heads are of all examples or of none"
            raise ModeledgeError("E-USAGE", what, remedy="read the heads outside, each with its own adapter")
        over = ".cross." in site.path and site.kind in ("key", "value")
        found = self.over if over or site.path.startswith("source_tower.") else self.now
        if found is None:
            raise refused("a map is read by itself, outside its tower")
        return found

    def parts(self, grafts: Grafts, x: Tensor) -> Iterator[tuple[list[Any], Tensor]]:
        """What each adapter has at a map, and the tokens of `x [rows, seq, inputs]` that are its own."""
        if id(grafts) not in self.grafts:
            raise refused("another model is read, or a copy of the one that was routed")
        for name in self.names:
            here = grafts.of(name)
            if here and (mask := self.at(here[0][0].site).get(name)) is not None:
                if mask.shape != x.shape[:2]:
                    raise refused(f"{tuple(x.shape[:2])} tokens are read, and {tuple(mask.shape)} were routed")
                yield here, mask

    def before(self, grafts: Grafts, x: Tensor) -> Tensor:
        """What a map reads: of each adapter's tokens what it makes of them."""
        for here, mask in self.parts(grafts, x):
            for added, _ in here:
                x = x.index_put((mask,), added.before(x[mask]))
        return x

    def after(self, grafts: Grafts, x: Tensor, y: Tensor) -> Tensor:
        """What comes out of a map: of each adapter's tokens what it makes of them."""
        for here, mask in self.parts(grafts, x):
            y = y.index_put((mask,), joined(x[mask], y[mask], here))
        return y


@contextmanager
def routed(model: Backbone, batch: Batch | Sequence[IntArray], adapters: Mapping[int, str | None]) -> Iterator[None]:
    """Within this block `model(batch)` reads each example with the adapter that its number (`batch.indices`) names;
    `None` is the base alone. Which adapters are active does not matter.

    In the place of a batch there may be the token ids of prompts, which are numbered from 0: `generate(model, prompts,
    …)` then goes on with each one's own adapter. Of a model that reads a source they are the sources.

    An example that is not named is `E-USAGE`, an adapter that is not there `E-SITE`; so is a model that is wrapped
    (`E-USAGE`), which unpacks its rows. Within the block any other texts, another model, or blocks that are computed
    again in a backward pass are `E-USAGE` too: nobody has said whose their tokens are.
    """
    if not isinstance(model, Transformer):
        what = "a wrapped model reads one example a row, in an order of its own"
        raise ModeledgeError("E-USAGE", what, remedy="run each adapter on its own examples")
    if before := [name for name in model.leads if name in {*model.leads.active, *adapters.values()}]:
        what = f"{before[0]!r} stands before the examples, and not at maps: it is of all of them or of none"
        raise ModeledgeError("E-USAGE", what, remedy="run it on its own examples; activate another one first")
    numbers = [int(number) for number in batch.indices] if isinstance(batch, Batch) else list(range(len(batch)))
    names = named(model, numbers, adapters)
    codes = [BASE if (name := adapters[number]) is None else names.index(name) for number in numbers]
    routing = Routing(model, names, asked_of(model, batch, codes))
    towers = [tower for tower in (model.source_tower, model.tower) if tower is not None]
    handles = [tower.register_forward_pre_hook(routing.reads, with_kwargs=True) for tower in towers]
    handles += [tower.register_forward_hook(routing.done) for tower in towers]
    token = ROUTES.set(routing)
    try:
        yield
    finally:
        ROUTES.reset(token)
        for handle in handles:
            handle.remove()


def named(model: Transformer, numbers: Sequence[int], adapters: Mapping[int, str | None]) -> list[str]:
    """The adapters of the examples: `E-USAGE` for an example that has none, `E-SITE` for one that is not there."""
    for number in numbers:
        if number not in adapters:
            raise ModeledgeError("E-USAGE", f"no adapter is named for example {number}", remedy="None is the base")
    there = {name.partition(":")[0] for _, grafts in all_grafts(model) for name in grafts}
    names = sorted({name for number in numbers if (name := adapters[number]) is not None})
    for name in names:
        if name not in there:
            raise ModeledgeError("E-SITE", f"there is no adapter {name!r}", remedy=nearest(name, there))
    return names


def asked_of(model: Transformer, batch: Batch | Sequence[IntArray], codes: Sequence[int]) -> Asked:
    """The texts of a batch, or of prompts, with their owners; `E-USAGE` for a text that is no example's."""
    if not isinstance(batch, Batch):
        texts = Texts(tuple(torch.as_tensor(prompt, dtype=torch.long) for prompt in batch), tuple(codes))
        return Asked(texts, None) if model.config.both else Asked(None, texts)
    rows, starts = batch.spans[:, 0], batch.spans[:, 1]
    segments = batch.side.segments[rows, starts]
    owners = dict(zip(zip(rows.tolist(), segments.tolist(), strict=True), codes, strict=True))

    def of(side: Side | None) -> Texts | None:
        if side is None:
            return None
        found = texts_of(side)
        if lost := [place for place in found if place not in owners]:
            what = f"the batch does not say which example stands in row {lost[0][0]}, segment {lost[0][1]}"
            raise ModeledgeError("E-USAGE", what, where="spans", remedy="give each example its span and index")
        return Texts(tuple(found.values()), tuple(owners[place] for place in found), side)

    if model.config.both:
        return Asked(of(batch.source), of(batch.target))
    return Asked(None, of(batch.side))


def texts_of(side: Side) -> dict[tuple[int, int], Tensor]:
    """The tokens of each text of a side, by its row and segment, in their order."""
    ids, segments = side.ids.cpu(), side.segments.cpu()
    each = [row.unique().tolist() for row in segments]
    places = [(row, segment) for row, there in enumerate(each) for segment in there if segment]
    return {(row, segment): ids[row][segments[row] == segment] for row, segment in places}


def refused(what: str) -> ModeledgeError:
    """Something else is read than was routed."""
    return ModeledgeError(
        "E-USAGE",
        what,
        where="routed",
        why="each token is read with the adapter of its example, and nobody said whose these are",
        remedy="route each batch, or the prompts that are continued: with routed(model, prompts, adapters)",
    )
