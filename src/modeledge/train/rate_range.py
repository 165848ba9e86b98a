"""The learning-rate range test: which rate should a run have? (Smith 2017, arXiv 1506.01186, section 3.3.)

The rate rises exponentially from step to step, from far too low to far too high, and the loss is watched: it stands
still, falls, and leaps up where training diverges. The suggestion is a tenth of the rate at which the smoothed loss was
lowest: at that rate itself steps are already as large as the run can bear for a moment, and a whole run is no moment.
`steepest` is the rate at which the loss fell fastest by log rate, the reading of Smith's figure.

The loss is smoothed by an average with a memory of ten steps, corrected for its beginning (Adam's correction), and the
test ends where that is four times its lowest value, or not finite. The trainer is put back: weights, optimizer, place.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.train.trainer import Trainer

MEMORY, DIVERGED, BELOW = 0.9, 4.0, 10.0
LEAST = 8  # steps without which there is no curve


@dataclass(frozen=True)
class RangeTest:
    """The rates of the test, the loss at each, that loss smoothed, and what they say. `diverged` tells whether the test
    ended early; if it did not, `high` may be too low."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    lowest: float
    steepest: float
    suggested: float
    diverged: bool

    def as_plain(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def range_test(trainer: Trainer, *, low: float = 1e-6, high: float = 1.0, steps: int = 100) -> RangeTest:
    """Try the rates from `low` to `high` in `steps` updates on the trainer's next examples; it is left as it was.

    Raises `E-USAGE` for rates out of order or fewer than eight steps, `E-NON-FINITE-LOSS` where even the first losses
    are not finite.
    """
    if not (0 < low < high < math.inf) or steps < LEAST:
        what = f"{steps} steps from {low:g} to {high:g} test nothing"
        raise ModeledgeError("E-USAGE", what, where="lr-range", remedy=f"0 < low < high, {LEAST} steps at least")
    kept = {name: value.detach().clone() for name, value in trainer.tensors().items()}
    state, scheduled, begun = copy.deepcopy(trainer.state_dict()), trainer.rate, trainer.done
    rates = [low * (high / low) ** (n / (steps - 1)) for n in range(steps)]
    losses: list[float] = []
    diverged = False
    trainer.rate = lambda step: rates[step - begun]
    try:
        while len(losses) < steps and not diverged:
            losses.append(trainer.step().loss)
            smooth = smoothed(losses)
            diverged = smooth[-1] > DIVERGED * min(smooth)
    except StopIteration:
        pass
    except ModeledgeError as error:
        if error.code != "E-NON-FINITE-LOSS" or len(losses) < LEAST:
            raise
        diverged = True
    finally:
        trainer.rate = scheduled
        trainer.load(kept, state)
    return told(rates[: len(losses)], losses, diverged)


def smoothed(losses: list[float]) -> list[float]:
    """sₙ = Σ βⁿ⁻ⁱ (1 − β) lossᵢ / (1 − βⁿ)."""
    out, mean = [], 0.0
    for number, loss in enumerate(losses, 1):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        out.append(mean / (1 - MEMORY**number))
    return out


def told(rates: list[float], losses: list[float], diverged: bool) -> RangeTest:
    """What the curve says."""
    if len(losses) < LEAST:
        what = f"the data ended, or training diverged, after {len(losses)} steps"
        raise ModeledgeError("E-USAGE", what, where="lr-range", remedy="give more data, or a lower first rate")
    smooth = smoothed(losses)
    bottom = int(np.argmin(smooth))
    slope = np.gradient(np.array(smooth), np.log(rates))[: bottom + 1]
    lowest, steepest = rates[bottom], rates[int(np.argmin(slope))]
    return RangeTest(tuple(rates), tuple(losses), tuple(smooth), lowest, steepest, lowest / BELOW, diverged)
