"""Several LoRAs added up into one: Σ wᵢ sᵢ Bᵢ Aᵢ is a low-rank change again.

Side by side, A = [A₁; A₂; …] and B = [w₁ s₁ B₁, w₂ s₂ B₂, …], the sum is exact, and its rank the sum of the ranks. Cut
to a rank, it is the nearest matrix of that rank (Eckart and Young 1936), by a singular value decomposition that is made
of the thin factors alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import torch
from torch import Tensor

from modeledge.adapt.graft import activate, added_by, check_unused, graft, leads_of
from modeledge.adapt.lora import LowRank
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.sites import HIDDEN


def blend(model: Backbone, name: str, weights: Mapping[str, float], *, rank: int | None = None) -> None:
    """Add the LoRAs that are on a model, each times its weight, up into a new one, `name`, which then acts alone.

    Without `rank` the sum is exact; with it each map's is the nearest of that rank. Sites that one of them lacks get
    what the others say. An adapter that is not there is `E-SITE`, one that is no LoRA `E-ADAPTER`, a name that is taken
    `E-CONFIG`, a weight or a rank that makes no sense `E-CONFIG-VALUE`; the model is then as it was.
    """
    check_unused(model, name)
    check_numbers(weights, rank)
    made = [summed(parts, rank) for parts in parts_by_site(model, weights).values()]
    for low in made:
        graft(low.site, name, low)
    activate(model, [name])


def check_numbers(weights: Mapping[str, float], rank: int | None) -> None:
    """Weights are finite, there is one at least, and a rank is a whole number of at least 1 (`E-CONFIG-VALUE`)."""
    if not weights:
        raise ModeledgeError(
            "E-CONFIG-VALUE", "nothing is to be added up", remedy='name adapters: {"a": 0.5, "b": 0.5}'
        )
    for adapter, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, Real) or not math.isfinite(weight):
            what = f"the weight of {adapter!r} is {weight!r}"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="give a finite number")
    if rank is not None and (type(rank) is not int or rank < 1):
        remedy = "give a whole number of at least 1, or none for the exact sum"
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no rank {rank!r}", remedy=remedy)


def parts_by_site(model: Backbone, weights: Mapping[str, float]) -> dict[str, list[tuple[LowRank, float]]]:
    """What each adapter adds to a site, with its weight, by the site's name."""
    held: dict[str, list[tuple[LowRank, float]]] = {}
    for adapter, weight in weights.items():
        found = list(added_by(model, adapter))
        if adapter in leads_of(model):
            what = f"{adapter!r} stands before the examples: only LoRAs add up"
            raise ModeledgeError("E-ADAPTER", what, remedy="use one of them at a time")
        if not found:
            raise ModeledgeError("E-SITE", f"there is no adapter {adapter!r}")
        for added in found:
            if type(added) is not LowRank:
                what = f"{adapter!r} is a {type(added).__name__}: only LoRAs add up"
                raise ModeledgeError("E-ADAPTER", what, remedy="merge each into the weights in its turn")
            if added.site.kind == HIDDEN:
                what = f"{adapter!r} stands at {added.site.path}, and heads do not add up"
                raise ModeledgeError("E-ADAPTER", what, remedy="merge each into the weights in its turn")
            held.setdefault(added.site.name, []).append((added, weight))
    return held


def summed(parts: Sequence[tuple[LowRank, float]], rank: int | None) -> LowRank:
    """The sum of what acts at one site, exact or of a rank."""
    a = torch.cat([low.lora_A.detach() for low, _ in parts])
    b = torch.cat([weight * low.scale * low.lora_B.detach() for low, weight in parts], 1)
    a, b = (a, b) if rank is None else cut(a, b, rank)
    site = parts[0][0].site
    made = LowRank(site, len(a), 1.0)
    made.site = site
    with torch.no_grad():
        made.lora_A.copy_(a)
        made.lora_B.copy_(b)
    return made


def cut(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best A and B of a rank for b a; the singular values are shared between the two."""
    left, upper = torch.linalg.qr(b)
    right, lower = torch.linalg.qr(a.T)
    u, s, v = torch.linalg.svd(upper @ lower.T)
    root = s[:rank].sqrt()
    return (root[:, None] * v[:rank]) @ right.T, left @ (u[:, :rank] * root)
