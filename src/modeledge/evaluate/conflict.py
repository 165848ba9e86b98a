"""Do the tasks of one body pull in the same direction? The cosine between their gradients says so.

Where the gradients of two tasks on the shared weights point apart (cos < 0), a step for one is a step back for the
other: conflicting gradients (Yu et al. 2020, arXiv 2001.06782, definition 1). Measured on fixed examples without
dropout, the course of the cosine is the model's, not that of the batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from modeledge.model.batch import Batch
from modeledge.objectives import Step
from modeledge.seed import Noise


def gradient_cosines(step: Step, probes: Mapping[str, Batch]) -> dict[str, float]:
    """`a|b` → cos(∇L_a, ∇L_b) over the weights of the body that move now; empty where none does, 0 where a task has no
    gradient there. Weights, gradients and modes are left as they were."""
    body = set(step.model.parts().body)
    moving = [p for name, p in step.model.named_parameters() if name in body and p.requires_grad]
    if not moving:
        return {}
    modes = {module: module.training for module in step.modules()}
    step.eval()
    try:
        found = {name: _gradient(step, batch, moving) for name, batch in probes.items()}
    finally:
        for module, training in modes.items():
            module.training = training
    return {f"{a}|{b}": _cosine(found[a], found[b]) for a, b in combinations(found, 2)}


def _gradient(step: Step, batch: Batch, moving: list[torch.nn.Parameter]) -> list[Tensor]:
    value = step(batch, Noise(0)).value(step.objective.weights(batch))
    gradients = torch.autograd.grad(value, moving, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, moving, strict=True)]


def _cosine(one: list[Tensor], two: list[Tensor]) -> float:
    def dot(a: list[Tensor], b: list[Tensor]) -> float:
        return sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True))

    size = (dot(one, one) * dot(two, two)) ** 0.5
    return dot(one, two) / size if size else 0.0
