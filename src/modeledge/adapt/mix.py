"""A learned mixture of layers, over states that are there already.

Peters et al. (2018, arXiv 1802.05365, equation 1) give a task γ Σ s_j h_j with s = softmax(w): as many numbers as there
are layers, and one scale. They are learned together with a small head, here a linear one, by the task's own loss; the
body is not run, so that a mixture costs seconds. With w = 0 it is the mean of the layers, which is where it begins.

The head that learned the mixture is let go: whichever classical head is asked for reads the mixed states.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.records import AnyArray, FloatArray

STEPS, PENALTY = 200, 1e-3


class ScalarMix(nn.Module):
    """States `[rows, layers, width]` → γ Σ s_j h_j `[rows, width]`."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers, dtype=torch.float64))
        self.gamma = nn.Parameter(torch.ones((), dtype=torch.float64))

    def shares(self) -> Tensor:
        """γ · s `[layers]`."""
        return self.gamma * torch.softmax(self.weights, 0)

    def forward(self, states: Tensor) -> Tensor:
        return torch.einsum("nlw,l->nw", states, self.shares())


def learn_mix(states: FloatArray, labels: AnyArray, classes: int) -> FloatArray:
    """γ · s of each layer `[layers]` in fp64: cross-entropy of `classes`, or squared error of values where that is 0.

    States are measured by their spread over all rows and layers, so that one step size fits every body; a full-batch
    L-BFGS in fp64 makes the answer a function of the rows alone.
    """
    x = torch.from_numpy(states).double()
    x = (x - x.mean((0, 1))) / x.std((0, 1)).clamp(min=1e-12)
    told = torch.from_numpy(labels)
    target = told.long() if classes else (told.double() - told.double().mean()) / told.double().std().clamp(min=1e-12)
    mix = ScalarMix(x.shape[1])
    head = nn.Linear(x.shape[2], classes or 1, dtype=torch.float64)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    moving = [*mix.parameters(), *head.parameters()]
    optimizer = torch.optim.LBFGS(moving, max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        scores = head(mix(x))
        loss = F.cross_entropy(scores, target) if classes else F.mse_loss(scores[:, 0], target)
        loss = loss + PENALTY * (head.weight**2).sum() + PENALTY * (mix.gamma - 1) ** 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return mix.shares().detach().numpy()
