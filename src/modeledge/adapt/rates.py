"""Give each depth of the model its own learning rate.

A fresh head has everything to learn and a trained body little to forget, so one rate for both is a compromise: at the
head's rate the gradients of a head that knows nothing yet distort the body's features (Kumar et al. 2022, arXiv
2202.10054), at the body's rate the head hardly moves. Lower layers are more general and should move less than upper
ones (Howard and Ruder 2018, arXiv 1801.06146, section 3.1: each layer at the rate of the one above divided by 2.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modeledge.adapt.checks import check_rate
from modeledge.adapt.parts import parts_of
from modeledge.adapt.strategy import Clock, Group, Neutral
from modeledge.model.backbone import Backbone


@dataclass(frozen=True)
class Rates(Neutral):
    """Factors on the base learning rate: `head` for the heads, `body` · `decay`ᵈ for what lies d layers below the top.

    The top layer and the last norm have d = 0, the first of L layers d = L − 1, the embeddings d = L. ELECTRA's authors
    decay by 0.8 a layer and leave the head alone (Clark et al. 2020, arXiv 2003.10555; their top layer has d = 1);
    Howard and Ruder's decay is 1 / 2.6.
    """

    body: float = 1.0
    head: float = 1.0
    decay: float = 1.0

    def __post_init__(self) -> None:
        check_rate("rates.body", self.body)
        check_rate("rates.head", self.head)
        check_rate("rates.decay", self.decay, 1.0)

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """Everything, one group a depth."""
        parts = parts_of(model)
        layers = len(parts.blocks)
        groups = [Group(parts.embeddings.names, self.body * self.decay**layers)]
        for number, block in enumerate(parts.blocks):
            groups.append(Group(block.names, self.body * self.decay ** (layers - 1 - number)))
        groups.append(Group(parts.last.names, self.body))
        groups += [Group(part.names, self.head) for part in parts.heads.values()]
        return groups
