"""LoHa in files: `hada_w1_a`, `hada_w2_a [outputs, r]` and `hada_w1_b`, `hada_w2_b [r, inputs]`, scaled by alpha / r.

Where several of our sites are one map, their ranks stand side by side in blocks (see `lora.py`): in each row one block
alone is not 0, in both factors, so that the element-wise product is that of the site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modeledge.adapt.graft import Added
from modeledge.adapt.hadamard import Hadamard
from modeledge.adapt.peft.config import number, patterned
from modeledge.adapt.peft.lora import stacked, trimmed
from modeledge.adapt.peft.maps import Map, common
from modeledge.adapt.peft.page import Leaves, Page, Written, shaped


class LoHaPage(Page):
    """`peft_type` LOHA."""

    peft_type = "LOHA"
    mark = "hada_"
    reads = ("r", "alpha", "rank_pattern", "alpha_pattern")
    inert = ("rank_dropout", "module_dropout", "init_weights", "use_effective_conv2d")

    def holds(self, added: Added) -> bool:
        return type(added) is Hadamard

    def write(self, maps: Sequence[tuple[Map, list[Added]]]) -> Written:
        tensors: dict[str, Leaves] = {}
        scales: dict[str, float] = {}
        for each, parts in maps:
            held = [part for part in parts if isinstance(part, Hadamard)]
            scale = held[0].scale
            downs = [torch.cat([p.hada_w1_b, p.hada_w2_b], 1) for p in held]  # joined: both have the same blocks
            ups = [p.hada_w1_a * (p.scale / scale) for p in held]
            down, up1 = stacked(each, list(zip(downs, ups, strict=True)))
            _, up2 = stacked(each, [(d, p.hada_w2_a) for d, p in zip(downs, held, strict=True)])
            down1, down2 = (down[:, : each.inputs], down[:, each.inputs :])
            tensors[each.name] = {"hada_w1_a": up1, "hada_w1_b": down1, "hada_w2_a": up2, "hada_w2_b": down2}
            scales[each.name] = scale
        ranks = {name: leaves["hada_w1_b"].shape[0] for name, leaves in tensors.items()}
        rank, other_ranks = common(ranks)
        alpha, other_alphas = common({name: scales[name] * ranks[name] for name in ranks})
        said = {"r": rank, "alpha": alpha, "rank_pattern": other_ranks, "alpha_pattern": other_alphas}
        return Written(said | {"init_weights": True}, tensors)

    def read(self, said: Mapping[str, Any], each: Map, leaves: Leaves) -> list[Added]:
        rank = int(patterned(said, "rank_pattern", each.name, number(said, "r", 8, least=1)))
        scale = patterned(said, "alpha_pattern", each.name, number(said, "alpha", 8)) / rank
        tall, flat = (each.height, rank), (rank, each.inputs)
        shaped(each.name, leaves, {"hada_w1_a": tall, "hada_w1_b": flat, "hada_w2_a": tall, "hada_w2_b": flat})
        made: list[Added] = []
        rows1, rows2 = each.cut(leaves["hada_w1_a"], 0.0), each.cut(leaves["hada_w2_a"], 0.0)
        for site, one, two in zip(each.sites, rows1, rows2, strict=True):
            used = trimmed(one) & trimmed(two)
            held = Hadamard(site, int(used.sum()), scale)
            with torch.no_grad():
                held.hada_w1_a.copy_(one[:, used])
                held.hada_w2_a.copy_(two[:, used])
                held.hada_w1_b.copy_(leaves["hada_w1_b"][used])
                held.hada_w2_b.copy_(leaves["hada_w2_b"][used])
            made.append(held)
        return made
