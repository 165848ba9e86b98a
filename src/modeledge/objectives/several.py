"""Several labels a text: each class is a question of its own, answered by a sigmoid (binary relevance; Tsoumakas and
Katakis 2007, section 3). What classes have in common is in the states that all of them read."""

from __future__ import annotations

import torch.nn.functional as F

from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import ClassHead
from modeledge.objectives.label import Labelling, LabelPrepare
from modeledge.objectives.objective import Loss, Term
from modeledge.seed import Noise


class ClassifySeveral(Labelling):
    """Binary cross-entropy of each class, averaged over the classes of an example: the reference library's loss for
    `problem_type = "multi_label_classification"`. `scores` are `[examples, classes]`."""

    def __init__(self, prepare: LabelPrepare, head: ClassHead, *, lm: float = 0.0) -> None:
        super().__init__(prepare, head, lm)
        assert prepare.outputs == head.outputs, "one score a class"

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        states = model(batch).last
        scores, labels, weights = self.read(model, states, batch), batch.labels["class"], batch.weights["class"]
        losses = F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none").mean(-1)
        return Loss({"class": Term((losses * weights).sum(), weights.sum()), **self.auxiliary(model, states, batch)})
