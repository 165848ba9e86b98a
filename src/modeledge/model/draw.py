"""Dropout at the price of a multiplication.

`torch.nn.functional.dropout` on a CPU draws each number with one sequential generator: for a million elements it takes
as long as the layer around it. Here a mask is eight random bits an element from a counter-seeded SFC64 stream, turned
into 0 or 1 by integer arithmetic that vectorises. The rate is exact in expectation: the threshold, a multiple of 1/256,
is drawn between its two neighbours for each mask, and the scale uses the threshold that was drawn. (Beyond 255/256 a
byte cannot say the rate: it stays there, and the scale is right for it.)

A mask is a function of (seed, "dropout", step, micro-batch, rank, site), so that recomputation under activation
checkpointing and resuming after a kill see the same one (the fifth law).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modeledge.seed import Key, Noise

_SOURCE: ContextVar[Noise | None] = ContextVar("dropout noise", default=None)


@contextlib.contextmanager
def dropping(noise: Noise) -> Iterator[None]:
    """Within this block, models in training mode draw their dropout masks from `noise`."""
    token = _SOURCE.set(noise)
    try:
        yield
    finally:
        _SOURCE.reset(token)


def drawing_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for a first pass and for its repetition (torch's `context_fn`), which draws from the same source, though
    it runs when the block that named it has ended."""
    noise = _SOURCE.get()
    return contextlib.nullcontext(), contextlib.nullcontext() if noise is None else dropping(noise)


@dataclass(frozen=True)
class Mask:
    """0 or 1 for each element, in the dtype of the states, and the factor that keeps the expectation."""

    keep: Tensor
    scale: float


@dataclass(frozen=True)
class Draw:
    """Where one forward pass takes its masks from. `None` as noise means: nothing is dropped."""

    noise: Noise | None

    @staticmethod
    def current(training: bool) -> Draw:
        return Draw(_SOURCE.get() if training else None)

    def at(self, *keys: Key) -> Draw:
        return Draw(self.noise.at(*keys) if self.noise is not None else None)

    def mask(self, like: Tensor, rate: float, site: str) -> Mask | None:
        """A mask of the shape and dtype of `like`, or `None` where nothing is dropped."""
        if rate <= 0.0 or self.noise is None:
            return None
        seed = self.noise.at(site).integer()
        if like.device.type != "cpu":
            generator = torch.Generator(like.device).manual_seed(seed >> 1)
            keep = torch.rand(like.shape, device=like.device, generator=generator) >= rate
            return Mask(keep.to(like.dtype), 1.0 / (1.0 - rate))
        bits = np.random.SFC64(seed)
        dropped = min(int(rate * 256 + (int(bits.random_raw()) & 0xFFFFFF) / 2**24), 255)
        count = like.numel()
        raw = np.asarray(bits.random_raw(-(-count // 8))).view(np.int8)[:count]
        return Mask(_zero_or_one(torch.from_numpy(raw), dropped, like), 256 / (256 - dropped))


NOTHING = Draw(None)  # no mask is drawn: nothing is dropped

_ONE = {
    torch.bfloat16: (torch.int16, 0x3F80),
    torch.float16: (torch.int16, 0x3C00),
    torch.float32: (torch.int32, 0x3F800000),
}


def _zero_or_one(raw: Tensor, dropped: int, like: Tensor) -> Tensor:
    """0.0 where the byte, read as −128…127, is among the `dropped` lowest, else 1.0: four integer passes."""
    if like.dtype not in _ONE:
        return (raw >= dropped - 128).to(like.dtype).view(like.shape)
    integer, one = _ONE[like.dtype]
    bits = raw.to(integer).sub_(dropped - 128)
    width = 15 if integer is torch.int16 else 31
    bits.bitwise_right_shift_(width).bitwise_not_().bitwise_and_(one)
    return bits.view(like.dtype).view(like.shape)


class _AddDropped(torch.autograd.Function):
    """residual + scale · mask · states in one pass each way."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, residual: Tensor, states: Tensor, keep: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale  # type: ignore[attr-defined]
        return torch.addcmul(residual, states, keep, value=scale)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (keep,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradients[0], (gradients[0] * keep).mul_(ctx.scale), None, None  # type: ignore[attr-defined]


def add_dropped(residual: Tensor, states: Tensor, mask: Mask | None) -> Tensor:
    """residual + dropout(states)."""
    if mask is None:
        return residual + states
    added = _AddDropped.apply(residual, states, mask.keep, mask.scale)  # type: ignore[no-untyped-call]
    assert isinstance(added, Tensor)
    return added


def dropped(states: Tensor, mask: Mask | None) -> Tensor:
    """dropout(states)."""
    return states if mask is None else (states * mask.keep) * mask.scale
