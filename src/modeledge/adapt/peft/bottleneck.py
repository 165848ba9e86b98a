"""Bottleneck adapters in files. PEFT has no such method, so its form is our own, in the same two files.

`adapter.<site>.{down,up}.{weight,bias}` by our names of the sites, `down.weight [size, width]`; the configuration says
the `placement`, the `activation` and the `scale`. Its `peft_type` is one that PEFT refuses with what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modeledge.adapt.adapter import PLACEMENTS, Bottleneck, BottleneckAdapter
from modeledge.adapt.graft import added_by, graft
from modeledge.adapt.peft.config import CONFIG, OWN, check_keys, number
from modeledge.adapt.peft.page import Filed, shaped
from modeledge.errors import ModeledgeError, printable
from modeledge.model.backbone import Backbone
from modeledge.model.feedforward import ACTIVATIONS

BOTTLENECK = f"{OWN}BOTTLENECK"
MARK = "adapter."
READS = ("placement", "activation", "scale")


def write_bottleneck(model: Backbone, adapter: str) -> Filed:
    """Adapters of one placement under one name: whatever the strategy said is the same at each site."""
    held = [added for added in added_by(model, adapter) if isinstance(added, Bottleneck)]
    kinds = {added.site.kind for added in held}
    placement = next(name for name, places in PLACEMENTS.items() if set(places) == kinds)
    activation = next(name for name, f in ACTIVATIONS.items() if f is held[0].activation)
    tensors = {
        f"{MARK}{added.site.name}.{leaf}": tensor.detach()
        for added in held
        for leaf, tensor in added.named_parameters()
    }
    return Filed(BOTTLENECK, dict(zip(READS, (placement, activation, held[0].scale), strict=True)), tensors)


def read_bottleneck(model: Backbone, adapter: str, said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Put adapters at all sites of their placement; `E-KEYS` unless tensors and sites are each other's."""
    check_keys(said, READS, ())
    for key, known in (("placement", PLACEMENTS), ("activation", ACTIVATIONS)):
        if said.get(key) not in known:
            what, remedy = f"{key} is {printable(repr(said.get(key)), 60)}", f"one of {', '.join(known)}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=f"{CONFIG}: {key}", remedy=remedy)
    asked = BottleneckAdapter(said["placement"], activation=said["activation"], scale=number(said, "scale", 1.0))
    left, made = dict(tensors), list[Bottleneck]()
    for site in asked.sites(model):
        mark, width = f"{MARK}{site.name}.", site.rows.stop - site.rows.start
        leaves = {name.removeprefix(mark): left.pop(name) for name in tensors if name.startswith(mark)}
        first = leaves.get("down.bias")
        size = len(first) if first is not None and first.ndim == 1 else 0
        shapes = {"down.weight": (size, width), "down.bias": (size,), "up.weight": (width, size), "up.bias": (width,)}
        shaped(site.name, leaves, shapes)
        added = Bottleneck(asked, width, size)
        with torch.no_grad():
            for leaf, parameter in added.named_parameters():
                parameter.copy_(leaves[leaf])
        added.site = site
        made.append(added)
    if left:
        raise ModeledgeError("E-KEYS", f"{printable(next(iter(left)))} stands at no place that an adapter can have")
    for added in made:
        graft(added.site, adapter, added)
