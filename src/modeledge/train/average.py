"""Averages of weights: a mean of many points of a run is nearer to the middle of its valley than any one of them.

Two of them. The **moving average** θ̄ ← θ̄ + (1 − d)(θ − θ̄) follows every update (Polyak and Juditsky 1992); its decay
d = min(ema, (1 + t) / (10 + t)) after t updates is small at first, so that random weights are soon forgotten
(TensorFlow's ExponentialMovingAverage). The **mean of the last checkpoints** is taken once, at the end (Vaswani et al.
2017, section 6.1: the last 5, or 20; Izmailov et al. 2018, arXiv 1803.05407, say why it works). Neither changes what is
trained: the weights that move are never replaced, only looked through (`inside`) or handed out at the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.train.config import TrainConfig

PREFIX = "average|"
WEIGHTS = "step|"


class MovingAverage:
    """The moving average of every parameter that has ever moved, in fp32 beside it."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], ema: float) -> None:
        self.parameters, self.ema = dict(parameters), ema
        self.values: dict[str, Tensor] = {}

    def begin(self, names: Collection[str]) -> None:
        """Before an update: what moves for the first time begins at its own value."""
        for name in names:
            if name not in self.values:
                self.values[name] = self.parameters[name].detach().clone()

    def follow(self, done: int) -> None:
        """After update number `done` (from 1)."""
        if self.values:
            moved = [self.parameters[name].detach() for name in self.values]
            torch._foreach_lerp_(list(self.values.values()), moved, 1.0 - self.decay(done))

    def decay(self, done: int) -> float:
        """How much of the average the update number `done` leaves."""
        return min(self.ema, (1 + done) / (10 + done))

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Within the block the model has the averaged weights; nothing is copied, and all is put back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, value in self.values.items():
            parameter = self.parameters[name]
            self.values[name], parameter.data = parameter.data, value

    def tensors(self) -> dict[str, Tensor]:
        """`average|name` → the average."""
        return {f"{PREFIX}{name}": value for name, value in self.values.items()}

    def load(self, tensors: Mapping[str, Tensor], moved: Collection[str]) -> None:
        """Take back what `tensors` gave; one for each parameter that has moved, or it is `E-RESUME`."""
        found = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
        if found.keys() != set(moved):
            what = f"the moving average does not fit at {', '.join(sorted(found.keys() ^ set(moved))[:3])}"
            raise ModeledgeError("E-RESUME", what, where="train.ema")
        self.values = {name: value.clone().to(self.parameters[name].device) for name, value in found.items()}


def overlaid(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors with the moving average, where it has one, in the place of the weights."""
    return dict(tensors) | {
        f"{WEIGHTS}{name.removeprefix(PREFIX)}": value for name, value in tensors.items() if name.startswith(PREFIX)
    }


def mean_of(checkpoints: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The weights of several checkpoints, each the mean of its values (added in fp64); whole numbers are the last's."""
    out: dict[str, Tensor] = {}
    for name, last in checkpoints[-1].items():
        if name.startswith(WEIGHTS):
            same = [found[name] for found in checkpoints]
            mean = torch.stack([t.double() for t in same]).mean(0).to(last.dtype) if last.is_floating_point() else last
            out[name] = mean
    return out


def averaged_steps(config: TrainConfig) -> list[int]:
    """The steps whose checkpoints `mean_of_last` averages: the last of those that the recipe plans, wherever the run
    was stopped in between. Raises `E-CONFIG` where there are too few."""
    if config.mean_of_last is None:
        return []
    assert config.save_every is not None
    planned = sorted({*range(config.save_every, config.steps + 1, config.save_every), config.steps})
    if len(planned) < config.mean_of_last:
        what = f"{config.steps} steps, one saved every {config.save_every}, make {len(planned)} checkpoints"
        remedy = f"lower train.save_every, or train.mean_of_last to {len(planned)}"
        raise ModeledgeError("E-CONFIG", what, where="train.mean_of_last", remedy=remedy)
    return planned[-config.mean_of_last :]
