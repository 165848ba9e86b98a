"""Which layers, which pooling, which head, how strong: chosen by cross-validation on the training rows alone.

The test rows are marked once, by what was chosen: a validation nested inside the split (Cawley and Talbot 2010, JMLR
11: to choose by the rows that one is marked on makes any method look good). The score by which the best of many was
chosen is itself too good, the more so the more were tried; it is told as what it is, and the test score is the one to
believe.

Every candidate is marked on the same folds, on all its answers at once, each given by a head that did not see that
row, nor a row equal to it. Whatever is fitted (projection, mixture, head) is fitted within the fold.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any, TypeAlias

import numpy as np

from modeledge.classical.combine import Combine, combined
from modeledge.classical.head import Floats, Ints
from modeledge.classical.project import fit_projection
from modeledge.classical.saved import Fit, spread
from modeledge.classical.table import Fitting, fit_head, kind_named
from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.records import AnyArray, FloatArray
from modeledge.seed import Noise

FOLDS = 3
Mix: TypeAlias = Callable[[FloatArray, AnyArray, int], FloatArray]  # states, labels, classes → γ · s of each layer


@dataclass(frozen=True, order=True)
class Candidate:
    """One point of the space. `layers` are numbers of layers, 0 the embeddings."""

    layers: tuple[int, ...]
    combine: str
    pool: str
    pca: int | None
    head: str
    strength: float

    def __str__(self) -> str:
        where = (
            f"layer {self.layers[0]}" if len(self.layers) == 1 else f"layers {_ranges(self.layers)} ({self.combine})"
        )
        pca = f", {self.pca} components" if self.pca is not None else ""
        return f"{where}, {self.pool}{pca}, {self.head} with {kind_named(self.head).knob} = {self.strength:g}"


def _ranges(layers: Sequence[int]) -> str:
    if len(layers) > 2 and layers[-1] - layers[0] == len(layers) - 1:
        return f"{layers[0]}-{layers[-1]}"
    return ",".join(map(str, layers))


@dataclass(frozen=True, eq=False)
class Bank:
    """The states of some rows: of each pooling `[items, layers, width]` for the layers `layers`. Where pairs are
    `apart` there are two items a row: all first texts, then all second ones."""

    pools: Mapping[str, FloatArray]
    layers: tuple[int, ...]
    apart: bool = False

    @property
    def rows(self) -> int:
        """How many rows there are."""
        items = len(next(iter(self.pools.values())))
        return items // 2 if self.apart else items

    @property
    def width(self) -> int:
        """How wide a layer is."""
        return int(next(iter(self.pools.values())).shape[2])

    def of(self, layers: Sequence[int], pool: str, rows: Ints | None = None) -> FloatArray:
        """The states of some layers, and of some rows."""
        states = self.pools[pool][:, [self.layers.index(layer) for layer in layers]]
        if rows is None:
            return states
        return states[np.concatenate([rows, rows + self.rows]) if self.apart else rows]


@dataclass(frozen=True, eq=False)
class Learning:
    """Training rows: their states, labels `[rows]` (numbers below `classes`, or values where that is 0), what mixes
    layers, and how fitting may go about it."""

    bank: Bank
    labels: AnyArray
    classes: int
    mix: Mix
    how: Fitting = Fitting()  # noqa: RUF009

    def fitted(self, chosen: Candidate, rows: Ints | None = None, notes: Mapping[str, Any] | None = None) -> Fit:
        """The fit of one candidate on all rows, or on some."""
        labels, seen = self.taken(rows)
        states = self.bank.of(chosen.layers, chosen.pool, rows)
        combine = self.combine(chosen, states, labels, len(seen))
        x = combine.features(states)
        projection = fit_projection(x, kind_named(chosen.head).scale, chosen.pca, self.how.seed)
        head = fit_head(chosen.head, chosen.strength, projection.told(x), labels, len(seen), self.how)
        return Fit(combine, projection, head, dict(notes or {}), seen, self.classes).checked()

    def taken(self, rows: Ints | None) -> tuple[AnyArray, tuple[int, ...]]:
        """The labels of some rows, classes numbered anew, and the numbers of the classes that are among them."""
        labels = self.labels if rows is None else self.labels[rows]
        if not self.classes:
            return labels, ()
        seen, numbers = np.unique(labels, return_inverse=True)
        if len(seen) < 2:
            what = f"all {len(labels)} rows that a head would learn from are of one class"
            raise ModeledgeError("E-ONE-CLASS", what)
        return numbers, tuple(seen.tolist())

    def combine(self, chosen: Candidate, states: FloatArray, labels: AnyArray, classes: int) -> Combine:
        """How the layers of a candidate are combined; a mixture is learned."""
        if chosen.combine != "mix":
            return combined(chosen.combine, len(chosen.layers), self.bank.width, apart=self.bank.apart)
        return Combine("mix", np.asarray(self.mix(states, labels, classes), np.float64), self.bank.width).checked()


def space_of(
    layers: Iterable[tuple[tuple[int, ...], str]],
    pools: Iterable[str],
    pca: int | None,
    heads: Sequence[str],
    strength: float | None,
) -> list[Candidate]:
    """Every combination of (layers, how they are combined) × pooling × head × the strengths of the head."""
    knobs = [(head, s) for head in heads for s in ((strength,) if strength is not None else kind_named(head).strengths)]
    return [
        Candidate(numbers, how, pool, pca, head, float(value))
        for (numbers, how), pool, (head, value) in product(layers, pools, knobs)
    ]


@dataclass(frozen=True)
class Verdict:
    """What was chosen, its cross-validated score by `metric`, and the score of every candidate in their order."""

    chosen: Candidate
    score: float
    metric: str
    greater_is_better: bool
    folds: int
    scores: Sequence[tuple[Candidate, float]]


def search(
    learning: Learning, space: Sequence[Candidate], metric: str, groups: Sequence[Hashable], seed: int
) -> Verdict:
    """Mark every candidate by cross-validation; the first of the best is chosen.

    Rows of one of `groups [rows]` are in one fold. Raises `E-CLASS-TOO-SMALL`, `E-ONE-CLASS` where a fold leaves one.
    """
    folds = folds_of(learning.labels if learning.classes else None, groups, FOLDS, Noise(seed).at("features", "folds"))
    scores = list(_marked(learning, space, metric, folds))
    mark = METRICS[metric]
    best = scores[0]
    for one in scores[1:]:
        best = one if mark.better(one[1], best[1]) else best
    return Verdict(best[0], best[1], metric, mark.greater_is_better, FOLDS, scores)


def _marked(
    learning: Learning, space: Sequence[Candidate], metric: str, folds: Ints
) -> Iterator[tuple[Candidate, float]]:
    """Each candidate with its score. Features that several heads read are made once a fold."""
    parts = [(np.flatnonzero(folds != n), np.flatnonzero(folds == n)) for n in range(int(folds.max()) + 1)]
    total, mark, how = learning.classes, METRICS[metric], learning.how
    for _, same in groupby(space, key=lambda c: (c.layers, c.combine, c.pool, c.pca)):
        alike = list(same)
        answers = np.zeros((len(alike), len(learning.labels)))
        for stay, go in parts:
            labels, seen = learning.taken(stay)
            states = learning.bank.of(alike[0].layers, alike[0].pool, stay)
            combine = learning.combine(alike[0], states, labels, len(seen))
            x, other = combine.features(states), combine.features(learning.bank.of(alike[0].layers, alike[0].pool, go))
            ready: dict[str, tuple[Floats, Floats]] = {}
            for number, one in enumerate(alike):
                scale = kind_named(one.head).scale
                if scale not in ready:
                    projection = fit_projection(x, scale, one.pca, how.seed)
                    ready[scale] = projection.told(x), projection.told(other)
                head = fit_head(one.head, one.strength, ready[scale][0], labels, len(seen), how)
                told = spread(head.told(ready[scale][1]), seen, total)
                answers[number, go] = told.argmax(1) if total else told[:, 0]
        for one, said in zip(alike, answers, strict=True):
            yield one, float(mark(said.astype(np.int64) if total else said, learning.labels))


def folds_of(classes: AnyArray | None, groups: Sequence[Hashable], count: int, noise: Noise) -> Ints:
    """The fold of each row `[rows]`: groups by lot, dealt out in turns class by class (that of a group's first row).

    Fewer groups than folds are `E-CLASS-TOO-SMALL`.
    """
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    pools: dict[int, list[list[int]]] = {}
    for rows in members.values():
        pools.setdefault(0 if classes is None else int(classes[rows[0]]), []).append(rows)
    out, turn = np.zeros(len(groups), dtype=np.int64), 0
    for name in sorted(pools):
        pool = pools[name]
        for place in noise.at(name).generator().permutation(len(pool)):
            out[pool[place]] = turn % count
            turn += 1
    if len(members) < count:
        raise ModeledgeError("E-CLASS-TOO-SMALL", f"{len(members)} different rows make no {count} folds")
    return out
