"""Several adapters in one batch: each example is read with its own.

The frozen weights read all tokens in one product, as they would for one adapter; what each adapter adds is computed for
the tokens of its examples alone. So a batch of a hundred tasks costs about what a batch of one does (Chen et al. 2023,
arXiv 2310.18547, and Sheng et al. 2023, arXiv 2311.03285, serve thousands of LoRAs so). A token belongs to an example
by its row and segment, on both sides of a model that reads a source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from modeledge.adapt.graft import ROUTES, Grafts, all_grafts, joined
from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch, Side
from modeledge.model.sites import Site
from modeledge.model.transformer import Transformer


@dataclass(frozen=True)
class Tokens:
    """Which tokens each adapter reads: masks `[rows, seq]` by its name, on the source and on the target."""

    source: Mapping[str, Tensor]
    target: Mapping[str, Tensor]

    def mask(self, site: Site, adapter: str) -> Tensor:
        """The tokens that a map reads for an adapter: those of the source in an encoder, and where it is read."""
        over = ".cross." in site.path and site.kind in ("key", "value")
        side = self.source if site.path.startswith("source_tower.") or over or not self.target else self.target
        return side[adapter]

    def before(self, grafts: Grafts, x: Tensor) -> Tensor:
        """What a map reads: of each adapter's tokens what it makes of them."""
        for adapter in self.source or self.target:
            for added, _ in grafts.of(adapter):
                mask = self.mask(added.site, adapter)
                x = x.index_put((mask,), added.before(x[mask]))
        return x

    def after(self, grafts: Grafts, x: Tensor, y: Tensor) -> Tensor:
        """What comes out of a map: of each adapter's tokens what it makes of them."""
        for adapter in self.source or self.target:
            parts = grafts.of(adapter)
            if parts:
                mask = self.mask(parts[0][0].site, adapter)
                y = y.index_put((mask,), joined(x[mask], y[mask], parts))
        return y


@contextmanager
def routed(model: Backbone, batch: Batch, adapters: Mapping[int, str | None]) -> Iterator[None]:
    """Within this block `model(batch)` reads each example with the adapter that its number (`batch.indices`) names;
    `None` is the base alone. Which adapters are active does not matter.

    An example that is not named is `E-USAGE`, an adapter that is not there `E-SITE`; so is a model that is wrapped
    (`E-USAGE`), which unpacks its rows.
    """
    if not isinstance(model, Transformer):
        what = "a wrapped model reads one example a row, in an order of its own"
        raise ModeledgeError("E-USAGE", what, remedy="run each adapter on its own examples")
    there = {name.partition(":")[0] for _, grafts in all_grafts(model) for name in grafts}
    if before := [name for name in model.leads if name in {*model.leads.active, *adapters.values()}]:
        what = f"{before[0]!r} stands before the examples, and not at maps: it is of all of them or of none"
        raise ModeledgeError("E-USAGE", what, remedy="run it on its own examples; activate another one first")
    numbers = [int(number) for number in batch.indices]
    for number in numbers:
        if number not in adapters:
            raise ModeledgeError("E-USAGE", f"no adapter is named for example {number}", remedy="None is the base")
    names = sorted({name for number in numbers if (name := adapters[number]) is not None})
    for name in names:
        if name not in there:
            raise ModeledgeError("E-SITE", f"there is no adapter {name!r}", remedy=nearest(name, there))
    owners = [adapters[number] for number in numbers]
    token = ROUTES.set(Tokens(masks(batch, batch.source, names, owners), masks(batch, batch.target, names, owners)))
    try:
        yield
    finally:
        ROUTES.reset(token)


def masks(batch: Batch, side: Side | None, names: list[str], owners: list[str | None]) -> dict[str, Tensor]:
    """The tokens `[rows, seq]` of each adapter's examples on one side; nothing for a side that is not there."""
    if side is None:
        return {}
    rows = batch.spans[:, 0]
    segments = batch.side.segments[rows, batch.spans[:, 1]]
    found = {name: torch.zeros_like(side.segments, dtype=torch.bool) for name in names}
    for row, segment, owner in zip(rows.tolist(), segments.tolist(), owners, strict=True):
        if owner is not None:
            found[owner][row] |= side.segments[row] == segment
    return found
