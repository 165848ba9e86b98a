"""LoRA and DoRA in files: `lora_A.weight [r, inputs]`, `lora_B.weight [outputs, r]`, scaled by lora_alpha / r, or / √r.

Our sites may be rows of one of their maps. What stands beside queries, keys and values of one `c_attn` is one product
there: A's one below the other, B's in blocks,

    [B_q      ] [A_q]
    [   B_k   ] [A_k]      of rank r_q + r_k + r_v,
    [      B_v] [A_v]

and rows of no site are 0. Sites that share one A, as those that were read from such a file do, keep its rank. A scale
that differs inside one map is folded into B. DoRA has beside them `lora_magnitude_vector [outputs]`: of rows that no
site has it is their length, so that they stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from modeledge.adapt.dora import Turned
from modeledge.adapt.graft import Added
from modeledge.adapt.lora import LowRank
from modeledge.adapt.peft.config import CONFIG, number, patterned
from modeledge.adapt.peft.maps import Map, common
from modeledge.adapt.peft.page import Leaves, Page, Written, shaped
from modeledge.errors import ModeledgeError, printable

READS = (
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out", "lora_dropout",
    "bias",
)  # fmt: skip
LENGTHS = "lora_magnitude_vector"
INERT = ("init_lora_weights", "loftq_config", "megatron_core", "ensure_weight_tying", "qalora_group_size")
STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


class LoraPage(Page):
    """`peft_type` LORA."""

    peft_type = "LORA"
    mark = "lora_"
    reads: ClassVar[Sequence[str]] = READS
    inert: ClassVar[Sequence[str]] = INERT

    def holds(self, added: Added) -> bool:
        return type(added) in (LowRank, Turned)

    def write(self, maps: Sequence[tuple[Map, list[Added]]]) -> Written:
        turned = {type(part) is Turned for _, parts in maps for part in parts}
        if len(turned) > 1:
            raise ModeledgeError("E-ADAPTER", "LoRA and DoRA act under one name", remedy="give each a name of its own")
        tensors: dict[str, Leaves] = {}
        scales: dict[str, float] = {}
        for each, parts in maps:
            lows = [part for part in parts if isinstance(part, LowRank)]
            scale = lows[0].scale
            a, b = stacked(
                each, [(p.lora_A, p.lora_B * (p.scale / scale) if p.scale != scale else p.lora_B) for p in lows]
            )
            tensors[each.name], scales[each.name] = {"lora_A.weight": a, "lora_B.weight": b}, scale
            if turned == {True}:
                tensors[each.name][LENGTHS] = lengths(each, parts)
        dropout = next(part.dropout for _, parts in maps for part in parts if isinstance(part, LowRank))
        said = self.config(tensors, scales, maps[0][0].transposed)
        return Written(said | {"lora_dropout": dropout, "use_dora": turned == {True}}, tensors)

    def config(self, tensors: Mapping[str, Leaves], scales: Mapping[str, float], turned: bool) -> dict[str, Any]:
        """Ranks and alphas: the most frequent, and a pattern for the others."""
        ranks = {name: leaves["lora_A.weight"].shape[0] for name, leaves in tensors.items()}
        rank, other_ranks = common(ranks)
        alpha, other_alphas = common({name: scales[name] * ranks[name] for name in ranks})
        return {
            "r": rank,
            "lora_alpha": alpha,
            "rank_pattern": other_ranks,
            "alpha_pattern": other_alphas,
            "use_rslora": False,
            "fan_in_fan_out": turned,
            "bias": "none",
            "init_lora_weights": True,
        }

    def check(self, said: Mapping[str, Any]) -> None:
        if said.get("bias", "none") != "none":
            raise _cannot("bias", said, "biases of the base that were trained too")
        if (
            not any(said.get("init_lora_weights", True) is start for start in STARTS[:3])
            and said.get("init_lora_weights") not in STARTS[3:]
        ):
            raise _cannot("init_lora_weights", said, "a start that changes the weights of the base")

    def read(self, said: Mapping[str, Any], each: Map, leaves: Leaves) -> list[Added]:
        rank, scale = rank_and_scale(said, each.name)
        dora = said.get("use_dora") is True
        shapes: dict[str, tuple[int, ...]] = {
            "lora_A.weight": (rank, each.inputs),
            "lora_B.weight": (each.height, rank),
        }
        shaped(each.name, leaves, shapes | ({LENGTHS: (each.height,)} if dora else {}))
        dropout = number(said, "lora_dropout", 0.0)
        made: list[Added] = []
        for site, rows in zip(each.sites, each.cut(leaves["lora_B.weight"], 0.0), strict=True):
            used = trimmed(rows)
            low = (Turned if dora else LowRank)(site, int(used.sum()), scale, dropout=dropout)
            with torch.no_grad():
                low.lora_A.copy_(leaves["lora_A.weight"][used])
                low.lora_B.copy_(rows[:, used])
                if isinstance(low, Turned):
                    low.lora_magnitude_vector.copy_(leaves[LENGTHS][site.hf_rows])
            made.append(low)
        return made


def rank_and_scale(said: Mapping[str, Any], module: str) -> tuple[int, float]:
    """A module's rank, and what B A is multiplied by."""
    rank = patterned(said, "rank_pattern", module, number(said, "r", 8, least=1))
    alpha = patterned(said, "alpha_pattern", module, number(said, "lora_alpha", 8))
    if not isinstance(rank, int) or rank < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"a rank of {rank!r}", where=f"{CONFIG}: {module}")
    return rank, alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)


def trimmed(rows: Tensor) -> Tensor:
    """Which columns of a B act on some row: those of other sites' blocks do not. All of them, where B is 0 (at the
    start of training)."""
    used = (rows != 0).any(0)
    return used if bool(used.any()) else torch.ones_like(used)


def lengths(each: Map, parts: Sequence[Added]) -> Tensor:
    """DoRA's trained lengths of a whole map; of the rows that it does not act on the length that they have."""
    held = [(s, p.lora_magnitude_vector) for s, p in zip(each.sites, parts, strict=True) if isinstance(p, Turned)]
    first = held[0][1]
    still = [(site, site.weight.detach().to(first.dtype).norm(dim=1).to(first.device)) for site in each.others]
    return each.spread([*held, *still], 1.0)


def stacked(each: Map, parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The A `[r, inputs]` and B `[height, r]` of a whole map, out of those of its sites."""
    downs: list[Tensor] = []
    blocks: list[list[tuple[int, Tensor]]] = []  # for each A, the numbers of the sites that share it, and their B
    for number_, (a, b) in enumerate(parts):
        at = next((n for n, other in enumerate(downs) if other.shape == a.shape and torch.equal(other, a)), len(downs))
        if at == len(downs):
            downs.append(a.detach())
            blocks.append([])
        blocks[at].append((number_, b.detach()))
    ups = [each.spread([(each.sites[n], b) for n, b in held], 0.0) for held in blocks]
    return torch.cat(downs), torch.cat(ups, 1)


def _cannot(key: str, said: Mapping[str, Any], why: str) -> ModeledgeError:
    what = f"{key} is {printable(repr(said.get(key)), 60)}: {why}"
    remedy = "merge it with the library that wrote it"
    return ModeledgeError("E-ADAPTER", what, where=f"{CONFIG}: {key}", remedy=remedy)
