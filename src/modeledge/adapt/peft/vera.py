"""VeRA in files: `vera_lambda_b [outputs]` and `vera_lambda_d [r]` beside each map, and the pair A, B of all once.

PEFT draws the pair again from `projection_prng_key` where a file has `save_projection` false, and warns that this need
not give the same numbers everywhere; ours is always written. A pair that is not there is drawn as PEFT does: A, then B,
from one generator. A map has one d: one that is several of our sites (GPT-2's `c_attn`) can be read, and written where
one site alone was trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from modeledge.adapt.graft import Added
from modeledge.adapt.peft.config import CONFIG, number
from modeledge.adapt.peft.maps import Map
from modeledge.adapt.peft.page import Leaves, Page, Written, shaped
from modeledge.adapt.vera import Shared
from modeledge.errors import ModeledgeError

PAIR = ("vera_A", "vera_B")


class VeraPage(Page):
    """`peft_type` VERA."""

    peft_type = "VERA"
    mark = "vera_lambda_"
    reads = ("r", "projection_prng_key", "save_projection", "vera_dropout", "bias", "fan_in_fan_out")
    inert = ("d_initial", "init_weights")
    shared = PAIR

    def holds(self, added: Added) -> bool:
        return type(added) is Shared

    def write(self, maps: Sequence[tuple[Map, list[Added]]]) -> Written:
        tensors: dict[str, Leaves] = {}
        pairs = [(each, site, part) for each, parts in maps for site, part in zip(each.sites, parts, strict=True)]
        held = [(each, site, part) for each, site, part in pairs if isinstance(part, Shared)]
        rank, first = len(held[0][2].d), held[0][2]
        a = torch.zeros(rank, max(each.inputs for each, _ in maps))
        b = torch.zeros(max(each.height for each, _ in maps), rank)
        for each, site, part in held:
            a[:, : each.inputs] = part.vera_A
            b[site.hf_rows] = part.vera_B.to(b.dtype)
            if not torch.equal(
                tensors.setdefault(each.name, {"vera_lambda_d": part.d.detach()})["vera_lambda_d"], part.d
            ):
                what = "its sites are one map there, with one d, and each has learned another"
                raise ModeledgeError("E-ADAPTER", what, where=each.name, remedy="write the whole model: merge = true")
        for each, site, part in held:  # what one site says of the pair another may have said otherwise
            if not torch.equal(a[:, : each.inputs], part.vera_A) or not torch.equal(b[site.hf_rows], part.vera_B):
                raise ModeledgeError("E-ADAPTER", "its maps do not share one pair of matrices", where=each.name)
        for each, parts in maps:
            rows = [(s, p.vera_lambda_b) for s, p in zip(each.sites, parts, strict=True) if isinstance(p, Shared)]
            tensors[each.name]["vera_lambda_b"] = each.spread(rows, 0.0)
        said: dict[str, Any] = {
            "r": rank,
            "projection_prng_key": 0,
            "save_projection": True,
            "vera_dropout": first.dropout,
        }
        said |= {"fan_in_fan_out": maps[0][0].transposed, "bias": "none", "d_initial": 0.1, "init_weights": True}
        return Written(said, tensors, dict(zip(PAIR, (a, b), strict=True)))

    def check(self, said: Mapping[str, Any]) -> None:
        if said.get("bias", "none") != "none":
            what, remedy = "biases of the base were trained too", "merge it with the library that wrote it"
            raise ModeledgeError("E-ADAPTER", what, where=f"{CONFIG}: bias", remedy=remedy)

    def prepare(self, said: Mapping[str, Any], maps: Sequence[Map], shared: Leaves) -> Leaves:
        """The pair: of the file, or drawn as PEFT does."""
        rank = int(number(said, "r", 256, least=1))
        shapes = {"vera_A": (rank, max(m.inputs for m in maps)), "vera_B": (max(m.height for m in maps), rank)}
        if said.get("save_projection", True) or shared:
            shaped("base_model", shared, shapes)
            return shared
        key = said.get("projection_prng_key", 0)
        if type(key) is not int or key < 0:
            raise ModeledgeError("E-CONFIG-VALUE", f"a key of {key!r}", where=f"{CONFIG}: projection_prng_key")
        return dict(zip(PAIR, draw_pair(key, list(shapes.values())), strict=True))

    def read(self, said: Mapping[str, Any], each: Map, leaves: Leaves) -> list[Added]:
        rank = int(number(said, "r", 256, least=1))
        own = {name: tensor for name, tensor in leaves.items() if name not in PAIR}
        shaped(each.name, own, {"vera_lambda_d": (rank,), "vera_lambda_b": (each.height,)})
        made: list[Shared] = []
        for site, rows in zip(each.sites, each.cut(leaves["vera_lambda_b"], 0.0), strict=True):
            added = Shared(site, rank, 0.0, number(said, "vera_dropout", 0.0), made[0] if made else None)
            with torch.no_grad():
                added.d.copy_(leaves["vera_lambda_d"])
                added.vera_lambda_b.copy_(rows)
            added.share(leaves["vera_A"], leaves["vera_B"], site)
            made.append(added)
        return [*made]


def draw_pair(key: int, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Matrices as PEFT draws them from a key, one behind the other."""
    generator = torch.Generator().manual_seed(key)
    bounds = [math.sqrt(3) * math.sqrt(2) / math.sqrt(shape[1]) for shape in shapes]
    return [torch.empty(s).uniform_(-b, b, generator=generator) for s, b in zip(shapes, bounds, strict=True)]
