"""Cross-entropy over a vocabulary without ever holding `[tokens, vocab]` scores.

The scores are made, turned into their gradient and thrown away chunk by chunk, in the forward pass; what is kept is the
gradient with respect to the states `[n, width]` and, in fp32, to the weights `[vocab, width]`. What happens to the
scores of a chunk between its two products is memory traffic alone: where models are compiled, it is compiled too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Judged: TypeAlias = Callable[[Tensor, Tensor, Tensor, float, float | None, bool], tuple[Tensor, Tensor]]

CHUNK = 256  # rows whose scores stay in a core's cache: a tenth faster than 1,024
SCORES = 2**27  # scores at once on an accelerator: 0.5 GiB in fp32, and few enough sums into the weights' gradient


def chunk_rows(vocab: int, device: torch.device) -> int:
    """How many rows of scores are made at once."""
    return CHUNK if device.type == "cpu" else max(CHUNK, SCORES // vocab)


def judged(
    scores: Tensor, labels: Tensor, share: Tensor, smoothing: float, softcap: float | None, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Scores `[n, vocab]` (which are spent), labels and shares `[n]` → the loss of all rows, and its slope `[n, vocab]`
    with respect to the scores (empty where it is not `wanted`)."""
    inside = None
    if softcap is not None:
        inside = torch.tanh(scores / softcap)
        scores = inside * softcap
    if (
        wanted
        and not smoothing
        and inside is None
        and scores.device.type == "cpu"
        and not torch.compiler.is_compiling()
    ):
        return _judged_by_shares(scores, labels, share)
    scores -= scores.amax(-1, keepdim=True)
    right = scores.gather(1, labels[:, None]).squeeze(1)
    mean = scores.mean(-1) if smoothing else None
    slope = scores.exp_()  # in place: log_softmax would cost three times these passes on a CPU
    sums = slope.sum(-1)
    logs = sums.log()
    loss = logs - right if mean is None else logs - (1 - smoothing) * right - smoothing * mean
    total = (loss * share).sum()
    if not wanted:
        return total, scores.new_empty(0)
    slope *= (share / sums)[:, None]
    if smoothing:
        slope -= (share * (smoothing / slope.shape[1]))[:, None]
    slope[torch.arange(len(slope), device=slope.device), labels] -= (1 - smoothing) * share
    if inside is not None:
        slope *= 1 - inside**2
    return total, slope


def _judged_by_shares(scores: Tensor, labels: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The same by torch's softmax, which keeps a row in the cache for all its passes: half the time. −log p of a label
    is read off its share; only where that has no precision left (p < 1e-30) is its sum made again."""
    slope, at = torch.softmax(scores, -1), labels[:, None]
    right = slope.gather(1, at).squeeze(1)
    losses = -right.log()
    if bool((right < 1e-30).any()):
        lost = right < 1e-30
        losses[lost] = torch.logsumexp(scores[lost], -1) - scores.gather(1, at).squeeze(1)[lost]
    if not bool((share == 1).all()):
        slope *= share[:, None]
    slope.scatter_add_(1, at, -share[:, None])
    return (losses * share).sum(), slope


@cache
def compiled_judge() -> Judged:
    """The same, as few passes over the scores as a compiler makes of it."""
    return cast(Judged, torch.compile(judged, dynamic=True))


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
        compiled: bool,
    ) -> Tensor:
        working = weight.detach().to(states.dtype)
        wide = torch.float64 if states.dtype is torch.float64 else torch.float32
        total = torch.zeros((), dtype=wide, device=states.device)
        wants = ctx.needs_input_grad
        grad_states = torch.empty_like(states) if wants[0] else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if wants[1] else None
        grad_bias = torch.zeros_like(bias, dtype=wide) if bias is not None and wants[2] else None
        rows, judge = chunk_rows(len(weight), states.device), compiled_judge() if compiled else judged
        for start in range(0, len(states), rows):
            piece = slice(start, start + rows)
            inputs, share = states[piece], weights[piece].to(wide)
            scores = (inputs @ working.T).to(wide)
            if bias is not None:
                scores += bias.detach().to(wide)
            loss, slope = judge(scores, labels[piece], share, smoothing, softcap, any(wants[:3]))
            total += loss
            if not any(wants[:3]):
                continue
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
        return (*out, None, None, None, None, None)


def token_loss(
    states: Tensor,
    weight: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    bias: Tensor | None = None,
    smoothing: float = 0.0,
    softcap: float | None = None,
    compiled: bool = False,
) -> Tensor:
    """Σ weightsᵢ · −log softmax(statesᵢ weightᵀ + bias)[labelsᵢ], a scalar.

    states `[n, width]`, weight `[vocab, width]`, labels `[n]` int, weights `[n]`. `smoothing` spreads that share of the
    target evenly over the vocabulary (Szegedy et al. 2016, section 7), `softcap` bounds the scores by a tanh (Gemma 2).
    The product is computed in the dtype of the states, the softmax and the sum in fp32 (fp64 for fp64 states).
    `compiled` lets torch's compiler join the passes over the scores. Under `torch.no_grad()` no gradient is computed.
    """
    if not torch.is_grad_enabled():  # `forward` cannot know: there `needs_input_grad` still says what leaves want
        states, weight, bias = states.detach(), weight.detach(), None if bias is None else bias.detach()
    total = _TokenLoss.apply(states, weight, bias, labels, weights, smoothing, softcap, compiled)  # type: ignore[no-untyped-call]
    assert isinstance(total, Tensor)
    return total
