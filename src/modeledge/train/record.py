"""What one update did: its record, and the error where its numbers are not finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.batch import Batch
from modeledge.objectives import Loss


@dataclass(frozen=True)
class StepRecord:
    """What one update did, and `of` how many are to be done.

    `terms` and `logs` are means over the global batch, but for those that none of it has; `seconds` differ by run.
    """

    step: int
    loss: float
    terms: Mapping[str, float]
    logs: Mapping[str, float]
    rate: float
    norm: float
    tokens: int
    examples: int
    seconds: float
    scores: Mapping[str, float] = field(default_factory=dict)
    of: int = 0


def detached(loss: Loss) -> Loss:
    """The same sums without their graph."""
    terms = {n: type(t)(t.total.detach(), t.weight, t.share) for n, t in loss.terms.items()}
    return Loss(terms, loss.logs)


def means(losses: Sequence[Loss], weights: Mapping[str, Tensor]) -> tuple[dict[str, float], dict[str, float]]:
    """Each term and each logged sum of the micro-batches as its mean over the global batch."""
    names = dict.fromkeys(name for loss in losses for name in loss.terms)
    totals = {n: torch.stack([loss.terms[n].total for loss in losses if n in loss.terms]).sum() for n in names}
    terms = {n: float(total / weights[n]) for n, total in totals.items() if weights[n] > 0}
    logs: dict[str, float] = {}
    for name in dict.fromkeys(name for loss in losses for name in loss.logs):
        told = [loss.logs[name] for loss in losses if name in loss.logs]
        total, weight = (float(torch.stack([pair[i] for pair in told]).sum()) for i in (0, 1))
        logs |= {name: total / weight} if weight else {}
    return terms, logs


def not_finite(
    step: int, batches: Sequence[Batch], losses: Sequence[Loss], value: float, norm: float
) -> ModeledgeError:
    """The error, naming the step and the records of the micro-batches whose loss is not finite (else all)."""
    bad = [
        b for b, loss in zip(batches, losses, strict=True) if not all(t.total.isfinite() for t in loss.terms.values())
    ]
    records = sorted(int(i) for b in (bad or batches) for i in b.indices)
    shown = ", ".join(map(str, records[:10])) + (f" and {len(records) - 10} more" if len(records) > 10 else "")
    what = f"loss {value}, gradient norm {norm}; no weight was changed"
    return ModeledgeError("E-NON-FINITE-LOSS", what, where=f"step {step}, records {shown}")
