"""The position-wise half of a layer: W₂ activation(W₁ x), or the gated form W₂ (activation(W₁ x) ⊙ W₃ x)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.model import config as shapes
from modeledge.model.draw import NOTHING, Draw, dropped
from modeledge.model.linear import Linear, applied


class FeedForward(nn.Module):
    """Widen, activate, narrow (Vaswani et al. 2017, equation 2; gated: Shazeer 2020)."""

    def __init__(self, config: shapes.FeedForward, width: int, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate
        self.kind, self.activation = config.kind, activation(config.kind)
        self.gate = Linear(width, config.width, bias=config.bias) if config.gated else None
        self.up = Linear(width, config.width, bias=config.bias)
        self.down = Linear(config.width, width, bias=config.bias, residual=True)

    def forward(self, x: Tensor, draw: Draw = NOTHING) -> Tensor:
        """States `[rows, seq, width]` → the same shape."""
        inner = self.activation(applied(self.up if self.gate is None else self.gate, x))
        inner = inner if self.gate is None else inner * applied(self.up, x)
        return applied(self.down, dropped(inner, draw.mask(inner, self.rate, "inner")))


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU's tanh approximation (Hendrycks and Gimpel 2016), the activation of GPT-2."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}
GATES = {"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_tanh", "reglu": "relu"}


def activation(kind: str) -> Callable[[Tensor], Tensor]:
    """The activation of a feed-forward, which for a gated one acts on the gate."""
    return ACTIVATIONS[GATES.get(kind, kind)]
