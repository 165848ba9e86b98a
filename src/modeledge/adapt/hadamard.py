"""LoHa: two low-rank matrices multiplied number by number (Hyeon-Woo et al. 2022, FedPara, arXiv 2108.06098).

    ΔW = alpha / rank · (W₁ₐ W₁ᵦ) ⊙ (W₂ₐ W₂ᵦ)

The element-wise product of two matrices of rank r has rank up to r², for twice the numbers of one LoRA of rank r: a
change of high rank is cheap in numbers, though not in time, for ΔW `[outputs, inputs]` has to be made at every step.
W₂ᵦ begins at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from modeledge.adapt.checks import check_count, check_rate
from modeledge.adapt.graft import Added, draw_uniform
from modeledge.adapt.linear import LinearMethod
from modeledge.adapt.lora import check_rank
from modeledge.model.sites import Site
from modeledge.seed import Noise


class Hadamard(Added):
    """`hada_w1_a`, `hada_w2_a` `[outputs, rank]` and `hada_w1_b`, `hada_w2_b` `[rank, inputs]` beside one site."""

    additive = True

    def __init__(self, site: Site, rank: int, scale: float) -> None:
        super().__init__()
        outputs, inputs = site.weight.shape
        self.hada_w1_a = nn.Parameter(torch.zeros(outputs, rank))
        self.hada_w1_b = nn.Parameter(torch.zeros(rank, inputs))
        self.hada_w2_a = nn.Parameter(torch.zeros(outputs, rank))
        self.hada_w2_b = nn.Parameter(torch.zeros(rank, inputs))
        self.scale = scale

    def start(self, noise: Noise) -> None:
        for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a"):
            draw_uniform(getattr(self, name), noise.at(name))
        self.hada_w2_b.zero_()

    def delta(self) -> Tensor:
        """ΔW `[outputs, inputs]`."""
        return (self.hada_w1_a @ self.hada_w1_b) * (self.hada_w2_a @ self.hada_w2_b) * self.scale

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.addmm(y.flatten(0, -2), x.flatten(0, -2), self.delta().to(x.dtype).T).view(y.shape)

    def folded(self, weight: Tensor) -> Tensor:
        return weight + self.delta().to(weight.dtype)


@dataclass(frozen=True, kw_only=True)
class LoHa(LinearMethod):
    """LoHa on the sites' maps, scaled by alpha / rank."""

    rank: int = 8
    alpha: float = 8.0
    kind: ClassVar[str] = "loha"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("loha.rank", self.rank, 1)
        check_rate("loha.alpha", self.alpha)

    def build(self, sites: Sequence[Site]) -> list[Added]:
        for site in sites:
            check_rank(site, self.rank, self.where("rank"))
        return [Hadamard(site, self.rank, self.alpha / self.rank) for site in sites]
