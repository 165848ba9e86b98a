"""Marks where an item may have several labels at once, or none: 0/1 matrices `[items, classes]`.

Exact match asks for every label of an item at once. F1 comes three ways: micro pools all decisions, macro gives each
class one vote, samples gives each item one. As in scikit-learn with `zero_division=0`, an F1 of nothing against nothing
is 0, so an item without labels that gets none is not rewarded by the samples average; exact match does reward it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Floats, Ids, Tally, as_array, f_measure, mean_of, not_empty, same_length


def multilabel_exact(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """The share of items all of whose labels are right, 0 … 1."""
    guess, truth = matrix_pair(predictions, labels)
    return mean_of((guess == truth).all(axis=1).astype(np.float64))


def multilabel_f1_micro(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """F1 over all decisions pooled."""
    return Tally(label_counts(predictions, labels).sum(axis=1), f_measure)


def multilabel_f1_macro(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """The plain mean of each class's F1, over all classes; 0 for one that never occurs."""
    counts = label_counts(predictions, labels)
    shape = counts.shape[1:]

    def value(sums: Floats) -> Floats:
        return np.asarray(f_measure(sums.reshape(*sums.shape[:-1], *shape)).mean(axis=-1), np.float64)

    return Tally(counts.reshape(len(counts), -1), value)


def multilabel_f1_samples(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """The mean of each item's F1; 0 for an item with no label on either side."""
    return mean_of(f_measure(label_counts(predictions, labels).sum(axis=1)))


def label_counts(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """For each item and class (agreed, predicted, true): `[items, classes, 3]`."""
    guess, truth = matrix_pair(predictions, labels)
    return np.stack([guess & truth, guess, truth], axis=-1).astype(np.float64)


def matrix_pair(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Ids, Ids]:
    """Two 0/1 matrices of one shape; `E-LABEL-TYPE`, `E-LABEL-RANGE` and `E-LENGTH-MISMATCH` say what is wrong."""
    guess, truth = zero_one(predictions, "predictions"), zero_one(labels, "labels")
    same_length(guess, truth)
    if guess.shape != truth.shape:
        what = f"predictions have {guess.shape[1]} classes, labels {truth.shape[1]}"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, remedy="give both a column for every class")
    return guess, truth


def zero_one(values: npt.ArrayLike, name: str) -> Ids:
    """A matrix `[items, classes]` of 0 and 1 (or booleans)."""
    array = as_array(values, name)
    not_empty(array, name)
    if array.ndim != 2 or array.dtype.kind not in "biu":
        what = f"{name} must be 0 or 1 [items, classes], not {array.dtype} of shape {list(array.shape)}"
        raise ModeledgeError("E-LABEL-TYPE", what, remedy="cut probabilities at a threshold first")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        place = [int(i) for i in np.argwhere(wrong)[0]]
        raise ModeledgeError("E-LABEL-RANGE", f"{array[tuple(place)]} is neither 0 nor 1", where=f"{name}{place}")
    return array.astype(np.int64)
