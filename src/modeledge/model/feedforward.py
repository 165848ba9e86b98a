"""The position-wise half of a layer: W₂ activation(W₁ x), or the gated form W₂ (activation(W₁ x) ⊙ W₃ x)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.model import config as shapes
from modeledge.model.linear import Linear


class FeedForward(nn.Module):
    """Widen, activate, narrow (Vaswani et al. 2017, equation 2; gated: Shazeer 2020)."""

    def __init__(self, config: shapes.FeedForward, width: int) -> None:
        super().__init__()
        self.kind, self.activation = config.kind, plain_activation(config.kind)
        self.gate = Linear(width, config.width, bias=config.bias) if config.kind in ("swiglu", "geglu") else None
        self.up = Linear(width, config.width, bias=config.bias)
        self.down = Linear(config.width, width, bias=config.bias, residual=True)

    def forward(self, x: Tensor) -> Tensor:
        """States `[rows, seq, width]` → the same shape."""
        if self.gate is not None:
            gate = self.gate(x)
            return self.down((F.silu(gate) if self.kind == "swiglu" else F.gelu(gate)) * self.up(x))  # type: ignore[no-any-return]
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU's tanh approximation (Hendrycks and Gimpel 2016), the activation of GPT-2."""
    return F.gelu(x, approximate="tanh")


def plain_activation(kind: str) -> Callable[[Tensor], Tensor]:
    """The activation of a feed-forward without a gate; GELU where there is one (for a head beside it)."""
    if kind == "gelu_tanh":
        return gelu_tanh
    return F.relu if kind == "relu" else F.gelu
