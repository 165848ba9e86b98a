"""pass@k: would one of k generated programs have passed the tests?

Drawing k programs and looking is noisy. Chen et al. 2021 (arXiv 2107.03374, equation 1) draw n ≥ k, count the c that
pass, and compute what the mean over all choices of k would be: 1 − C(n − c, k) / C(n, k). Taking 1 − (1 − c/n)^k
instead is biased.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Tally, label_ids, mean_of, same_length
from modeledge.metrics.ranking import at_least_one
from modeledge.metrics.text import items_of


def pass_chance(n: int, c: int, k: int) -> float:
    """The chance that k of n programs, of which c pass, hold one that passes.

    >>> pass_chance(10, 3, 1)
    0.3
    """
    at_least_one(k)
    if not 0 <= c <= n or k > n:
        what = f"{c} of {n} programs passed, and k is {k}"
        raise ModeledgeError("E-SCORES", what, remedy="draw at least k programs a problem, count each once")
    if n - c < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - c + 1, n + 1))) if k > 1 else c / n


def pass_at(k: int) -> Callable[[Any, Any], Tally]:
    """pass@k over problems: predictions are 0/1, did each program pass, `[problems][programs]`; labels are counted."""
    at_least_one(k)

    def parts(predictions: Any, labels: Any) -> Tally:
        problems = items_of(predictions, "predictions")
        same_length(problems, items_of(labels, "labels"))
        passed = [label_ids(problem, f"predictions[{i}]", 2) for i, problem in enumerate(problems)]
        chances = np.array([pass_chance(len(row), int(row.sum()), k) for row in passed])
        return mean_of(chances, f"k:{k}|programs:{min(map(len, passed))}-{max(map(len, passed))}|estimator:unbiased")

    return parts
