"""LoKr in files: `lokr_w1` or `lokr_w1_a` and `lokr_w1_b`, `lokr_w2` likewise, scaled by alpha / r.

A Kronecker product over a part of the rows of a map is none over all of them: where one map of the checkpoint is
several of our sites, or has its rows in another order, LoKr is refused in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modeledge.adapt.graft import Added
from modeledge.adapt.kronecker import Kronecker
from modeledge.adapt.peft.config import number, patterned
from modeledge.adapt.peft.maps import Map, common
from modeledge.adapt.peft.page import Leaves, Page, Written, shaped
from modeledge.errors import ModeledgeError


class LoKrPage(Page):
    """`peft_type` LOKR."""

    peft_type = "LOKR"
    mark = "lokr_"
    reads = ("r", "alpha", "rank_pattern", "alpha_pattern", "decompose_both", "decompose_factor")
    inert = ("rank_dropout", "module_dropout", "init_weights", "use_effective_conv2d", "rank_dropout_scale")

    def holds(self, added: Added) -> bool:
        return type(added) is Kronecker

    def write(self, maps: Sequence[tuple[Map, list[Added]]]) -> Written:
        tensors: dict[str, Leaves] = {}
        for each, parts in maps:
            self._whole(each)
            tensors[each.name] = {name: p.detach() for name, p in parts[0].named_parameters()}
        held = {e.name: p for e, parts in maps for p in parts if isinstance(p, Kronecker)}
        first = next(iter(held.values()))
        rank, ranks = common({name: one.rank for name, one in held.items()})
        alpha, alphas = common({name: one.scale * one.rank for name, one in held.items()})
        said: dict[str, Any] = {"r": rank, "alpha": alpha, "rank_pattern": ranks, "alpha_pattern": alphas}
        said |= {"decompose_factor": -1 if first.bound is None else first.bound, "decompose_both": first.both}
        return Written(said | {"init_weights": True}, tensors)

    def read(self, said: Mapping[str, Any], each: Map, leaves: Leaves) -> list[Added]:
        self._whole(each)
        rank = int(patterned(said, "rank_pattern", each.name, number(said, "r", 8, least=1)))
        scale = patterned(said, "alpha_pattern", each.name, number(said, "alpha", 8)) / rank
        bound = number(said, "decompose_factor", -1, least=-1)
        both = said.get("decompose_both") is True
        held = Kronecker(each.sites[0], rank, scale, both=both, factor=None if bound == -1 else int(bound))
        shaped(each.name, leaves, {name: tuple(p.shape) for name, p in held.named_parameters()})
        with torch.no_grad():
            for name, parameter in held.named_parameters():
                parameter.copy_(leaves[name])
        return [held]

    def _whole(self, each: Map) -> None:
        if not each.whole:
            kinds = ", ".join(site.kind for site in (*each.sites, *each.others))
            what = f"LoKr on one map that is {kinds} here cannot be cut by rows"
            raise ModeledgeError("E-ADAPTER", what, where=each.name, remedy="write the whole model: merge = true")
