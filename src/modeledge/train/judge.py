"""Who says how good the model is, which checkpoint was best, and when to stop. Its state is part of the run's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone


@dataclass
class Judge:
    """Every `every` steps `evaluate` marks the model; `metric` decides what is best.

    A value that is not a number is never the best. `patience` verdicts without a better one stop the run. `data` names
    what it marks on: a resumed run is marked on the same.
    """

    evaluate: Callable[[Backbone], Mapping[str, float]]
    metric: str
    every: int
    greater: bool = True
    patience: int | None = None
    data: str = ""
    best: float | None = None
    best_step: int | None = None
    waited: int = 0
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def due(self, step: int, last: bool) -> bool:
        """Is the model to be marked after this many steps?"""
        return last or step % self.every == 0

    def mark(self, model: Backbone, step: int) -> dict[str, float]:
        """Mark the model, in evaluation mode, and remember the verdict."""
        modes = {name: module.training for name, module in model.named_modules()}
        model.eval()
        try:
            scores = {k: float(v) for k, v in self.evaluate(model).items()}
        finally:
            for name, module in model.named_modules():
                module.training = modes[name]
        value = scores[self.metric]
        better = self.best is None or (value > self.best if self.greater else value < self.best)
        if better and not math.isnan(value):
            self.best, self.best_step, self.waited = value, step, 0
        else:
            self.waited += 1
        self.history.append((step, scores))
        return scores

    @property
    def stop(self) -> bool:
        """Has it waited long enough?"""
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "best": self.best,
            "best_step": self.best_step,
            "waited": self.waited,
            "history": [list(h) for h in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["data"] != self.data:
            raise ModeledgeError("E-RESUME", "the judge's rows are not those of the checkpoint")
        self.best, self.best_step, self.waited = state["best"], state["best_step"], int(state["waited"])
        self.history = [(int(s), dict(m)) for s, m in state["history"]]
