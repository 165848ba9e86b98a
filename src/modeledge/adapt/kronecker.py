"""LoKr: the change of a weight as a Kronecker product (Yeh et al. 2024, LyCORIS, arXiv 2309.14859).

    ΔW = alpha / rank · C ⊗ D,    C [l, m], D [k, n],    l · k = outputs, m · n = inputs

Every block of ΔW is D times one number of C. D is a product of two thin matrices unless that saves nothing; C, which is
small, is one too where `decompose_both` says so. The rank of ΔW is that of C times that of D. ΔW is never made: with x
as a matrix X `[m, n]`, (C ⊗ D) x = C X Dᵀ. C (or its first factor) begins at 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from modeledge.adapt.checks import check_choice, check_count, check_rate
from modeledge.adapt.graft import Added, draw_uniform
from modeledge.adapt.linear import LinearMethod
from modeledge.adapt.lora import check_rank
from modeledge.model.sites import Site
from modeledge.seed import Noise


def factors(size: int, factor: int | None = None) -> tuple[int, int]:
    """size = m · n with m ≤ n, as near to each other as they come, m at most `factor`; `factor` itself where it divides
    (then in this order), as LyCORIS factors.

    >>> factors(768), factors(127), factors(128, 4), factors(12, 5)
    ((24, 32), (1, 127), (4, 32), (3, 4))
    """
    if factor is not None and size % factor == 0:
        return factor, size // factor
    most = size if factor is None else factor
    small = max(m for m in range(1, math.isqrt(size) + 1) if size % m == 0 and m <= most)
    return small, size // small


class Kronecker(Added):
    """C as `lokr_w1 [l, m]` or `lokr_w1_a [l, rank]` and `lokr_w1_b [rank, m]`; D `[k, n]` likewise as `lokr_w2…`."""

    additive = True

    def __init__(self, site: Site, rank: int, scale: float, *, both: bool, factor: int | None) -> None:
        super().__init__()
        outputs, inputs = site.weight.shape
        (self.l, self.k), (self.m, self.n) = factors(outputs, factor), factors(inputs, factor)
        self.scale, self.rank, self.both, self.bound = scale, rank, both, factor
        thin = both and rank < max(self.l, self.m) / 2
        self._hold("lokr_w1", self.l, self.m, rank if thin else None)
        self._hold("lokr_w2", self.k, self.n, rank if rank < max(self.k, self.n) / 2 else None)

    def _hold(self, name: str, outputs: int, inputs: int, rank: int | None) -> None:
        if rank is None:
            self.register_parameter(name, nn.Parameter(torch.zeros(outputs, inputs)))
        else:
            self.register_parameter(f"{name}_a", nn.Parameter(torch.zeros(outputs, rank)))
            self.register_parameter(f"{name}_b", nn.Parameter(torch.zeros(rank, inputs)))

    def start(self, noise: Noise) -> None:
        for name, parameter in self.named_parameters():
            if name in ("lokr_w1", "lokr_w1_a"):
                parameter.zero_()
            else:
                draw_uniform(parameter, noise.at(name))

    def factor(self, name: str) -> Tensor:
        """C or D."""
        whole = self._parameters.get(name)
        return getattr(self, f"{name}_a") @ getattr(self, f"{name}_b") if whole is None else whole

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        c, d = (self.factor("lokr_w1") * self.scale).to(x.dtype), self.factor("lokr_w2").to(x.dtype)
        inner = nn.functional.linear(x.reshape(*x.shape[:-1], self.m, self.n), d)  # X Dᵀ, [..., m, k]
        return y + nn.functional.linear(inner.mT, c).mT.flatten(-2)

    def delta(self) -> Tensor:
        """ΔW `[outputs, inputs]`."""
        return torch.kron(self.factor("lokr_w1"), self.factor("lokr_w2")) * self.scale

    def folded(self, weight: Tensor) -> Tensor:
        return weight + self.delta().to(weight.dtype)


@dataclass(frozen=True, kw_only=True)
class LoKr(LinearMethod):
    """LoKr on the sites' maps, scaled by alpha / rank. `factor` bounds the smaller side of the split of a dimension, by
    default as near to its root as its divisors are."""

    rank: int = 8
    alpha: float = 8.0
    decompose_both: bool = False
    factor: int | None = None
    kind: ClassVar[str] = "lokr"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("lokr.rank", self.rank, 1)
        check_rate("lokr.alpha", self.alpha)
        check_choice("lokr.decompose_both", self.decompose_both, (True, False))
        if self.factor is not None:
            check_count("lokr.factor", self.factor, 2)

    def build(self, sites: Sequence[Site]) -> list[Added]:
        for site in sites:
            check_rank(site, self.rank, self.where("rank"))
        scale, both, factor = self.alpha / self.rank, self.decompose_both, self.factor
        return [Kronecker(site, self.rank, scale, both=both, factor=factor) for site in sites]
