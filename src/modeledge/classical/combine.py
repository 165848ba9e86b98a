"""From the states of several layers to one row of features: side by side, their mean, their sum, or a learned mixture.

What a layer knows differs (Tenney et al. 2019, arXiv 1905.05950: syntax lower, meaning higher), and which one a task
wants is a question for its rows. Devlin et al. (2019, table 7) try the last layer, the one before it, the sum and the
mean of several and four side by side; Peters et al. (2018, arXiv 1802.05365, equation 1) learn the weights s and a
scale γ of a mixture, γ Σ s_j h_j, with s = softmax(w).

Each layer is pooled before layers are combined. For the first token, the last and the mean this is the same as the
other way round; the greatest value of a mean of layers is not the mean of the greatest values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np

from modeledge.classical.head import Floats, Stored, check_array, damaged
from modeledge.classical.pairs import compared
from modeledge.classical.project import units
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import FloatArray

How: TypeAlias = Literal["concat", "mean", "sum", "mix"]
NAMED = "last, second, all, lastN, firstN, numbers and ranges: 0,4-6 (0: the embeddings)"


@dataclass(frozen=True, eq=False)
class Combine(Stored):
    """States `[rows, layers, width]` → features. `shares [layers]` weigh the layers (a sum has ones, a mean 1 / layers,
    a mixture γ · s) where they are added; side by side they are as they are. `width` is that of one layer."""

    kind: ClassVar[str] = "combine"

    how: str
    shares: Floats
    width: int
    apart: bool = False

    @property
    def inputs(self) -> int:
        return len(self.shares) * self.width

    @property
    def outputs(self) -> int:
        one = self.inputs if self.how == "concat" else self.width
        return 2 * one + 1 if self.apart else one

    def one(self, states: FloatArray) -> Floats:
        """Features of texts `[rows, features]`."""
        if states.shape[1:] != (len(self.shares), self.width):
            what = f"{states.shape[1]} layers of {states.shape[2]}, not {len(self.shares)} of {self.width}"
            raise ModeledgeError("E-FEATURES", f"the states have {what}", remedy="use the body that was fitted on")
        if self.how == "concat":
            return states.reshape(len(states), -1).astype(np.float64)
        return np.asarray(np.einsum("nlw,l->nw", states.astype(np.float64), self.shares))

    def features(self, states: FloatArray) -> Floats:
        """Features of rows. Where pairs are `apart`, all first texts stand before all second ones `[2 · rows, …]`."""
        x = self.one(states)
        if not self.apart:
            return x
        x = units(x)
        return np.asarray(compared(x[: len(x) // 2], x[len(x) // 2 :]))

    def checked(self) -> Combine:
        check_array("shares", self.shares, (None,))
        if self.how not in get_args(How) or type(self.apart) is not bool or type(self.width) is not int:
            damaged(f"layers are combined by {self.how!r}")
        return self


def combined(how: str, layers: int, width: int, *, apart: bool = False) -> Combine:
    """The combination of so many layers that nothing has to be learned for."""
    share = 1 / layers if how == "mean" else 1.0
    return Combine(how, np.full(layers, share), width, apart).checked()


def check_how(how: str, *, apart: bool) -> None:
    """Refuse a combination that does not exist, or not of two texts (`E-CONFIG-VALUE`)."""
    if how not in get_args(How):
        what = f"layers are not combined by {how!r}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="features.combine", remedy=nearest(how, get_args(How)))
    if how == "mix" and apart:
        what, why = "a mixture of layers is learned on one text a row", "these rows are two, compared"
        remedy = 'read each pair together (pairs = "joint"), or combine by mean'
        raise ModeledgeError("E-CONFIG-VALUE", what, where="features.combine", why=why, remedy=remedy)


def layers_named(words: str, count: int) -> tuple[int, ...]:
    """The numbers of layers in rising order, each once: 0 are the embeddings, `count` is the last layer.

    Raises `E-CONFIG-VALUE` for a word that names none, and for a layer that is not there.

    >>> layers_named("last4", 6), layers_named("0,4-6", 6), layers_named("second", 6)
    ((3, 4, 5, 6), (0, 4, 5, 6), (5,))
    """
    found = set[int]()
    for word in words.replace(" ", "").split(","):
        found |= set(_layers(word, count))
    return tuple(sorted(found))


def _layers(word: str, count: int) -> range:
    first, dash, last = word.partition("-")
    if word.isdecimal() or (dash and first.isdecimal() and last.isdecimal()):
        chosen = range(int(first), int(last or first) + 1)
    elif word in ("last", "second", "all"):
        chosen = {"last": range(count, count + 1), "second": range(count - 1, count), "all": range(1, count + 1)}[word]
    elif word.startswith("last") and word[4:].isdecimal():
        chosen = range(count - int(word[4:]) + 1, count + 1)
    elif word.startswith("first") and word[5:].isdecimal():
        chosen = range(1, int(word[5:]) + 1)
    else:
        raise ModeledgeError("E-CONFIG-VALUE", f"{word!r} names no layer", where="features.layers", remedy=NAMED)
    lowest = 0 if word[:1].isdecimal() or word == "second" else 1
    if not len(chosen) or chosen[0] < lowest or chosen[-1] > count:
        what, why = f"{word!r} asks for layers that are not there", f"the body has {count}, and its embeddings are 0"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="features.layers", why=why, remedy=NAMED)
    return chosen
