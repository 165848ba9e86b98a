"""The two layers that hold nearly all weights: they keep fp32 masters and compute in the dtype of their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.model.config import Norm
from modeledge.model.norm import layer_norm, rms_norm
from modeledge.model.working import Working


class Linear(nn.Module):
    """y = x Wᵀ + b with `weight [outputs, inputs]`, cast to the dtype of x for the product.

    The parameter stays the fp32 master; the working copy lives for one use, that of a frozen weight until it changes.
    `residual` marks a layer that writes into
    the residual stream, whose fresh weights are scaled down (Radford et al. 2019, section 2.3).
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, residual: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.residual = residual
        self.working = Working()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(
            x, self.working.of((self.weight,), x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        )

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]} → {self.weight.shape[0]}"


class Joint:
    """A forward hook that can also act within a product: that of one layer, or of several that read the same."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], y: Tensor) -> Tensor:
        """What it makes of one layer's output."""
        raise NotImplementedError

    def whole(
        self, modules: Sequence[nn.Module], x: Tensor, weight: Tensor, bias: Tensor | None, sizes: Sequence[int]
    ) -> Tensor | None:
        """x Wᵀ + b with what it makes of it, for the layers' weights on top of each other; `None` to be asked after."""
        return None

    def together(self, modules: Sequence[nn.Module], x: Tensor, y: Tensor, sizes: Sequence[int]) -> Tensor:
        """What it makes of the layers' outputs side by side, y `[..., sum of sizes]`."""
        raise NotImplementedError


def joinable(parts: Sequence[Linear]) -> bool:
    """Can these layers be computed as one product: does nothing watch or change them but hooks that can be joined?"""
    return all(
        type(part) is Linear
        and not part._forward_pre_hooks
        and all(isinstance(hook, Joint) for hook in part._forward_hooks.values())
        for part in parts
    )


def joined(parts: Sequence[Linear], x: Tensor, sizes: Sequence[int], working: Working) -> tuple[Tensor, ...]:
    """The outputs of layers that are `joinable`, all of them with or all without a bias, by one product."""
    weight = working.of([part.weight for part in parts], x.dtype)
    biases = tuple(part.bias for part in parts if part.bias is not None)
    bias = (biases[0] if len(biases) == 1 else torch.cat(biases)).to(x.dtype) if biases else None
    hook = next((hook for part in parts for hook in part._forward_hooks.values() if isinstance(hook, Joint)), None)
    y = None if hook is None else hook.whole(parts, x, weight, bias, sizes)
    if y is None:
        y = F.linear(x, weight, bias)
        y = y if hook is None else hook.together(parts, x, y, sizes)
    return torch.split(y, list(sizes), -1)


def applied(part: nn.Module, x: Tensor) -> Tensor:
    """`part(x)`; in training a hook that can act within the product does."""
    if part._forward_hooks and isinstance(part, Linear) and torch.is_grad_enabled() and joinable((part,)):
        return joined((part,), x, (len(part.weight),), part.working)[0]
    y: Tensor = part(x)
    return y


class LayerNorm(nn.Module):
    """(x − mean) / √(variance + eps) · weight + bias over the last dimension."""

    def __init__(self, width: int, eps: float, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":  # CPUs take bf16 states with fp32 weights as they are
            if torch.compiler.is_compiling():
                return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
            return layer_norm(x, self.weight, self.bias, self.eps)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype), bias, self.eps)


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) · weight over the last dimension; `around_one` holds weight − 1 in its place."""

    def __init__(self, width: int, eps: float, *, around_one: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps, self.around_one = eps, around_one

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight + 1 if self.around_one else self.weight
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            return rms_norm(x, weight, self.eps)
        return F.rms_norm(x, weight.shape, weight.to(x.dtype), self.eps)


def build_norm(norm: Norm, width: int) -> LayerNorm | RMSNorm:
    """The norm of a stack over `width` numbers."""
    if norm.kind == "layer":
        return LayerNorm(width, norm.eps, bias=norm.bias)
    return RMSNorm(width, norm.eps, around_one=norm.around_one)
