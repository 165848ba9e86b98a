"""A multi-layer perceptron: what a head can learn of frozen states beyond a direction (one hidden layer by default)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from modeledge.classical.head import Floats, Head, check_array, classes_of, damaged, linked
from modeledge.errors import ModeledgeError


@dataclass(frozen=True, eq=False)
class Network(Head):
    """Layers x W + b with max(0, ·) between them. `sizes` are the widths from the features to the scores; `weights` and
    `biases` hold all layers behind each other, flat."""

    kind: ClassVar[str] = "network"

    weights: Floats
    biases: Floats
    sizes: list[int]
    link: str

    @property
    def inputs(self) -> int:
        return self.sizes[0]

    @property
    def outputs(self) -> int:
        return classes_of(self.link, self.sizes[-1])

    def told(self, x: Floats) -> Floats:
        at = to = 0
        last = len(self.sizes) - 2
        for layer, (wide, narrow) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            x = x @ self.weights[at : at + wide * narrow].reshape(wide, narrow) + self.biases[to : to + narrow]
            x = x if layer == last else np.maximum(x, 0)
            at, to = at + wide * narrow, to + narrow
        return linked(x, self.link)

    def checked(self) -> Network:
        whole = isinstance(self.sizes, list) and all(type(n) is int and n > 0 for n in self.sizes)
        if not whole or len(self.sizes) < 2:
            damaged(f"the sizes of the layers are {self.sizes!r}")
        check_array("weights", self.weights, (sum(a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False)),))
        check_array("biases", self.biases, (sum(self.sizes[1:]),))
        classes_of(self.link, self.sizes[-1])
        return self


def network_of(estimator: Any) -> Network:
    """The weights of a fitted `MLPClassifier` or `MLPRegressor`; another activation than ReLU is `E-CONFIG-VALUE`."""
    if estimator.activation != "relu":
        raise ModeledgeError("E-CONFIG-VALUE", f"a network with {estimator.activation!r} is not saved", remedy="relu")
    links = {"logistic": "sigmoid", "softmax": "softmax", "identity": "identity"}
    layers = [np.asarray(layer, np.float64) for layer in estimator.coefs_]
    sizes = [len(layers[0]), *(layer.shape[1] for layer in layers)]
    weights = np.concatenate([layer.ravel() for layer in layers])
    biases = np.concatenate([np.asarray(bias, np.float64) for bias in estimator.intercepts_])
    return Network(weights, biases, sizes, links[estimator.out_activation_]).checked()
