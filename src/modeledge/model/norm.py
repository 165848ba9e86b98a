"""Norms on a CPU: the gradients of their weights summed in fp32, and an RMSNorm that torch has no kernel for there.

torch's fused backward pass of LayerNorm sums the gradients of weight and bias in the dtype of the states. In bf16 that
sum stops growing: after 4,096 states of width 256 the weight's is 7 % off and the bias's 20 %, after 16,384 they are
14 % and 66 % off (torch 2.13). The kernel is asked for the gradient of the states alone, and the two sums over states
(g · x̂ and g) are products of a row with a matrix, which add in fp32.

RMSNorm: y = x · r · w with r = 1 / √(mean(x²) + eps). Forwards, only the lengths of the rows need fp32 sums. Backwards,
the gradient is that of a LayerNorm whose mean is told to be 0, but for the part that LayerNorm takes off because the
mean depends on x, and the fused kernel takes mean and r as they are given:

    dx_rms = dx_layer(mean = 0, r) + r · (g · w) / D
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """(x − mean) / √(variance + eps) · weight + bias over the last dimension, in the dtype of x; differentiable once
    where x has fewer than 32 bits."""
    if x.dtype.itemsize >= 4 or not torch.is_grad_enabled():
        return F.layer_norm(x, weight.shape, weight, bias, eps)
    y = _Layer.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
    assert isinstance(y, Tensor)
    return y


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        y, mean, rate = torch.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, rate)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rate = ctx.saved_tensors
        gradient, width, dx, dw, db = gradients[0].contiguous(), x.shape[-1], None, None, None
        if ctx.needs_input_grad[0]:
            only = [True, False, False]
            dx, _, _ = torch.ops.aten.native_layer_norm_backward(gradient, x, [width], mean, rate, weight, bias, only)
        if ctx.needs_input_grad[1]:
            each = (x - mean.to(x.dtype)).mul_(gradient).view(-1, width)
            dw = (rate.view(1, -1).to(x.dtype) @ each)[0].to(weight.dtype)
        if ctx.needs_input_grad[2]:
            flat = gradient.view(-1, width)
            db = (flat.new_ones(1, len(flat)) @ flat)[0].to(weight.dtype)
        return dx, dw, db, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / √(mean(x²) + eps) · weight over the last dimension, in the dtype of x; differentiable once."""
    y = _RootMeanSquare.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    assert isinstance(y, Tensor)
    return y


class _RootMeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        states = x.to(wide)
        if x.dtype is wide:  # the squares as the references sum them, to the last bits
            mean = states.square().mean(-1, keepdim=True)
        else:
            mean = torch.linalg.vector_norm(states, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        rate = mean.add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, rate)
        return (states * rate).mul_(weight.to(wide)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rate = ctx.saved_tensors
        gradient, width, dx, dw = gradients[0].contiguous(), x.shape[-1], None, None
        if ctx.needs_input_grad[0]:
            dx, _, _ = torch.ops.aten.native_layer_norm_backward(
                gradient, x, [width], torch.zeros_like(rate), rate, weight.to(rate.dtype), None, [True, False, False]
            )
            taken = (gradient @ weight.to(gradient.dtype)).unsqueeze(-1) * rate.div(width)
            dx = dx.add_(taken.to(dx.dtype))
        if ctx.needs_input_grad[1]:
            dw = (rate.view(1, -1).to(x.dtype) @ (gradient * x).view(-1, width))[0].to(weight.dtype)
        return dx, dw, None
