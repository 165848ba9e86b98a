"""Ordered classes: one score a text, and thresholds between neighbouring classes on its scale.

The proportional-odds model (McCullagh 1980, "Regression models for ordinal data", section 2): P(class ≤ k) =
σ(θₖ − score) with θ₁ < θ₂ < …. All thresholds read one score, by one weight vector, as in CORAL (Cao, Mirjalili and
Raschka 2020, arXiv 1901.07884, section 3.3), whose sigmoids are these; but there the order of the thresholds is only
found at the optimum, and here they are ordered by construction. So classes have probabilities, and the loss is theirs:
−log P(class).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import OrdinalHead
from modeledge.objectives.label import Labelling, LabelPrepare
from modeledge.objectives.objective import Loss, Term
from modeledge.seed import Noise


class Order(Labelling):
    """−log P(class) under cumulative logits. `scores` are log P(class), `[examples, classes]`."""

    name: ClassVar[str] = "ordinal"

    def __init__(self, prepare: LabelPrepare, head: OrdinalHead, *, lm: float = 0.0) -> None:
        super().__init__(prepare, head, lm)

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        states = model(batch).last
        logs, labels, weights = self.read(model, states, batch), batch.labels["class"], batch.weights["class"]
        losses = F.nll_loss(logs, labels, reduction="none")
        return Loss({"class": Term((losses * weights).sum(), weights.sum()), **self.auxiliary(model, states, batch)})

    def read(self, model: Backbone, states: Tensor, batch: Batch) -> Tensor:
        """log P(class) `[examples, classes]` of states that are there already."""
        return class_logs(super().read(model, states, batch))


def class_logs(logits: Tensor) -> Tensor:
    """log P(class) `[n, classes]` out of rising logits of P(class ≤ k), `[n, classes − 1]`.

    log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − e^(a−b)): no difference of two numbers near 1 is taken.
    """
    below, above = F.logsigmoid(logits), F.logsigmoid(-logits)
    gaps = logits[:, :-1] - logits[:, 1:]  # negative
    between = below[:, 1:] + above[:, :-1] + torch.log(-torch.expm1(gaps))
    return torch.cat((below[:, :1], between, above[:, -1:]), 1)
