"""What is done to features before a head reads them: rows of one length, features of one scale, fewer directions.

"unit" gives each row length 1, so that distances are those of directions (what sentence encoders are trained for);
"standard" gives each feature mean 0 and spread 1 over the training rows (the few dimensions with outsized values that
transformers have would else be all that a penalised head sees). A principal component analysis (Pearson 1901) then
keeps the directions in which the training rows differ most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np

from modeledge.classical.head import Floats, Head, check_array, damaged
from modeledge.errors import ModeledgeError

Scale: TypeAlias = Literal["none", "unit", "standard"]


@dataclass(frozen=True, eq=False)
class Projection(Head):
    """(x − `center`) / `spread`, then its products with `directions [kept, inputs]`; rows are brought to length 1 first
    where `scale` is "unit". Without a principal component analysis `directions` is empty `[0, inputs]`, and all
    features are kept."""

    kind: ClassVar[str] = "projection"

    center: Floats
    spread: Floats
    directions: Floats
    scale: str

    @property
    def inputs(self) -> int:
        return len(self.center)

    @property
    def outputs(self) -> int:
        return len(self.directions) or self.inputs

    def told(self, x: Floats) -> Floats:
        x = (units(x) if self.scale == "unit" else x) - self.center
        x = x / self.spread
        return x @ self.directions.T if len(self.directions) else x

    def checked(self) -> Projection:
        check_array("center", self.center, (None,))
        check_array("spread", self.spread, (len(self.center),))
        check_array("directions", self.directions, (None, len(self.center)))
        if self.scale not in get_args(Scale) or (self.spread <= 0).any():
            damaged(f"scale {self.scale!r}, or a spread that is not above 0")
        return self


def units(x: Floats) -> Floats:
    """Rows of length 1; a row of zeros stays one."""
    lengths = np.sqrt((x * x).sum(1, keepdims=True))
    return np.asarray(x / np.where(lengths > 0, lengths, 1.0))


def fit_projection(x: Floats, scale: Scale, pca: int | None, seed: int) -> Projection:
    """The projection of training features `[rows, inputs]`; `pca` directions are kept, all where it is `None`."""
    width = x.shape[1]
    center, spread, none = np.zeros(width), np.ones(width), np.zeros((0, width))
    if scale == "standard":
        center, deviation = x.mean(0), x.std(0)
        spread = np.where(deviation > 0, deviation, 1.0)
    before = Projection(center, spread, none, scale)
    if pca is None:
        return before
    check_pca(pca, len(x), width)
    from sklearn.decomposition import PCA

    found = PCA(pca, random_state=seed).fit(before.told(x))
    return Projection(center + spread * found.mean_, spread, np.asarray(found.components_, np.float64), scale).checked()


def check_pca(pca: int, rows: int, width: int) -> None:
    """Refuse more directions than there can be (`E-CONFIG-VALUE`)."""
    if not 1 <= pca <= min(rows, width):
        what, why = f"{pca} components", f"{rows} training rows of {width} features have {min(rows, width)} directions"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="features.pca", why=why, remedy="ask for fewer")
