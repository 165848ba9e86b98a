"""Learning what relates two entities that are marked in a text (Baldini Soares et al. 2019, arXiv 1906.03158)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from modeledge.objectives.label import LabelPrepare
from modeledge.records import Example, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class MarkedPrepare(LabelPrepare):
    """As `LabelPrepare` for one text, read where its marks are: `Example.channels["marks"]`, places in its ids."""

    channels: frozenset[str] = frozenset({"marks"})

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        marks = np.asarray(example.channels["marks"], dtype=np.int64) + (self.first is not None)
        return replace(super().__call__(example, noise), reads={"places": marks})
