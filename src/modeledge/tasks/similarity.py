"""Pairs without an order: each is read in both (Radford et al. 2018, figure 1: similarity).

A decoder reads `a` before `b` and knows nothing of `b` while it does. So a pair is read twice, as `[START] a [DELIM] b
[EXTRACT]` and the other way round; the two last states are added, element by element, and the head reads the sum. The
answer is then the same for (a, b) and (b, a).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from modeledge.tasks.label import LabelTask


class SimilarityTask(LabelTask):
    """One class or value a pair, whatever its order. Options are those of any task of labels."""

    kind: ClassVar[str] = "similarity"
    inputs: ClassVar[tuple[str, ...]] = ("text", "pair")
    optional: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.prepare = replace(self.prepare, orders=True)
        self.objective.prepare, self.objective.longest = self.prepare, self.length

    @property
    def seq(self) -> int:
        """Both orders stand in one row."""
        return 2 * self.length
