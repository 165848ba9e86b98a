"""From scores to the next token: greedy, temperature, top-k, top-p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.generate.rules import Rules
from modeledge.seed import Noise

COLD = 1e-20  # no second token has a chance below it, and scores divided by it may not be numbers any more


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen. Temperature 0, or below `COLD`, is greedy (the lowest id among equals).

    `top_k` keeps the k best (Fan et al. 2018); `top_p` the smallest set of best tokens whose probabilities reach p
    (Holtzman et al. 2020); with both, k is applied first. `rules` bend the scores before.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ModeledgeError("E-USAGE", f"temperature {self.temperature} is not a number from 0")
        if self.top_k is not None and self.top_k < 1:
            raise ModeledgeError("E-USAGE", f"top_k {self.top_k} is below 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ModeledgeError("E-USAGE", f"top_p {self.top_p} is not in (0, 1]")

    def choose(self, scores: Tensor, noise: Sequence[Noise]) -> Tensor:
        """One id for each row of scores `[rows, vocab]`; each row draws from its own noise alone."""
        if self.temperature < COLD:
            return scores.max(-1).indices  # the same as argmax, and several times as fast on a CPU
        shares, ids = self.shares(scores)
        draws = torch.tensor([n.generator().random() for n in noise], dtype=torch.float64)
        reached = shares.double().cumsum(-1)
        place = (reached < draws.to(reached.device)[:, None] * reached[:, -1:]).sum(-1, keepdim=True)
        return ids.gather(1, place.clamp(max=ids.shape[1] - 1)).squeeze(1)

    def shares(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of the tokens that may be chosen, best first, and their ids: `[rows, kept]` each."""
        warm = scores.float() / self.temperature
        kept = min(self.top_k or warm.shape[1], warm.shape[1])
        best, ids = warm.topk(kept, dim=-1, sorted=True)
        shares = torch.softmax(best, -1)
        if self.top_p is not None:
            before = shares.cumsum(-1) - shares
            shares = shares.masked_fill(before >= self.top_p, 0.0)
        return shares / shares.sum(-1, keepdim=True), ids
