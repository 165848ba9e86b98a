"""How a model knows where a token stands. A position acts in one of three places: on the embeddings, on queries and
keys, or on the scores; the others are left alone."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.config import Learned, PositionConfig, Rotary, Sinusoidal

Angles: TypeAlias = tuple[Tensor, Tensor]


class Position(nn.Module):
    """No position at all; the kinds below override what they act on."""

    def embed(self, states: Tensor, positions: Tensor) -> Tensor:
        """Act on embeddings `[rows, seq, width]`."""
        return states

    def angles(self, positions: Tensor, dtype: torch.dtype) -> Angles | None:
        """Cosines and sines `[rows, seq, 1, head_width]`, made once a forward pass for all layers."""
        return None


class LearnedPosition(Position):
    """One learned vector a position; longer rows than the table are `E-POSITION`."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))

    def embed(self, states: Tensor, positions: Tensor) -> Tensor:
        length = self.weight.shape[0]
        may_exceed = positions.shape[1] > length or positions.device.type == "cpu"  # elsewhere, looking costs a wait
        if may_exceed and int(positions.max()) >= length:
            what = f"position {int(positions.max())} is beyond the {length} that the model has learned"
            raise ModeledgeError("E-POSITION", what, remedy=f"keep examples within {length} tokens")
        return states + nn.functional.embedding(positions, self.weight).to(states.dtype)


class SinusoidalPosition(Position):
    """PE(p, 2i) = sin(p / base^(2i/width)), PE(p, 2i+1) = cos(…) (Vaswani et al. 2017)."""

    def __init__(self, width: int, base: float) -> None:
        super().__init__()
        self.width, self.base = width, base

    def embed(self, states: Tensor, positions: Tensor) -> Tensor:
        even = torch.arange(0, self.width, 2, device=positions.device, dtype=torch.float32)
        angle = positions[..., None].float() * torch.exp(even * (-math.log(self.base) / self.width))
        table = torch.stack((angle.sin(), angle.cos()), -1).flatten(-2)[..., : self.width]
        return states + table.to(states.dtype)


class RotaryPosition(Position):
    """Half-split rotary embedding: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin), angle p · base^(−2i/head_width)."""

    def __init__(self, head_width: int, base: float) -> None:
        super().__init__()
        self.head_width, self.base = head_width, base

    def angles(self, positions: Tensor, dtype: torch.dtype) -> Angles | None:
        even = torch.arange(0, self.head_width, 2, device=positions.device, dtype=torch.float32)
        angle = positions[..., None, None].float() * torch.exp(even * (-math.log(self.base) / self.head_width))
        angle = torch.cat((angle, angle), -1)
        sine = angle.sin()
        sine[..., : self.head_width // 2].neg_()  # folded in, so that turning is two products and one sum
        return angle.cos().to(dtype), sine.to(dtype)


def turned(x: Tensor, angles: Angles | None) -> Tensor:
    """Queries or keys `[rows, seq, heads, head_width]` turned by the angles of their positions."""
    if angles is None:
        return x
    cosine, sine = angles
    return x * cosine + torch.roll(x, x.shape[-1] // 2, -1) * sine


def build_position(config: PositionConfig, width: int, head_width: int) -> Position:
    match config:
        case Learned():
            return LearnedPosition(config.length, width)
        case Sinusoidal():
            return SinusoidalPosition(width, config.base)
        case Rotary():
            return RotaryPosition(head_width, config.base)
        case _:
            return Position()
