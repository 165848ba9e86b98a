"""Steps whose loss or gradient norm leaps out of the run: what large models do before they diverge.

A spike is a value at least seven standard deviations above the mean of the last 1,000; the share of such values is the
spike score (OLMo 2, Walsh et al. 2025, arXiv 2501.00656, section 3). They are marked where they happen, in
`metrics.jsonl`, from the lines before them: a resumed run marks the same ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

WINDOW, DEVIATIONS = 1000, 7.0
LEAST = 50  # values before the first verdict: fewer have no deviation to speak of
WATCHED = ("loss", "grad_norm")


class Spikes:
    """Remembers the last values of each watched number of a run."""

    def __init__(self) -> None:
        self.past: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in WATCHED}

    def seen(self, row: Mapping[str, Any]) -> list[str]:
        """Which numbers of this row of metrics are spikes; the row is remembered."""
        found = []
        for name, past in self.past.items():
            value = float(row[name])
            if len(past) >= LEAST:
                values = np.fromiter(past, np.float64)
                mean = float(values.mean())
                if value > mean and value >= mean + DEVIATIONS * float(values.std()):
                    found.append(name)
            past.append(value)
        return found
