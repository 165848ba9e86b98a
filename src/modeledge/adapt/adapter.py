"""Bottleneck adapters: a narrow network of its own behind each sub-layer of a frozen body.

Houlsby et al. (2019, arXiv 1902.00751, section 2.1) put h ← h + W_up f(W_down h) behind the attention's and the
feed-forward's output, before the residual sum, with W_down to `size` numbers: two small matrices a sub-layer. Pfeiffer
et al. (2021, arXiv 2005.00247) found one behind the feed-forward enough. He et al. (2022, arXiv 2110.04366, table 1 and
section 4.6) let it run beside the feed-forward instead, on what that reads, with a factor: h + s · W_up f(W_down x).
W_up begins at 0, so that a fresh adapter computes what the model did, bit for bit.

A network with an activation is no change of a weight: it cannot be merged. Behind a sub-layer it acts on the output of
its last map, so dropout comes after it, and so does a norm that the family has there before the sum (Gemma 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from modeledge.adapt.checks import check_choice, check_count, check_name, check_rate
from modeledge.adapt.graft import PLACE, Added, graft, names_of
from modeledge.adapt.parts import head_names
from modeledge.adapt.strategy import Clock, Group, Neutral
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.feedforward import ACTIVATIONS, FeedForward
from modeledge.model.init import initialise
from modeledge.model.linear import Linear
from modeledge.model.sites import Site
from modeledge.seed import Noise

PLACEMENTS = {"houlsby": ("attention_output", "down"), "pfeiffer": ("down",), "parallel": ("feedforward",)}


class Bottleneck(Added):
    """y + scale · up(f(down(y))), or of what the sub-layer reads with `beside`."""

    def __init__(self, asked: BottleneckAdapter, width: int, size: int) -> None:
        super().__init__()
        self.beside, self.scale = asked.placement == "parallel", asked.scale
        self.down = Linear(width, size)
        self.activation = ACTIVATIONS[asked.activation]
        self.up = Linear(size, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        added: Tensor = self.up(self.activation(self.down(x if self.beside else y)))
        return y + (added if self.scale == 1.0 else self.scale * added)


@dataclass(frozen=True)
class BottleneckAdapter(Neutral):
    """An adapter of `size` numbers behind (houlsby, pfeiffer) or beside (parallel) sub-layers; without a size the
    model's width divided by `reduction`. `scale` is the factor of what it adds: He et al. take 4 beside."""

    placement: Literal["houlsby", "pfeiffer", "parallel"] = "houlsby"
    size: int | None = None
    reduction: int = 16
    activation: Literal["relu", "gelu", "gelu_tanh", "silu", "tanh"] = "gelu"
    scale: float = 1.0
    name: str = "default"
    kind: ClassVar[str] = "adapter"
    mergeable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_name(self.name, "strategies.adapter.name")
        check_choice("adapter.placement", self.placement, tuple(PLACEMENTS))
        check_choice("adapter.activation", self.activation, tuple(ACTIVATIONS))
        check_count("adapter.reduction", self.reduction, 1)
        check_rate("adapter.scale", self.scale)
        if self.size is not None:
            check_count("adapter.size", self.size, 1)

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Put one at each place; `E-SITE` where there is none, or where a width leaves nothing after the reduction."""
        for site in self.sites(model):
            width = site.rows.stop - site.rows.start
            size = width // self.reduction if self.size is None else self.size
            if not 0 < size <= width:
                what = f"an adapter of {size} numbers stands at {site.path}, which has {width}"
                remedy = f"give a size from 1 to {width}, or a smaller reduction"
                raise ModeledgeError("E-SITE", what, where="strategies.adapter", remedy=remedy)
            with torch.device("cpu"):
                added = Bottleneck(self, width, size)
            prefix = f"{site.path}.{PLACE}.{self.name}:{site.kind}."
            initialise(added, noise, std=model.config.init, layers=model.config.stack.layers, prefix=prefix)
            nn.init.zeros_(added.up.weight)
            graft(site, self.name, added)

    def sites(self, model: Backbone) -> Sequence[Site]:
        """Where adapters stand, in the order of the layers for each kind."""
        if self.placement == "parallel":
            found = list(feedforwards(model))
            if not found:
                what = f"a {type(model).__name__} has no feed-forward module to run beside"
                raise ModeledgeError("E-SITE", what, where="strategies.adapter.placement", remedy="houlsby or pfeiffer")
            return found
        return [site for kind in PLACEMENTS[self.placement] for site in model.sites(kind)]

    def added(self, model: Backbone) -> tuple[str, ...]:
        """The parameters of the adapters, by their names in the model."""
        return names_of(model, self.name)

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """The adapters, and the heads but for those over the vocabulary, which are the body's."""
        return [Group(self.added(model)), Group(head_names(model))]


def feedforwards(model: Backbone) -> Iterator[Site]:
    """Each feed-forward as a whole: its input is what the sub-layer reads, its output what it adds."""
    for path, module in model.named_modules():
        if isinstance(module, FeedForward):
            width = module.down.weight.shape[0]
            yield Site("feedforward", path, module, slice(0, width), path)
