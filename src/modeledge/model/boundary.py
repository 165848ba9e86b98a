"""What a span hides, from the states on both sides of it (Joshi et al. 2020, SpanBERT, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.model.config import Norm
from modeledge.model.facts import Facts
from modeledge.model.linear import Linear, build_norm


@dataclass(frozen=True, kw_only=True)
class BoundaryHead:
    """A vector for each token of a span out of the states just outside it and its place within:

        h₀ = [x_{s−1}; x_{e+1}; p_{i−s+1}]    h₁ = LayerNorm(GELU(W₁ h₀))    yᵢ = LayerNorm(GELU(W₂ h₁))

    It is scored against the table of tokens, with a bias an id where `bias` says so. There are `places` embeddings p of
    `place_width` numbers (the authors' code has 20 of 200); tokens further on share the last one. It is kept in our own
    format: no class of the reference library reads so.
    """

    places: int = 20
    place_width: int = 200
    bias: bool = True

    def build(self, config: Facts) -> Boundary:
        return Boundary(self, config)


class Boundary(nn.Module):
    """States on both sides of a span, and a place in it → what is multiplied by the table of tokens."""

    def __init__(self, spec: BoundaryHead, config: Facts) -> None:
        super().__init__()
        self.spec, width = spec, config.width
        inner = config.table.width or width
        self.place = nn.Parameter(torch.empty(spec.places, spec.place_width))
        self.first, self.first_norm = Linear(2 * width + spec.place_width, width), build_norm(Norm(), width)
        self.second, self.second_norm = Linear(width, inner), build_norm(Norm(), inner)
        self.bias = nn.Parameter(torch.empty(config.table.vocab)) if spec.bias else None

    def hidden(self, left: Tensor, right: Tensor, place: Tensor) -> Tensor:
        """States `[n, width]` of the left and the right neighbour, places in the span `[n]` from 0 on → `[n, width of
        the table]`."""
        where = self.place[place.clamp(max=self.spec.places - 1)].to(left.dtype)
        x = self.first_norm(F.gelu(self.first(torch.cat((left, right, where), -1))))
        told: Tensor = self.second_norm(F.gelu(self.second(x)))
        return told

    def forward(self, left: Tensor, right: Tensor, place: Tensor, embedding: Tensor) -> Tensor:
        """The same → scores `[n, vocab]` against the table of tokens."""
        x = self.hidden(left, right, place)
        return F.linear(x, embedding.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
