"""How the learning rate goes over a run: warm-up, then one of seven shapes, as shares of the rate that was asked for.

Let W be the updates of warm-up, N those of the run, n = 1, 2, … the update. Warm-up is linear, n / W (Goyal et al.
2017, arXiv 1706.02677, section 2.2), except under `t5`, which has none. Then:

    constant       1
    linear         (N − n') / (N − W')            to 0 at the end (Devlin et al. 2019)
    cosine         (1 + cos(π · gone)) / 2        half a wave (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5)
    inverse_sqrt   √(W / n)                       Vaswani et al. 2017, equation 3, over its own peak
    t5             √(W / max(n, W))               Raffel et al. 2020, section 3.1.2: flat where the others warm up
    wsd            1, then a cooldown to 0        warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395, section 4)
    slanted        (1 + p · (r − 1)) / r          from 1 / r to 1 and back (Howard and Ruder 2018, equation 3)

The cooldown of `wsd` is a line, or 1 − √gone, which ended lower for Hägele et al. (2024, arXiv 2405.18392, section 3).
The slanted triangle is its own warm-up: with t = n − 1 and cut = ⌊N · warm-up⌋, p = t / cut before the cut and
1 − (t − cut) / (N − cut) behind it; ULMFiT cuts at a tenth and has r = 32. (Equation 3 writes cut · (1/cut_frac − 1)
for N − cut, which is the same where N · cut_frac is whole, and falls below the floor of 1 / r at the end where not.)
All but `linear`, `cosine`, `slanted` and the cooldown are functions of n alone: a run of theirs can be made longer
afterwards. `restarts` lets a schedule begin anew at shares of the run, as many short runs would (`segment`): warm
restarts (Loshchilov and Hutter 2017, section 3), or the second half of LP-FT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

Schedule = Literal["constant", "linear", "cosine", "inverse_sqrt", "t5", "wsd", "slanted"]
Cooldown = Literal["linear", "sqrt"]


def segment(step: int, steps: int, restarts: Sequence[float]) -> tuple[int, int]:
    """Which update of how many `step` is, counted from the last restart to the next."""
    starts = [0, *(math.ceil(share * steps) for share in restarts), steps]
    first, behind = next((a, b) for a, b in reversed(list(pairwise(starts))) if step >= a)
    return step - first, behind - first


def share(
    schedule: Schedule,
    step: int,
    steps: int,
    warmup: float,
    *,
    cooldown: float = 0.2,
    shape: Cooldown = "linear",
    ratio: float = 32.0,
) -> float:
    """The share of the peak that update `step` (from 0) of `steps` moves at; `warmup` and `cooldown` are shares of
    `steps`, `ratio` is how much smaller the lowest rate of `slanted` is. A function of the step alone, between 0 and
    1."""
    if schedule == "slanted":
        cut = math.floor(steps * warmup)
        p = step / cut if step < cut else 1.0 - (step - cut) / max(1, steps - cut)
        return (1.0 + max(0.0, p) * (ratio - 1.0)) / ratio
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
