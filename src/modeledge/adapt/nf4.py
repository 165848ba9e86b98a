"""A frozen linear map in 4 bits a weight: NormalFloat (Dettmers et al. 2023, arXiv 2305.14314, section 3).

Trained weights are nearly normal around 0, so the 16 levels of NF4 stand at quantiles of a normal distribution, scaled
into [−1, 1], one of them at 0 (appendix E). Each run of 64 weights has a scale, the largest |w| in it:

    ŵ = absmax · level[code],    code = the level nearest to w / absmax

A scale in fp32 costs half a bit a weight. Double quantisation stores the scales themselves in one byte each, around
their mean, with a step for 256 of them: 4 + 8/64 + 32/(64 · 256) = 4.127 bits a weight. The paper takes an 8-bit float
there, here it is an 8-bit integer: of a scale no more than 1/254 of the widest among 256 is lost. The map is made whole
for one product, in the forward pass and again in the backward pass, and held as codes alone. Where bitsandbytes is
installed, its kernel does that: the codes are packed as there, and what they stand for is the same, bit for bit.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.model.linear import Linear

LEVELS = (  # appendix E, and the table of bitsandbytes
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
BLOCK = 64  # weights that share a scale
RUN = 256  # scales that share a step


def encoded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The codes of a weight read row by row, two in a byte `[ceil(numbers / 64) · 32]` uint8, the first in the high
    half, and the scales `[ceil(numbers / 64)]` fp32; what lacks to a whole run are zeros."""
    flat = weight.detach().float().reshape(-1)
    runs = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scale = runs.abs().amax(1)
    levels = torch.tensor(LEVELS, device=weight.device)
    between = (levels[1:] + levels[:-1]) / 2
    codes = torch.bucketize(runs / torch.where(scale > 0, scale, 1.0)[:, None], between).to(torch.uint8).view(-1, 2)
    return codes[:, 0] << 4 | codes[:, 1], scale


@cache
def kernel() -> Any:
    """The operator of bitsandbytes that makes a weight of codes; `None` where it is not installed, or does not load."""
    try:
        importlib.import_module("bitsandbytes")
        return torch.ops.bitsandbytes.dequantize_4bit
    except (ImportError, OSError, RuntimeError, AttributeError):
        return None


def decoded(codes: Tensor, scale: Tensor, shape: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    """The weight that codes and scales stand for: their product in fp32, rounded to `dtype`."""
    if dtype != torch.float64 and (product := kernel()) is not None:
        numbers = shape[0] * shape[1]  # no padding there
        made: Tensor = product(codes[: (numbers + 1) // 2, None], scale, BLOCK, "nf4", list(shape), dtype)
        return made
    levels = torch.tensor(LEVELS, device=codes.device)
    pairs = torch.stack((levels.repeat_interleave(16), levels.repeat(16)), 1)  # both weights of a byte by one look-up
    runs = pairs.index_select(0, codes.int()).view(-1, BLOCK) * scale[:, None]
    return runs.view(-1)[: shape[0] * shape[1]].view(shape).to(dtype)


def encoded_scales(scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scales `[n]` as whole numbers `[n]` int8 around their mean `[]`, with a step for each run of 256."""
    mean = scale.mean()
    runs = F.pad(scale - mean, (0, -len(scale) % RUN)).view(-1, RUN)
    step = runs.abs().amax(1) / 127
    whole = torch.round(runs / torch.where(step > 0, step, 1.0)[:, None]).to(torch.int8).view(-1)[: len(scale)]
    return whole.clone(), step, mean


class _Product(torch.autograd.Function):
    """x Wᵀ + b, which makes W whole for each product and keeps none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, held: Nf4Linear) -> Tensor:
        ctx.held = held
        return F.linear(x, held.made(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.held.made(gradients[0].dtype), None


class Nf4Linear(Linear):
    """A linear map that never moves: `codes` uint8, two weights each, and a scale for each 64: `scale` in fp32, or, of
    `Nf4DoubleLinear`, `scale` int8 with `step` and `mean`."""

    form: ClassVar[str] = "nf4"
    codes: Tensor
    scale: Tensor

    def __init__(self, plain: Linear) -> None:
        nn.Module.__init__(self)
        self.shape = (plain.weight.shape[0], plain.weight.shape[1])
        codes, scale = encoded(plain.weight)
        self.register_buffer("codes", codes)
        self.hold(scale)
        self.bias = plain.bias
        self.residual = plain.residual

    def hold(self, scale: Tensor) -> None:
        """Store the scales."""
        self.register_buffer("scale", scale)

    def scales(self) -> Tensor:
        """The scales `[runs]` fp32."""
        return self.scale.float()

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """What the codes stand for, made anew at each call: a change of it is lost."""
        return self.made(torch.float32)

    def made(self, dtype: torch.dtype) -> Tensor:
        """The weight in a dtype."""
        return decoded(self.codes, self.scales(), self.shape, dtype)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.shape[1]} → {self.shape[0]}, {self.form}"


class Nf4DoubleLinear(Nf4Linear):
    """The same with its scales in one byte each."""

    form: ClassVar[str] = "nf4-double"
    step: Tensor
    mean: Tensor

    def hold(self, scale: Tensor) -> None:
        for name, value in zip(("scale", "step", "mean"), encoded_scales(scale), strict=True):
            self.register_buffer(name, value)

    def scales(self) -> Tensor:
        return self.scale.float() * self.step.float().repeat_interleave(RUN)[: len(self.scale)] + self.mean.float()
