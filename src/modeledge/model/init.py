"""Fresh weights as a function of (seed, parameter name): layers added later, sharding or a meta-device start change
nothing about the others."""

from __future__ import annotations

import math

import torch
from torch import nn

from modeledge.model.linear import Linear, RMSNorm
from modeledge.seed import Noise


def initialise(module: nn.Module, noise: Noise, *, std: float, layers: int, prefix: str = "") -> None:
    """Fill every parameter of `module` in place.

    Matrices are normal with standard deviation `std` (Devlin et al. 2019: 0.02), those that write into the residual
    stream `std / √(2 · layers)` (Radford et al. 2019); vectors named bias are 0, other vectors (norms) are 1, or 0
    where they are stored as their distance from 1.
    """
    narrow = {
        f"{name}.weight" if name else "weight": std / math.sqrt(2 * layers)
        for name, part in module.named_modules()
        if isinstance(part, Linear) and part.residual
    }
    zeros = {
        f"{name}.weight" if name else "weight"
        for name, part in module.named_modules()
        if isinstance(part, RMSNorm) and part.around_one
    }
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            continue  # names and shapes alone: the weights come from a file
        full = f"{prefix}{name}"
        with torch.no_grad():
            if parameter.ndim >= 2:
                generator = torch.Generator().manual_seed(noise.at("init", full).integer() >> 1)
                fresh = torch.empty(parameter.shape, dtype=torch.float32).normal_(
                    0.0, narrow.get(name, std), generator=generator
                )
                parameter.copy_(fresh)
            elif name in zeros or name.rpartition(".")[2].endswith("bias"):
                parameter.zero_()
            else:
                parameter.fill_(1.0)
