"""(IA)³ in files: `ia3_l`, `[outputs, 1]` beside a map whose output is scaled, `[1, inputs]` beside one of those in
`feedforward_modules`, whose input is.

Rows of no site are scaled by 1. The input of a map that is several of our sites at once cannot be scaled for one alone,
nor is it here for all of them: that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modeledge.adapt.graft import Added
from modeledge.adapt.ia3 import ScaledInput, ScaledOutput
from modeledge.adapt.peft.config import aimed
from modeledge.adapt.peft.maps import Map
from modeledge.adapt.peft.page import Leaves, Page, Written, shaped
from modeledge.errors import ModeledgeError


class IA3Page(Page):
    """`peft_type` IA3."""

    peft_type = "IA3"
    mark = "ia3_"
    reads = ("feedforward_modules", "fan_in_fan_out")
    inert = ("init_ia3_weights",)

    def holds(self, added: Added) -> bool:
        return type(added) in (ScaledInput, ScaledOutput)

    def write(self, maps: Sequence[tuple[Map, list[Added]]]) -> Written:
        tensors: dict[str, Leaves] = {}
        inputs: list[str] = []
        for each, parts in maps:
            if any(isinstance(part, ScaledInput) for part in parts):
                self._whole(each)
                inputs.append(each.name)
                (part,) = parts
                assert isinstance(part, ScaledInput)
                tensors[each.name] = {"ia3_l": part.ia3_l.detach()[None]}
            else:
                held = [(s, p.ia3_l) for s, p in zip(each.sites, parts, strict=True) if isinstance(p, ScaledOutput)]
                tensors[each.name] = {"ia3_l": each.spread(held, 1.0)[:, None]}
        said = {"feedforward_modules": sorted(inputs), "fan_in_fan_out": maps[0][0].transposed}
        return Written(said | {"init_ia3_weights": True}, tensors)

    def read(self, said: Mapping[str, Any], each: Map, leaves: Leaves) -> list[Added]:
        aims = said.get("feedforward_modules") or []
        if aims and aimed({"target_modules": aims}, [each.name]):
            self._whole(each)
            shaped(each.name, leaves, {"ia3_l": (1, each.inputs)})
            held = ScaledInput(each.sites[0])
            with torch.no_grad():
                held.ia3_l.copy_(leaves["ia3_l"][0])
            return [held]
        shaped(each.name, leaves, {"ia3_l": (each.height, 1)})
        made: list[Added] = []
        for site, rows in zip(each.sites, each.cut(leaves["ia3_l"][:, 0], 1.0), strict=True):
            out = ScaledOutput(site)
            with torch.no_grad():
                out.ia3_l.copy_(rows)
            made.append(out)
        return made

    def _whole(self, each: Map) -> None:
        if len(each.sites) + len(each.others) != 1:
            kinds = ", ".join(site.kind for site in (*each.sites, *each.others))
            what = f"the input of one map that is {kinds} here cannot be scaled"
            raise ModeledgeError("E-ADAPTER", what, where=each.name, remedy="merge it with the library that wrote it")
