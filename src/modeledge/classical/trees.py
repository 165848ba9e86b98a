"""Trees: questions "is feature f at most t?" from a root to a leaf, and what the leaves of many trees say together.

A random forest grows each tree on rows drawn with replacement and looks at √inputs features a question, so that trees
err differently, and takes their mean (Breiman 2001). Gradient boosting grows small trees one after the other, each on
what those before it got wrong, and takes their sum (Friedman 2001; scikit-learn's own bins features first, as LightGBM,
Ke et al. 2017). Trees care for the order of a feature's values alone: nothing is scaled for them.

All trees of a head lie in the same arrays behind each other. A node's children stand behind it, so a walk ends: that is
checked, because a file could say otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from modeledge.classical.head import Floats, Head, Ints, check_array, classes_of, damaged, linked
from modeledge.errors import ModeledgeError
from modeledge.records import AnyArray

CHUNK = 1 << 20  # places (rows × trees) that are walked at once


@dataclass(frozen=True, eq=False)
class Trees(Head):
    """`left`, `right [nodes]` are numbers of nodes, −1 at a leaf; a row goes left where its `feature [nodes]` is at
    most `threshold [nodes]`. `values [nodes, outputs]` are what leaves say, `roots [trees]` where trees begin, `width`
    is the number of features."""

    left: Ints
    right: Ints
    feature: Ints
    threshold: Floats
    values: Floats
    roots: Ints
    width: int

    @property
    def inputs(self) -> int:
        return self.width

    def leaves(self, x: AnyArray) -> Ints:
        """The leaf that each row reaches in each tree, `[rows, trees]`."""
        out = np.empty((len(x), len(self.roots)), dtype=np.int64)
        step = max(1, CHUNK // len(self.roots))
        for start in range(0, len(x), step):
            part = x[start : start + step]
            at = np.tile(self.roots, len(part))
            row = np.repeat(np.arange(len(part)), len(self.roots))
            inner = np.flatnonzero(self.left[at] >= 0)
            while len(inner):
                node = at[inner]
                goes = part[row[inner], self.feature[node]] <= self.threshold[node]
                at[inner] = np.where(goes, self.left[node], self.right[node])
                inner = inner[self.left[at[inner]] >= 0]
            out[start : start + step] = at.reshape(len(part), -1)
        return out

    def checked(self) -> Self:
        nodes = len(self.left)
        for name in ("left", "right", "feature"):
            check_array(name, getattr(self, name), (nodes,), np.int64)
        check_array("threshold", self.threshold, (nodes,))
        check_array("values", self.values, (nodes, None))
        check_array("roots", self.roots, (None,), np.int64)
        inner, number = self.left >= 0, np.arange(nodes)
        behind = (self.left > number) & (self.right > number) & (self.left < nodes) & (self.right < nodes)
        if not behind[inner].all() or not len(self.roots) or not ((self.roots >= 0) & (self.roots < nodes)).all():
            damaged("a tree leads out of its nodes, or back")
        if type(self.width) is not int or not ((self.feature >= 0) & (self.feature < self.width))[inner].all():
            damaged(f"a tree asks for a feature that none of {self.width} is")
        return self


@dataclass(frozen=True, eq=False)
class Forest(Trees):
    """The mean of all trees: shares of classes, or values. Features are compared in fp32, as they were in fitting."""

    kind: ClassVar[str] = "forest"

    @property
    def outputs(self) -> int:
        return int(self.values.shape[1])

    def told(self, x: Floats) -> Floats:
        leaves, total = self.leaves(x.astype(np.float32)), np.zeros((len(x), self.outputs))
        for tree in range(leaves.shape[1]):  # in their order, as scikit-learn adds
            total += self.values[leaves[:, tree]]
        return np.asarray(total / leaves.shape[1])


@dataclass(frozen=True, eq=False)
class Boosted(Trees):
    """The sum of all trees over a `baseline [scores]`; the trees of the scores take turns. `link` as in `linked`."""

    kind: ClassVar[str] = "boosted"

    baseline: Floats
    link: str

    @property
    def outputs(self) -> int:
        return classes_of(self.link, len(self.baseline))

    def told(self, x: Floats) -> Floats:
        leaves, scores = self.leaves(x), len(self.baseline)
        raw = np.tile(self.baseline, (len(x), 1))
        for tree in range(leaves.shape[1]):
            raw[:, tree % scores] += self.values[leaves[:, tree], 0]
        return linked(raw, self.link)

    def checked(self) -> Self:
        super().checked()
        check_array("baseline", self.baseline, (None,))
        check_array("values", self.values, (len(self.left), 1))
        if not len(self.baseline) or len(self.roots) % len(self.baseline):
            damaged(f"{len(self.roots)} trees do not give {len(self.baseline)} scores in turns")
        classes_of(self.link, len(self.baseline))
        return self


def forest_of(estimator: Any) -> Forest:
    """The trees of a fitted `RandomForestClassifier` or `RandomForestRegressor` (or of extremely random ones)."""
    trees = [tree.tree_ for tree in estimator.estimators_]
    if estimator.n_outputs_ != 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"a forest of {estimator.n_outputs_} answers a row is not saved")
    roots = _starts([tree.node_count for tree in trees])
    left, right = (
        np.concatenate([_moved(getattr(t, name), r) for t, r in zip(trees, roots, strict=True)])
        for name in ("children_left", "children_right")
    )
    values = np.concatenate([np.asarray(tree.value, np.float64)[:, 0, :] for tree in trees])
    if hasattr(estimator, "classes_"):  # scikit-learn before 1.3 kept counts
        values = values / values.sum(1, keepdims=True)
    feature = np.concatenate([np.maximum(tree.feature, 0) for tree in trees]).astype(np.int64)
    threshold = np.concatenate([np.asarray(tree.threshold, np.float64) for tree in trees])
    return Forest(left, right, feature, threshold, values, roots, int(estimator.n_features_in_)).checked()


def boosted_of(estimator: Any) -> Boosted:
    """The trees of a fitted `HistGradientBoostingClassifier` or `…Regressor` on numbers without gaps."""
    trees = [tree.nodes for turn in estimator._predictors for tree in turn]
    nodes = np.concatenate(trees)
    if nodes["is_categorical"].any():
        raise ModeledgeError("E-CONFIG-VALUE", "boosted trees that ask for categories are not saved")
    roots, leaf = _starts([len(tree) for tree in trees]), nodes["is_leaf"].astype(bool)
    offset = np.repeat(roots, [len(tree) for tree in trees])
    left, right = (np.where(leaf, -1, nodes[name].astype(np.int64) + offset) for name in ("left", "right"))
    baseline = np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)
    link = "identity" if not hasattr(estimator, "classes_") else "sigmoid" if len(baseline) == 1 else "softmax"
    if link == "identity" and estimator.loss not in ("squared_error", "absolute_error"):
        raise ModeledgeError("E-CONFIG-VALUE", f"boosted trees for the loss {estimator.loss!r} are not saved")
    return Boosted(
        left,
        right,
        np.where(leaf, 0, nodes["feature_idx"].astype(np.int64)),
        np.where(leaf, 0.0, nodes["num_threshold"].astype(np.float64)),
        nodes["value"].astype(np.float64)[:, None],
        roots,
        int(estimator.n_features_in_),
        baseline,
        link,
    ).checked()


def _starts(counts: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)


def _moved(children: AnyArray, root: int) -> Ints:
    """Numbers of nodes in a tree → in all trees; −1 stays."""
    return np.where(children >= 0, children + root, -1).astype(np.int64)
