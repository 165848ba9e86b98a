"""How the learning rate goes over a run: warm-up, then one of six shapes, as shares of the rate that was asked for.

Let W be the updates of warm-up, N those of the run, n = 1, 2, … the update. Warm-up is linear, n / W (Goyal et al.
2017, arXiv 1706.02677, section 2.2), except under `t5`, which has none. Then:

    constant       1
    linear         (N − n') / (N − W')            to 0 at the end (Devlin et al. 2019)
    cosine         (1 + cos(π · gone)) / 2        half a wave (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5)
    inverse_sqrt   √(W / n)                       Vaswani et al. 2017, equation 3, over its own peak
    t5             √(W / max(n, W))               Raffel et al. 2020, section 3.1.2: flat where the others warm up
    wsd            1, then a cooldown to 0        warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395, section 4)

The cooldown of `wsd` is a line, or 1 − √gone, which ended lower for Hägele et al. (2024, arXiv 2405.18392, section 3).
All but `linear`, `cosine` and the cooldown are functions of n alone: a run of theirs can be made longer afterwards.
"""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine", "inverse_sqrt", "t5", "wsd"]
Cooldown = Literal["linear", "sqrt"]


def share(
    schedule: Schedule, step: int, steps: int, warmup: float, *, cooldown: float = 0.2, shape: Cooldown = "linear"
) -> float:
    """The share of the peak that update `step` (from 0) of `steps` moves at; `warmup` and `cooldown` are shares of
    `steps`. A function of the step alone, between 0 and 1."""
    warm = warmup * steps
    updates = math.floor(warm) + 1  # the first update that has the whole rate
    if step < warm and schedule != "t5":
        return (step + 1) / updates
    gone = min(1.0, (step - warm) / max(1.0, steps - warm))
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - gone
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * gone))
        case "inverse_sqrt" | "t5":
            return math.sqrt(updates / max(step + 1, updates))
        case "wsd":
            left = min(1.0, (steps - step) / max(1.0, cooldown * steps))
            return left if shape == "linear" else 1.0 - math.sqrt(1.0 - left)
