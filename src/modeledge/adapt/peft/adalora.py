"""AdaLoRA in files: `lora_A [r, inputs]`, `lora_E [r, 1]`, `lora_B [outputs, r]`, scaled by lora_alpha / (r + 1e-5).

All maps of a file have one rank, `init_r`: where several of our sites are one map (see `lora.py`) their triplets stand
side by side, and maps with fewer are filled up with values 0. What was cut stays in the file as a value 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modeledge.adapt.adalora import Triplets
from modeledge.adapt.graft import Added
from modeledge.adapt.peft.config import number
from modeledge.adapt.peft.lora import INERT, READS, LoraPage, stacked, trimmed
from modeledge.adapt.peft.maps import Map
from modeledge.adapt.peft.page import Leaves, Written, shaped

SCHEDULE = ("init_r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step")


class AdaLoraPage(LoraPage):
    """`peft_type` ADALORA. A rank_pattern names the triplets that were kept: the tensors are cut to them already."""

    peft_type, reads, inert = "ADALORA", READS, (*INERT, *SCHEDULE)

    def holds(self, added: Added) -> bool:
        return type(added) is Triplets

    def write(self, maps: Sequence[tuple[Map, list[Added]]]) -> Written:
        tensors: dict[str, Leaves] = {}
        scale = next(part.scale for part in maps[0][1] if isinstance(part, Triplets))
        for each, parts in maps:
            threes = [part for part in parts if isinstance(part, Triplets)]
            joined = [torch.cat([p.lora_A, p.lora_E * (p.scale / scale)], 1) for p in threes]
            down, up = stacked(each, [(j, p.lora_B) for j, p in zip(joined, threes, strict=True)])
            tensors[each.name] = {"lora_A": down[:, :-1], "lora_E": down[:, -1:], "lora_B": up}
        rank = max(leaves["lora_A"].shape[0] for leaves in tensors.values())
        for leaves in tensors.values():
            more = rank - leaves["lora_A"].shape[0]
            leaves |= {n: torch.nn.functional.pad(leaves[n], (0, 0, 0, more)) for n in ("lora_A", "lora_E")}
            leaves["lora_B"] = torch.nn.functional.pad(leaves["lora_B"], (0, more))
        said = {"r": rank, "init_r": rank, "target_r": rank, "lora_alpha": scale * (rank + 1e-5), "bias": "none"}
        said |= {"tinit": 0, "tfinal": 0, "total_step": 1, "fan_in_fan_out": maps[0][0].transposed}
        dropout = next(part.dropout for part in maps[0][1] if isinstance(part, Triplets))
        return Written(said | {"lora_dropout": dropout, "init_lora_weights": True}, tensors)

    def read(self, said: Mapping[str, Any], each: Map, leaves: Leaves) -> list[Added]:
        rank = leaves["lora_A"].shape[0] if "lora_A" in leaves and leaves["lora_A"].ndim else 0
        shapes = {"lora_A": (rank, each.inputs), "lora_E": (rank, 1), "lora_B": (each.height, rank)}
        shaped(each.name, leaves, shapes)
        alpha = number(said, "lora_alpha", 8)
        alpha = alpha if alpha > 0 else float(rank)
        made: list[Added] = []
        for site, rows in zip(each.sites, each.cut(leaves["lora_B"], 0.0), strict=True):
            used = trimmed(rows)
            three = Triplets(site, int(used.sum()), alpha, dropout=number(said, "lora_dropout", 0.0))
            three.scale = alpha / (rank + 1e-5)
            with torch.no_grad():
                three.lora_A.copy_(leaves["lora_A"][used])
                three.lora_E.copy_(leaves["lora_E"][used])
                three.lora_B.copy_(rows[:, used])
            made.append(three)
        return made
