"""How sure is a mark? Bootstrap and Wilson intervals, and the paired comparison of two systems.

A score on 2,000 test items from 3 training runs is a draw from two lotteries: which items were in the test set, and
which random seed the run had. `bootstrap` answers for the items of one run. `paired_difference` answers for both
at once: it draws seeds and items again, the same draw for both systems, so whatever makes an item hard or a seed lucky
for both cancels. Drawing whole rows and whole columns is Owen's pigeonhole bootstrap (2007, Annals of Applied
Statistics 1(2), arXiv 0712.1111); with few seeds it errs towards wide intervals for item noise, and a seed lottery of
3 is still a lottery of 3: treat a narrow miss as a miss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Floats, LeftOut, Metric, Parts, Tally, as_array, finite, same_length
from modeledge.seed import Noise

LEVEL = 0.95
CHUNK = 1 << 21  # numbers drawn at once: 16 MiB


@dataclass(frozen=True)
class Score:
    """A mark with its interval, the number of items behind it, and a signature that says how it was computed."""

    name: str
    value: float
    low: float
    high: float
    n: int
    signature: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4f} [{self.low:.4f}, {self.high:.4f}] (n={self.n})"


@dataclass(frozen=True)
class Interval:
    """A mean difference, its 95 % interval and two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        """Is the sign of the difference settled at this level?"""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}] (p={self.p:.2g})"


def bootstrap(metric: Metric, predictions: Any, labels: Any, *, n: int = 2000, seed: int) -> Score:
    """A metric with its 95 % percentile interval over test items drawn again `n` times (Efron 1979).

    `predictions` and `labels` are item by item along their first axis. Everything the metric refuses is refused here.
    The same seed draws the same items for every metric.
    """
    draws_at_least_one(n)
    if metric.parts is not None:
        return score_of(metric.name, metric.parts(predictions, labels), n=n, seed=seed)
    value = metric(predictions, labels)
    guess, truth = as_array(predictions, "predictions"), as_array(labels, "labels")
    same_length(guess, truth)
    items = len(truth)
    generator = Noise(seed).at("bootstrap", "items").generator()
    marks = np.empty(n)
    for draw in range(n):
        chosen = generator.integers(0, items, size=items)
        marks[draw] = metric(guess[chosen], truth[chosen])
    low, high = percentiles(marks)
    return Score(metric.name, value, low, high, items, signed(metric.name, "", items, n, seed))


def score_of(name: str, parts: Parts, *, n: int = 2000, seed: int) -> Score:
    """The mark of some parts with its 95 % interval: a `Tally` is drawn again as `bootstrap` draws.

    Where every item marks 1, or every one 0, all draws are alike and would claim certainty: the interval is Wilson's.
    `LeftOut` cannot be drawn (an item drawn twice is no new text), so its interval is the delete-one jackknife's (Tukey
    1958; Efron and Stein 1981, Annals of Statistics 9(3): its variance errs on the wide side), value ± 1.96 standard
    errors.
    """
    draws_at_least_one(n)
    value = parts.mark()
    if isinstance(parts, LeftOut):
        items = len(parts.without)
        spread = float(np.sum((parts.without - parts.without.mean()) ** 2) * (items - 1) / items)
        reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(spread)
        signature = "|".join(filter(None, (name, parts.how, f"items:{items}", "interval:jackknife-normal-95")))
        return Score(name, value, value - reach, value + reach, items, signature)
    items = len(parts.items)
    if (share := unanimous(parts)) is not None:
        low, high = wilson(int(share) * items, items)
        signature = "|".join(filter(None, (name, parts.how, f"items:{items}", "interval:wilson-95")))
        return Score(name, value, low, high, items, signature)
    low, high = percentiles(drawn_marks(parts, n, seed))
    return Score(name, value, low, high, items, signed(name, parts.how, items, n, seed))


def unanimous(tally: Tally) -> float | None:
    """1 where the mark is a share of items and every one counts, 0 where none does; `None` for any other."""
    items = tally.items
    if items.shape[1] != 2 or not (items[:, 1] == 1).all():
        return None
    first = float(items[0, 0])
    return first if first in (0.0, 1.0) and bool((items[:, 0] == first).all()) else None


def drawn_marks(tally: Tally, n: int, seed: int) -> Floats:
    """The marks of `n` draws of the items with replacement, `[n]`."""
    items = len(tally.items)
    blocks = drawn_counts(Noise(seed).at("bootstrap", "items"), n, items, items)
    return np.concatenate([tally.value(counts @ tally.items) for counts in blocks])


def signed(name: str, how: str, items: int, n: int, seed: int) -> str:
    """How a bootstrapped score was computed, in one line."""
    drawn = (f"items:{items}", "interval:bootstrap-percentile-95", f"draws:{n}", f"seed:{seed}")
    return "|".join(filter(None, (name, how, *drawn)))


def paired_difference(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike, *, seed: int, n: int = 5000) -> Interval:
    """How much better is system A than system B, and is it luck? Bootstrap over both seeds and test items.

    `correct_a` and `correct_b` are `[seeds, items]` (or `[items]` for one seed): 0/1, or any score of each item. Row
    s of both was trained with the same seed, column i is the same item. Each draw weighs the seeds and the items by
    how often they were drawn with replacement; its mark is the weighted mean difference. `p` is twice the smaller
    share of draws on either side of zero, with the observed data counted once (Davison and Hinkley 1997, §4.2), so
    it is never 0.
    """
    draws_at_least_one(n)
    difference = seeds_by_items(correct_a, "correct_a") - seeds_by_items(correct_b, "correct_b", like=correct_a)
    seeds, items = difference.shape
    noise = Noise(seed).at("paired_difference")
    marks = np.empty(n)
    pairs = zip(
        drawn_counts(noise.at("seeds"), n, seeds, items), drawn_counts(noise.at("items"), n, items, items), strict=True
    )
    done = 0
    for by_seed, by_item in pairs:
        marks[done : done + len(by_seed)] = np.einsum("di,di->d", by_seed @ difference, by_item)
        done += len(by_seed)
    marks /= seeds * items
    low, high = percentiles(marks)
    tail = min(int(np.sum(marks <= 0)), int(np.sum(marks >= 0)))
    return Interval(float(difference.mean()), low, high, min(1.0, 2 * (tail + 1) / (n + 1)))


def drawn_counts(noise: Noise, draws: int, size: int, width: int) -> Iterator[Floats]:
    """Blocks `[some draws, size]`: how often each of `size` things came up when `size` were drawn with replacement.

    Blocks are cut so that `some draws × width` numbers fit in `CHUNK`; equal `width` gives equal blocks.
    """
    generator = noise.generator()
    step = max(1, CHUNK // width)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        chosen = generator.integers(0, size, size=(rows, size))
        chosen += np.arange(rows)[:, None] * size
        yield np.bincount(chosen.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def seeds_by_items(values: npt.ArrayLike, name: str, like: npt.ArrayLike | None = None) -> Floats:
    """Scores as float64 `[seeds, items]`; one axis is one seed. `E-LENGTH-MISMATCH` where two systems do not pair."""
    array = finite(values, name)
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2:
        raise ModeledgeError("E-SCORES", f"{name} must be [seeds, items], not {list(array.shape)}")
    other = np.atleast_2d(np.asarray(like)).shape if like is not None else array.shape
    if other != array.shape:
        what = f"[seeds, items] is {list(other)} for one system and {list(array.shape)} for the other"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, remedy="give both the same seeds and the same test items")
    return array


def wilson(successes: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a proportion `successes / n` that stays honest near 0 and 1 (Wilson 1927)."""
    if n < 1:
        raise ModeledgeError("E-EMPTY-SPLIT", f"a proportion of {n} items has no interval")
    if not 0 <= successes <= n:
        raise ModeledgeError("E-SCORES", f"{successes} of {n} is no proportion", remedy="count each item once")
    if not 0 < level < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"level is {level}", remedy="pass a number between 0 and 1")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - reach)
    return low, 1.0 if successes == n else min(1.0, centre + reach)


def percentiles(marks: Floats) -> tuple[float, float]:
    """The middle 95 % of the draws."""
    low, high = np.quantile(marks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def draws_at_least_one(n: int) -> None:
    """`E-CONFIG-VALUE` for a bootstrap without draws."""
    if n < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"n is {n}", remedy="draw at least once")
