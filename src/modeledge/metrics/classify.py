"""Marks for class ids: accuracy, F1 in its three averages, and Matthews' correlation.

Accuracy flatters a model that always names the largest class; macro-F1 gives each class one vote, and Matthews'
correlation is 0 for any constant answer. All are read off one confusion matrix `[true, predicted]`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Floats, Ids, Tally, f_measure, label_ids, label_pair, mean_of, same_length


def accuracy(predictions: npt.ArrayLike, labels: npt.ArrayLike, *, classes: int | None = None) -> float:
    """The share of items whose predicted class is the true one, 0 … 1."""
    guess, truth = label_pair(predictions, labels, classes)
    return float(np.mean(guess == truth))


def each_right(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """What each item adds to the accuracy."""
    guess, truth = label_pair(predictions, labels)
    return mean_of((guess == truth).astype(np.float64))


def f1_binary(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The harmonic mean of precision and recall of class 1 among ids 0 and 1; 0 where class 1 never occurs at all."""
    guess, truth = label_pair(predictions, labels, 2)
    agreed = int(np.sum(guess & truth))
    seen = int(guess.sum() + truth.sum())
    return 2 * agreed / seen if seen else 0.0


def f1_macro(predictions: npt.ArrayLike, labels: npt.ArrayLike, *, classes: int | None = None) -> float:
    """The plain mean of each class's F1, over the classes that occur among the labels or the predictions.

    Scikit-learn averages over the same classes. (Opitz and Burst 2019, arXiv 1911.03347: the mean of the F1 values,
    not the F1 of the mean precision and recall.)
    """
    guess, truth = label_pair(predictions, labels, classes)
    _, (guess, truth) = compact(guess, truth)
    agreed, guessed, true = class_counts(guess, truth)
    return float(np.mean(2 * agreed / (guessed + true)))


def f1_micro(predictions: npt.ArrayLike, labels: npt.ArrayLike, *, ignore: int | None = None) -> float:
    """F1 over all decisions pooled; with one label an item and no `ignore` it equals accuracy.

    `ignore` names a class that counts as "nothing here" (the O of tagging): agreeing on it earns nothing.
    """
    guess, truth = label_pair(predictions, labels)
    if ignore is None:
        return float(np.mean(guess == truth))
    agreed = int(np.sum((guess == truth) & (truth != ignore)))
    seen = int(np.sum(guess != ignore) + np.sum(truth != ignore))
    return 2 * agreed / seen if seen else 0.0


def relation_f1(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Tally:
    """F1 over the relations that are found, pooled, where class 0 means that there is none: agreeing on that earns
    nothing, and is no decision (TACRED's scorer; Zhang et al. 2017, D17-1004, section 4). 0 where no relation is right.
    """
    guess, truth = label_pair(predictions, labels)
    both = (guess == truth) & (truth > 0)
    return Tally(np.stack([both, guess > 0, truth > 0], axis=-1).astype(np.float64), f_measure, "without:0")


def matthews(predictions: npt.ArrayLike, labels: npt.ArrayLike, *, classes: int | None = None) -> float:
    """Matthews' correlation, −1 … 1, for any number of classes (Gorodkin 2004, R_K); 0 where one side is constant.

    The limit 0 for a constant side is the usual convention (Chicco and Jurman 2020, BMC Genomics 21:6): a constant
    answer knows nothing.
    """
    guess, truth = label_pair(predictions, labels, classes)
    _, (guess, truth) = compact(guess, truth)
    agreed, guessed, true = class_counts(guess, truth)
    items = float(len(truth))
    spread = (items**2 - guessed @ guessed) * (items**2 - true @ true)
    return float((agreed.sum() * items - guessed @ true) / np.sqrt(spread)) if spread > 0 else 0.0


def confusion(predictions: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> Ids:
    """How often each true class (row) was taken for each class (column): `[classes, classes]`."""
    if classes < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"classes is {classes}", remedy="pass at least 1")
    guess, truth = label_ids(predictions, "predictions", classes), label_ids(labels, "labels", classes)
    same_length(guess, truth)
    return np.bincount(truth * classes + guess, minlength=classes * classes).reshape(classes, classes)


def compact(guess: Ids, truth: Ids) -> tuple[int, tuple[Ids, Ids]]:
    """The ids renumbered 0 … classes − 1 over those that occur, so that a huge id costs no memory."""
    known, places = np.unique(np.concatenate([guess, truth]), return_inverse=True)
    return len(known), (places[: len(guess)], places[len(guess) :])


def class_counts(guess: Ids, truth: Ids) -> tuple[Floats, Floats, Floats]:
    """For each class: items where both name it, where the prediction does, where the label does."""
    classes = int(max(guess.max(), truth.max())) + 1
    agreed = np.bincount(truth[guess == truth], minlength=classes).astype(np.float64)
    guessed = np.bincount(guess, minlength=classes).astype(np.float64)
    return agreed, guessed, np.bincount(truth, minlength=classes).astype(np.float64)
