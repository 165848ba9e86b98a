"""What a metric is, and the checks that every metric makes before it marks anything.

A mark over the wrong rows looks like any other number. So lists of different length, empty sets, label ids that no
class has (the −100 of ignored tokens among them) and scores that are not finite are errors, never a mark.

A mark over many items needs an interval, and to draw items again two thousand times must not mean to mark them two
thousand times. Most marks are read off sums over items: a mean off (Σ value, n), an F1 off (Σ agreed, Σ predicted,
Σ true), BLEU off the sums of matching n-grams. A `Tally` keeps what each item adds to these sums, so a draw costs one
product of how often each item came up with `[items, k]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError, printable
from modeledge.records import AnyArray

Needs: TypeAlias = Literal["labels", "scores", "text", "spans", "matrix", "ranking", "outcomes"]
Floats: TypeAlias = npt.NDArray[np.float64]
Ids: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """What each item adds to some sums, `[items, k]`, and the mark that is read off them, `[..., k]` → `[...]`.

    `how` joins the signature of the score: what was done to the items before they were compared.

    >>> mean_of(np.array([1.0, 0.0, 0.5])).mark()
    0.5
    """

    items: Floats
    value: Callable[[Floats], Floats]
    how: str = ""

    def mark(self) -> float:
        """The mark over all items, each counted once."""
        return float(self.value(self.items.sum(axis=0)))


@dataclass(frozen=True)
class LeftOut:
    """A mark that no sums carry, because an item drawn twice would itself change it (distinct n-grams): the value, and
    what it would be `without` each item, `[items]`."""

    value: float
    without: Floats
    how: str = ""

    def mark(self) -> float:
        """The mark over all items."""
        return self.value


Parts: TypeAlias = Tally | LeftOut


@dataclass(frozen=True)
class Metric:
    """One row of `METRICS`: the function, which way is better, and what it reads as predictions.

    >>> share = Metric("share", lambda p, l: float(np.mean(np.equal(p, l))), greater_is_better=True, needs="labels")
    >>> share([1, 0], [1, 1])
    0.5
    """

    name: str
    function: Callable[[Any, Any], float]
    greater_is_better: bool
    needs: Needs
    parts: Callable[[Any, Any], Parts] | None = None  # what each item adds; None: the function marks each draw anew
    alone: bool = False  # the predictions are marked by themselves: labels are counted, never read

    def __call__(self, predictions: Any, labels: Any) -> float:
        """Mark predictions against labels, item by item."""
        return self.function(predictions, labels)

    def better(self, new: float, old: float) -> bool:
        """Is `new` strictly better than `old`?"""
        return new > old if self.greater_is_better else new < old


def counted(
    name: str,
    parts: Callable[[Any, Any], Parts],
    needs: Needs,
    *,
    greater_is_better: bool = True,
    alone: bool = False,
) -> Metric:
    """A row whose mark is that of its parts."""
    return Metric(name, lambda p, t: parts(p, t).mark(), greater_is_better, needs, parts, alone)


def mean_of(values: Floats, how: str = "") -> Tally:
    """The mean of one number an item, `[items]`."""
    return Tally(np.column_stack([values, np.ones(len(values))]), lambda sums: sums[..., 0] / sums[..., 1], how)


def f_measure(sums: Floats) -> Floats:
    """F1 off `[..., 3]` counts (agreed, predicted, true): 2·agreed / (predicted + true), and 0 where nothing is."""
    seen = sums[..., 1] + sums[..., 2]
    return np.asarray(2 * sums[..., 0] / np.where(seen > 0, seen, 1), np.float64)


def label_pair(predictions: npt.ArrayLike, labels: npt.ArrayLike, classes: int | None = None) -> tuple[Ids, Ids]:
    """Two equally long, non-empty lists of class ids `[items]`, each ≥ 0 and, where `classes` is given, below it."""
    pair = label_ids(predictions, "predictions", classes), label_ids(labels, "labels", classes)
    same_length(*pair)
    return pair


def label_ids(values: npt.ArrayLike, name: str, classes: int | None = None) -> Ids:
    """Class ids `[items]` as int64; `E-LABEL-TYPE`, `E-LABEL-RANGE` and `E-EMPTY-SPLIT` name the offending item."""
    array = as_array(values, name)
    not_empty(array, name)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        shape = f"{array.dtype} of shape {list(array.shape)}"
        raise ModeledgeError("E-LABEL-TYPE", f"{name} must be class ids [items], not {shape}", remedy="pass integers")
    low, high = int(array.min()), int(array.max())
    if low < 0 or (classes is not None and high >= classes):
        wrong = low if low < 0 else high
        item = int(np.argmax(array == wrong))
        allowed = f"0 … {classes - 1}" if classes is not None else "0, 1, 2, …"
        remedy = "leave ignored items (−100) out before marking" if wrong == -100 else ""
        raise ModeledgeError(
            "E-LABEL-RANGE", f"label id {wrong} is not one of {allowed}", where=f"{name}[{item}]", remedy=remedy
        )
    if high > np.iinfo(np.int64).max:
        raise ModeledgeError("E-LABEL-RANGE", f"label id {high} is too large", where=name)
    return array.astype(np.int64)


def value_pair(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Two equally long, non-empty, finite lists of real numbers `[items]`, as float64."""
    pair = finite(predictions, "predictions"), finite(labels, "labels")
    for name, array in zip(("predictions", "labels"), pair, strict=True):
        if array.ndim != 1:
            raise ModeledgeError("E-SCORES", f"{name} must be [items], not of shape {list(array.shape)}")
    same_length(*pair)
    return pair


def finite(values: npt.ArrayLike, name: str) -> Floats:
    """Real numbers of any shape as float64; `E-NOT-FINITE` names the first NaN or infinity."""
    array = as_array(values, name)
    not_empty(array, name)
    if array.dtype.kind not in "biuf":
        raise ModeledgeError("E-SCORES", f"{name} must be real numbers, not {array.dtype}")
    numbers = array.astype(np.float64)
    good = np.isfinite(numbers)
    if not good.all():
        place = tuple(int(i) for i in np.argwhere(~good)[0])
        raise ModeledgeError(
            "E-NOT-FINITE",
            f"the value is {numbers[place]}",
            where=f"{name}{list(place)}",
            why="a mark over it would mean nothing",
            remedy="look at what produced it",
        )
    return numbers


def as_array(values: npt.ArrayLike, name: str) -> AnyArray:
    """An array from a list, array or anything array-like; ragged lists are refused."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModeledgeError("E-SCORES", f"{name} are no array ({printable(str(error), 80)})") from error


def not_empty(array: AnyArray | Sized, name: str) -> None:
    """`E-EMPTY-SPLIT` where there is nothing to mark."""
    if (array.size if isinstance(array, np.ndarray) else len(array)) == 0:
        raise ModeledgeError("E-EMPTY-SPLIT", f"{name} hold no item, so there is nothing to mark")


def same_length(predictions: Sized, labels: Sized) -> None:
    """`E-LENGTH-MISMATCH` where predictions and labels are not one to one."""
    if len(predictions) != len(labels):
        what = f"{len(predictions)} predictions stand against {len(labels)} labels"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, remedy="mark exactly the items that were predicted")
