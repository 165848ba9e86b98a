"""DoRA: train how long each row of a weight is apart from where it points (Liu et al. 2024, arXiv 2402.09353).

Full fine-tuning changes the length and the direction of a row almost independently, LoRA only both together. DoRA
trains the length m `[outputs]` on its own and moves the direction by LoRA's low-rank change:

    W' = m · (W + scale · B A) / ‖W + scale · B A‖        (norm of each row; equation 5)

m begins as ‖W‖ and B as 0, so W' = W. As in section 4.3 the norm is held constant in the backward pass. It is had
without making the sum: ‖w + s b A‖² = ‖w‖² + 2 s b·(A w) + s² b (A Aᵀ) bᵀ, rank-sized products beside one that reads W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from modeledge.adapt.lora import Lora, LowRank
from modeledge.model.sites import Site
from modeledge.seed import Noise


class Turned(LowRank):
    """A low-rank turn and `lora_magnitude_vector [outputs]` beside one site."""

    additive = False

    def __init__(self, site: Site, rank: int, scale: float, *, dropout: float = 0.0, gaussian: bool = False) -> None:
        super().__init__(site, rank, scale, dropout=dropout, gaussian=gaussian)
        self.lora_magnitude_vector = nn.Parameter(torch.ones(len(site.weight)))

    def start(self, noise: Noise) -> None:
        super().start(noise)
        self.lora_magnitude_vector.copy_(self.lengths(self.site.weight))

    @torch.no_grad()
    def lengths(self, weight: Tensor) -> Tensor:
        """‖w + scale · b A‖ of each row `[outputs]`, for rows of `weight`."""
        a, b = self.lora_A, self.lora_B
        weight = weight.to(a.dtype)
        mixed = 2 * self.scale * ((weight @ a.T) * b).sum(1)
        turned = self.scale**2 * ((b @ (a @ a.T)) * b).sum(1)
        return (weight.square().sum(1) + (mixed + turned)).sqrt()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = super().forward(x, y)
        change = (self.lora_magnitude_vector / self.lengths(self.site.weight) - 1).to(x.dtype)  # small: bf16 holds it
        bias = self.site.bias
        return torch.addcmul(total, total if bias is None else total - bias.to(x.dtype), change)

    def folded(self, weight: Tensor) -> Tensor:
        lengthened = (self.lora_magnitude_vector / self.lengths(weight))[:, None]
        return lengthened.to(weight.dtype) * super().folded(weight)


@dataclass(frozen=True, kw_only=True)
class Dora(Lora):
    """DoRA on the sites' maps: LoRA's fields, and beside them one trained length for each row."""

    kind: ClassVar[str] = "dora"
    beside_one: ClassVar[type[LowRank]] = Turned
