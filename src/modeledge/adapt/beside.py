"""A linear map and the low-rank parts beside it, as one step of the gradient.

    y = W x + b + Σ sᵢ Bᵢ Aᵢ x

Written as separate products, autograd reads y once more for each sum, keeps copies of small casts, and adds the two
gradients of x, g W and (g B) A, as tensors of their own: for a rank of 8 that is memory traffic of a quarter of a step.
Here all Aᵢ stand on top of each other and read x once, B A x is added into y where it lies, and (g B) A into g W. The
thin matrices are cast to the dtype of x in the same pass that lays them side by side. W costs a gradient only if it
moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Thin:
    """scale · B A with A = `first [rank, inputs]` and B = `second [outputs, rank]`."""

    first: Tensor
    second: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class Laying:
    """Where each of several thin parts lies: its `rows` of the output, and its scale."""

    rows: tuple[slice, ...]
    scales: tuple[float, ...]

    def side_by_side(self, seconds: Sequence[Tensor], outputs: int, dtype: torch.dtype) -> Tensor:
        """All sᵢ Bᵢᵀ on top of each other `[sum of ranks, outputs]`, each at its rows, zeros beside it."""
        laid = seconds[0].new_zeros(sum(b.shape[1] for b in seconds), outputs, dtype=dtype)
        for second, rows, scale, (start, end) in zip(seconds, self.rows, self.scales, ends(seconds), strict=True):
            laid[start:end, rows] = second.T * scale
        return laid


def ends(seconds: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Where the rank of each part begins and ends among all."""
    return list(pairwise(accumulate((b.shape[1] for b in seconds), initial=0)))


class _Beside(torch.autograd.Function):
    """The product with its thin parts; `pairs` are all A, then all B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, laying: Laying, *pairs: Tensor) -> Tensor:
        firsts, seconds = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
        first = (firsts[0] if len(firsts) == 1 else torch.cat(firsts)).to(x.dtype)
        second = laying.side_by_side(seconds, len(weight), x.dtype)
        flat = x.flatten(0, -2)
        inner = F.linear(flat, first)
        y = F.linear(flat, weight, bias).addmm_(inner, second)
        ctx.save_for_backward(flat, inner, weight, first, second)
        ctx.laying, ctx.ends, ctx.dtypes = laying, ends(seconds), [p.dtype for p in pairs]
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, first, second = ctx.saved_tensors
        g = gradient.flatten(0, -2)
        thin = F.linear(g, second)
        x = weights = bias = None
        if ctx.needs_input_grad[0]:
            x = (g @ weight).addmm_(thin, first).view(*gradient.shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            weights = g.T @ flat
        if ctx.needs_input_grad[2]:
            bias = g.sum(0)
        firsts, seconds = thin.T @ flat, inner.T @ g
        laying, dtypes, count = ctx.laying, ctx.dtypes, len(ctx.ends)
        below = [firsts[start:end].to(dtypes[i]) for i, (start, end) in enumerate(ctx.ends)]
        above = [
            seconds[start:end, rows].T.to(dtypes[count + i]).mul(scale)
            for i, ((start, end), rows, scale) in enumerate(zip(ctx.ends, laying.rows, laying.scales, strict=True))
        ]
        return (x, weights, bias, None, *below, *above)


def with_thin(x: Tensor, weight: Tensor, bias: Tensor | None, parts: Sequence[Thin], rows: Sequence[slice]) -> Tensor:
    """W x + b + Σ scale · B A x, each part at its `rows` of the output; x `[..., inputs]`, W in the dtype of x."""
    laying = Laying(tuple(rows), tuple(part.scale for part in parts))
    pairs = (*(part.first for part in parts), *(part.second for part in parts))
    y: Tensor = _Beside.apply(x, weight, bias, laying, *pairs)  # type: ignore[no-untyped-call]
    return y


def add_thin(x: Tensor, y: Tensor, parts: Sequence[Thin], rows: Sequence[slice]) -> Tensor:
    """The same beside a y that is made already, by whatever map."""
    first = torch.cat([part.first for part in parts]).to(x.dtype)
    placed = [
        F.pad(part.second * part.scale, (0, 0, at.start, y.shape[-1] - at.stop))
        for part, at in zip(parts, rows, strict=True)
    ]
    second = torch.cat(placed, 1).to(x.dtype)
    return torch.addmm(y.flatten(0, -2), F.linear(x.flatten(0, -2), first), second.T).view(y.shape)
