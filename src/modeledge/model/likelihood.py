"""Cross-entropy over a vocabulary without ever holding `[tokens, vocab]` scores.

The scores are made, turned into their gradient and thrown away chunk by chunk, in the forward pass; what is kept is the
gradient with respect to the states `[n, width]` and, in fp32, to the weights `[vocab, width]`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 256  # rows whose scores stay in a core's cache: a tenth faster than 1,024


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        weights: Tensor,
        smoothing: float,
        softcap: float | None,
    ) -> Tensor:
        working = weight.detach().to(states.dtype)
        wide = torch.float64 if states.dtype is torch.float64 else torch.float32
        total = torch.zeros((), dtype=wide, device=states.device)
        wants = ctx.needs_input_grad
        grad_states = torch.empty_like(states) if wants[0] else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if wants[1] else None
        grad_bias = torch.zeros_like(bias, dtype=wide) if bias is not None and wants[2] else None
        for start in range(0, len(states), CHUNK):
            piece = slice(start, start + CHUNK)
            inputs, share = states[piece], weights[piece].to(wide)
            scores = (inputs @ working.T).to(wide)
            if bias is not None:
                scores += bias.detach().to(wide)
            inside = None
            if softcap is not None:
                inside = torch.tanh(scores / softcap)
                scores = inside * softcap
            scores -= scores.amax(-1, keepdim=True)
            right = scores.gather(1, labels[piece, None]).squeeze(1)
            mean = scores.mean(-1) if smoothing else None
            slope = scores.exp_()  # in place: log_softmax would cost three times these passes on a CPU
            sums = slope.sum(-1)
            logs = sums.log()
            loss = logs - right if mean is None else logs - (1 - smoothing) * right - smoothing * mean
            total += (loss * share).sum()
            if not any(wants[:3]):
                continue
            slope *= (share / sums)[:, None]
            if smoothing:
                slope -= (share * (smoothing / slope.shape[1]))[:, None]
            slope[torch.arange(len(slope), device=slope.device), labels[piece]] -= (1 - smoothing) * share
            if inside is not None:
                slope *= 1 - inside**2
            if grad_bias is not None:
                grad_bias += slope.sum(0)
            narrow = slope.to(states.dtype)
            if grad_states is not None:
                torch.mm(narrow, working, out=grad_states[piece])
            if grad_weight is not None:
                grad_weight += narrow.T @ inputs
        ctx.save_for_backward(*(g for g in (grad_states, grad_weight, grad_bias) if g is not None))
        ctx.held = tuple(g is not None for g in (grad_states, grad_weight, grad_bias))
        ctx.dtypes = (states.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        held = iter(ctx.saved_tensors)
        scale = gradients[0]
        out = [
            (next(held) * scale).to(dtype) if kept else None for kept, dtype in zip(ctx.held, ctx.dtypes, strict=True)
        ]
        return (*out, None, None, None, None)


def token_loss(
    states: Tensor,
    weight: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    bias: Tensor | None = None,
    smoothing: float = 0.0,
    softcap: float | None = None,
) -> Tensor:
    """Σ weightsᵢ · −log softmax(statesᵢ weightᵀ + bias)[labelsᵢ], a scalar.

    states `[n, width]`, weight `[vocab, width]`, labels `[n]` int, weights `[n]`. `smoothing` spreads that share of the
    target evenly over the vocabulary (Szegedy et al. 2016, section 7), `softcap` bounds the scores by a tanh (Gemma 2).
    The product is computed in the dtype of the
    states, the softmax and the sum in fp32 (fp64 for fp64 states). Under `torch.no_grad()` no gradient is computed.
    """
    if not torch.is_grad_enabled():  # `forward` cannot know: there `needs_input_grad` still says what leaves want
        states, weight, bias = states.detach(), weight.detach(), None if bias is None else bias.detach()
    total = _TokenLoss.apply(states, weight, bias, labels, weights, smoothing, softcap)  # type: ignore[no-untyped-call]
    assert isinstance(total, Tensor)
    return total
