"""The heads that can be asked for: how each is fitted, what is done to features before, and which knob matters most.

Each row has one number that is worth choosing, its `strength`; what it is, is said in `knob`. All else is as
scikit-learn has it, but for what stands here. scikit-learn is imported when something is fitted, and never to answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from modeledge.classical.head import Floats, Head
from modeledge.classical.linear import linear_of
from modeledge.classical.neighbours import neighbours_of
from modeledge.classical.network import network_of
from modeledge.classical.project import Scale
from modeledge.classical.trees import boosted_of, forest_of
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import AnyArray

TREES, ROUNDS, HIDDEN, STEPS = 200, 100, 128, 2000
Say = Callable[[str], None]

# What a fitted estimator of scikit-learn is written as. Whatever is not here is refused.
WRITERS: dict[str, Callable[[Any], Head]] = {
    **dict.fromkeys(("LogisticRegression", "LinearSVC", "Ridge", "LinearSVR"), linear_of),
    **dict.fromkeys(("KNeighborsClassifier", "KNeighborsRegressor"), neighbours_of),
    **dict.fromkeys(("RandomForestClassifier", "RandomForestRegressor"), forest_of),
    **dict.fromkeys(("ExtraTreesClassifier", "ExtraTreesRegressor"), forest_of),
    **dict.fromkeys(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"), boosted_of),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), network_of),
}


@dataclass(frozen=True)
class Kind:
    """One row of `HEADS`. `made(strength, classes, seed, threads)` is the estimator that is fitted: with `classes` one
    of classes, else one of values. A whole strength is a count."""

    scale: Scale
    knob: str
    default: float
    strengths: tuple[float, ...]
    made: Callable[[float, bool, int, int], Any]


def _logistic(strength: float, classes: bool, seed: int, threads: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression(C=strength, max_iter=STEPS) if classes else Ridge(1 / strength)


def _svm(strength: float, classes: bool, seed: int, threads: int) -> Any:
    from sklearn.svm import LinearSVC, LinearSVR

    if classes:
        return LinearSVC(C=strength, max_iter=10 * STEPS, random_state=seed)
    return LinearSVR(C=strength, max_iter=10 * STEPS, random_state=seed, loss="squared_epsilon_insensitive", dual=False)


def _knn(strength: float, classes: bool, seed: int, threads: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    kind = KNeighborsClassifier if classes else KNeighborsRegressor
    return kind(int(strength), algorithm="brute", metric="euclidean")


def _forest(strength: float, classes: bool, seed: int, threads: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if classes else RandomForestRegressor
    return kind(TREES, min_samples_leaf=int(strength), max_features="sqrt", random_state=seed, n_jobs=threads)


def _boosting(strength: float, classes: bool, seed: int, threads: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return kind(max_leaf_nodes=int(strength), max_iter=ROUNDS, early_stopping=False, random_state=seed)


def _mlp(strength: float, classes: bool, seed: int, threads: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPClassifier if classes else MLPRegressor
    return kind(hidden_layer_sizes=(HIDDEN,), alpha=strength, max_iter=500, random_state=seed)


HEADS: dict[str, Kind] = {
    "logistic": Kind("standard", "C, the inverse of the penalty", 0.1, (0.001, 0.01, 0.1, 1.0), _logistic),
    "svm": Kind("standard", "C, the inverse of the penalty", 0.01, (0.0001, 0.001, 0.01, 0.1), _svm),
    "knn": Kind("unit", "neighbours", 10, (1, 5, 10, 30), _knn),
    "forest": Kind("none", "least rows in a leaf", 1, (1, 3, 10), _forest),
    "boosting": Kind("none", "most leaves of a tree", 15, (7, 15, 31), _boosting),
    "mlp": Kind("standard", "alpha, the penalty", 1.0, (0.01, 1.0, 10.0), _mlp),
}


def kind_named(name: str) -> Kind:
    """A row of `HEADS` (`E-CONFIG-VALUE`)."""
    if name not in HEADS:
        what = f"there is no head {name!r}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="features.head", remedy=nearest(name, HEADS))
    return HEADS[name]


def written(estimator: Any) -> Head:
    """A fitted estimator of scikit-learn as a head of ours; one of a kind that is not known is `E-CONFIG-VALUE`."""
    name = type(estimator).__name__
    if name not in WRITERS:
        what, why = f"a {name} cannot be saved", "only as a pickle, which runs code when it is read"
        raise ModeledgeError("E-CONFIG-VALUE", what, why=why, remedy=nearest(name, WRITERS))
    return WRITERS[name](estimator)


def check_strength(name: str, strength: float, rows: int) -> None:
    """Refuse a strength that the head has no use for (`E-CONFIG-VALUE`)."""
    kind = kind_named(name)
    count = isinstance(kind.default, int)
    if count and (strength != int(strength) or strength < (2 if name == "boosting" else 1)):
        what = f"strength {strength:g} of {name} ({kind.knob}) is no such number"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="features.strength", remedy=f"e.g. {kind.default}")
    if name == "knn" and strength > rows:
        what = f"{strength:g} neighbours of {rows} training rows"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="features.strength", remedy="ask for fewer")


@dataclass(frozen=True)
class Fitting:
    """What fitting may use: the seed of what is drawn, cores, and where it says what a reader must know."""

    seed: int = 0
    threads: int = 1
    say: Say = print


def fit_head(name: str, strength: float, x: Floats, y: AnyArray, classes: int, how: Fitting) -> Head:
    """The head `name` on features `[rows, inputs]` and labels `[rows]`: class numbers below `classes`, or, where that
    is 0, values. A warning of the fitting (steps that were not enough) is said. Features must be projected already."""
    check_strength(name, strength, len(x))
    if classes and len(np.unique(y)) < classes:
        raise ModeledgeError("E-ONE-CLASS", f"{len(np.unique(y))} of {classes} classes are in the {len(x)} rows")
    estimator = kind_named(name).made(strength, classes > 0, how.seed, how.threads)
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(how.threads):
        warnings.simplefilter("always")
        estimator.fit(x, y)
    for line in dict.fromkeys(str(one.message).split("\n")[0] for one in caught):
        how.say(f"note: {name} with strength {strength:g}: {line}")
    return written(estimator)
