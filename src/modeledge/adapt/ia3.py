"""(IA)³: learn how loud each inner activation is (Liu et al. 2022, arXiv 2205.05638).

Three vectors a layer are trained, which scale the keys, the values and what the second feed-forward map reads, number
by number:

    softmax(q (l_k ⊙ k)ᵀ) (l_v ⊙ v),    W₂ (l_ff ⊙ activation(W₁ x))

They begin at 1. A model of 12 layers and width 768 trains 12 · (768 + 768 + 3072) = 55,296 numbers. Each vector scales
the rows (or for `down` the columns) of one weight, and is folded in by multiplying them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from modeledge.adapt.graft import Added
from modeledge.adapt.linear import LinearMethod
from modeledge.model.sites import Site


class ScaledOutput(Added):
    """l ⊙ (W x + b): `ia3_l [outputs]`. The distance from 1 is what is multiplied, so that bf16 keeps small ones."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.ia3_l = nn.Parameter(torch.ones(site.weight.shape[0]))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.addcmul(y, y, (self.ia3_l - 1).to(y.dtype))

    def folded(self, weight: Tensor) -> Tensor:
        return weight * self.ia3_l[:, None].to(weight.dtype)

    def folded_bias(self, bias: Tensor) -> Tensor:
        return bias * self.ia3_l.to(bias.dtype)


class ScaledInput(Added):
    """W (l ⊙ x) + b: `ia3_l [inputs]`."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.ia3_l = nn.Parameter(torch.ones(site.weight.shape[1]))

    def before(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, x, (self.ia3_l - 1).to(x.dtype))

    def folded(self, weight: Tensor) -> Tensor:
        return weight * self.ia3_l.to(weight.dtype)


@dataclass(frozen=True, kw_only=True)
class IA3(LinearMethod):
    """(IA)³: of a `down` the input is scaled, of every other site the output."""

    sites: str | Sequence[str] = "key,value,down"
    kind: ClassVar[str] = "ia3"

    def build(self, sites: Sequence[Site]) -> list[Added]:
        return [ScaledInput(site) if site.kind == "down" else ScaledOutput(site) for site in sites]
