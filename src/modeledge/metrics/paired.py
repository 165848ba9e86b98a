"""A mark over several training runs: its interval over seeds and test items, and the paired comparison of two systems.

`paired_difference` needs a score of each item. Corpus marks have none: BLEU, a Matthews coefficient, a macro F1 are no
mean over items. So here each draw of the test items marks every run anew (Koehn 2004, "Statistical significance tests
for machine translation evaluation", EMNLP), a draw of the seeds weighs the runs (Owen 2007, arXiv 0712.1111), and two
systems that were marked on the same items get the same draws: what makes an item hard for both cancels. For a mark that
is a mean over items this is `paired_difference` itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.metrics.intervals import Interval, drawn_counts, draws_at_least_one, percentiles
from modeledge.metrics.metric import Floats, LeftOut, Metric, Tally
from modeledge.seed import Noise


@dataclass(frozen=True)
class Drawn:
    """A system's mark: of each seed `[seeds]`, and over the draws of seeds and items `[draws]`."""

    by_seed: Floats
    marks: Floats
    items: int

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float(self.by_seed.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the draws."""
        return percentiles(self.marks)


def drawn(metric: Metric, runs: Sequence[tuple[Any, Any]], *, seed: int, n: int = 2000) -> Drawn:
    """The mark of several runs of one system, `(predictions, labels)` of each, on the same test items.

    Raises `E-LENGTH-MISMATCH` where the runs were marked on different numbers of items, `E-SCORES` for a mark that an
    item drawn twice would change, and everything that the metric refuses.
    """
    draws_at_least_one(n)
    sizes = {len(labels) for _, labels in runs}
    if len(sizes) != 1:
        what = f"the runs were marked on {', '.join(map(str, sorted(sizes))) or 'no'} items"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, remedy="mark all seeds on the same test items")
    items, seeds = sizes.pop(), len(runs)
    noise = Noise(seed).at("paired_difference")
    by_seed = np.concatenate(list(drawn_counts(noise.at("seeds"), n, seeds, items)))
    each = np.stack([_marks(metric, *sides, n=n, items=items, noise=noise.at("items")) for sides in runs], axis=1)
    values = np.array([metric(*sides) for sides in runs], dtype=np.float64)
    return Drawn(values, (by_seed * each).sum(axis=1) / seeds, items)


def _marks(metric: Metric, predictions: Any, labels: Any, *, n: int, items: int, noise: Noise) -> Floats:
    """One run's mark over `n` draws of the items, `[n]`."""
    parts = metric.parts(predictions, labels) if metric.parts is not None else None
    if isinstance(parts, LeftOut):
        what = f"{metric.name!r} has no draws of items, so two systems cannot be compared by it"
        raise ModeledgeError("E-SCORES", what, remedy="compare by another metric")
    if isinstance(parts, Tally) and len(parts.items) == items:
        return np.concatenate([parts.value(counts @ parts.items) for counts in drawn_counts(noise, n, items, items)])
    guess, truth = _by_item(predictions), _by_item(labels)
    marks = [
        metric(guess[chosen], truth[chosen])
        for counts in drawn_counts(noise, n, items, items)
        for chosen in (np.repeat(np.arange(items), row.astype(np.int64)) for row in counts)
    ]
    return np.array(marks, dtype=np.float64)


def _by_item(values: Any) -> Any:
    """An array whose first axis is the items, whatever an item is: lists of texts and of tags stay lists."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values
    if not any(isinstance(value, list | tuple | str) for value in values):
        return np.asarray(values)
    out = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        out[place] = value
    return out


def drawn_difference(one: Drawn, other: Drawn) -> Interval:
    """How much higher `one` is than `other`, drawn together: as many seeds, the same items, the same draws.

    `p` is that of `paired_difference`. Raises `E-LENGTH-MISMATCH` where the two do not pair.
    """
    if (len(one.by_seed), one.items, len(one.marks)) != (len(other.by_seed), other.items, len(other.marks)):
        what = f"{len(one.by_seed)} seeds × {one.items} items against {len(other.by_seed)} × {other.items}"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, remedy="give both the same seeds and the same test items")
    marks = one.marks - other.marks
    low, high = percentiles(marks)
    tail = min(int(np.sum(marks <= 0)), int(np.sum(marks >= 0)))
    return Interval(one.value - other.value, low, high, min(1.0, 2 * (tail + 1) / (len(marks) + 1)))
