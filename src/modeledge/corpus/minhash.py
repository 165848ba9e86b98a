"""MinHash and its bands: which documents are near enough to be looked at together.

Under a random order of all shingles the first shingle of A and the first of B are the same one with probability
J(A, B) (Broder 1997). A signature holds the first shingles under `bands × rows` orders; two documents are *candidates*
where all rows of some band agree, which happens with probability 1 − (1 − Jʳ)ᵇ (Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4): a step near J = (1/b)^(1/r). So one never compares all pairs.

An order is here x ↦ a·x modulo 2³² with an odd a (Dietzfelbinger et al. 1997's multiply-shift): a bijection, so no two
of a document's shingles tie, on shingles that are well mixed already. It costs one multiplication of 32 bits, and
NumPy does sixteen of them an instruction. Unrelated documents of n shingles agree in one row by chance with
probability near n / 2³², in a band with that to the power of its rows.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modeledge.corpus.shingles import Hashes, Shingles, Shingling, mixed
from modeledge.errors import ModeledgeError, nearest
from modeledge.seed import Noise

Signatures = npt.NDArray[np.uint32]
CHUNK = 1 << 16  # shingles a pass: they and their products stay in the processor's second cache


@dataclass(frozen=True, kw_only=True)
class Near:
    """When two documents count as near duplicates.

    `bands × rows` orders are drawn from `seed`. With a `threshold` each candidate pair is verified: its documents are
    joined where the exact Jaccard similarity of their shingles reaches it; without one candidates are joined unseen.
    Raises `E-CONFIG-VALUE`.
    """

    shingling: Shingling = field(default_factory=Shingling)
    bands: int = 14
    rows: int = 8
    threshold: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if not (self.bands >= 1 and self.rows >= 1 and self.bands * self.rows <= 1 << 14):
            what = f"bands × rows = {self.bands} × {self.rows}: both are at least 1, their product at most 16,384"
            raise ModeledgeError("E-CONFIG-VALUE", what)
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ModeledgeError("E-CONFIG-VALUE", f"threshold = {self.threshold:g}: a similarity above 0, at most 1")

    def chance(self, similarity: float) -> float:
        """The probability that a pair of this Jaccard similarity becomes a candidate."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


#: Settings by name. "fineweb": Penedo et al. 2024, arXiv 2406.17557, section 3.4 (5-grams, 14 × 8: a step near 0.72).
#: "strict": a pair at J = 0.8 is missed once in 10⁷, and no pair below it is joined.
PRESETS: dict[str, Near] = {"fineweb": Near(), "strict": Near(bands=32, rows=4, threshold=0.8)}


def make_near(preset: str, **changes: Any) -> Near:
    """A preset with changes; the keys of `Shingling` (unit, n, punctuation) stand beside those of `Near`.

    Raises `E-CONFIG-VALUE` for an unknown preset, `E-CONFIG-KEY` for an unknown key.
    """
    if preset not in PRESETS:
        raise ModeledgeError("E-CONFIG-VALUE", f"near = {preset!r}", remedy=nearest(preset, PRESETS))
    near = PRESETS[preset]
    own = {f.name for f in fields(Shingling)}
    known = own | {f.name for f in fields(Near)} - {"shingling"}
    for key in changes.keys() - known:
        raise ModeledgeError("E-CONFIG-KEY", f"near duplicates have no {key!r}", remedy=nearest(key, known))
    shingling = replace(near.shingling, **{k: v for k, v in changes.items() if k in own})
    return replace(near, shingling=shingling, **{k: v for k, v in changes.items() if k not in own})


def signatures(shingles: Shingles, near: Near) -> Signatures:
    """The smallest image of each document's shingles under each order, `[bands × rows, documents]`.

    A document without shingles has the largest number everywhere: see `band_keys`.
    """
    factors = _factors(near.bands * near.rows, near.seed)
    found = np.full((len(factors), len(shingles)), np.iinfo(np.uint32).max, np.uint32)
    filled = np.flatnonzero(np.diff(shingles.offsets))
    bounds = np.append(shingles.offsets[filled], shingles.offsets[-1])
    least = np.empty((len(factors), len(filled)), np.uint32)
    products = np.empty(min(CHUNK, len(shingles.values)), np.uint32)
    for low in range(0, len(shingles.values), CHUNK):
        part = (shingles.values[low : low + CHUNK] >> np.uint64(32)).astype(np.uint32)
        first = int(np.searchsorted(bounds, low, "right")) - 1
        last = int(np.searchsorted(bounds, low + len(part)))
        before = least[:, first].copy() if bounds[first] < low else None  # of a document that began in the last chunk
        starts = np.maximum(bounds[first:last] - low, 0)
        here = products[: len(part)]
        for row, factor in zip(least[:, first:last], factors, strict=True):
            np.multiply(part, factor, out=here)
            np.minimum.reduceat(here, starts, out=row)
        if before is not None:
            np.minimum(least[:, first], before, out=least[:, first])
    found[:, filled] = least
    return found


def band_keys(found: Signatures, near: Near) -> Hashes:
    """One 64-bit number for the rows of each band, `[bands, documents]`: equal where all rows agree."""
    weights = np.random.Generator(np.random.Philox(key=near.seed)).integers(1, 1 << 63, near.rows, np.uint64)
    keys = np.zeros((near.bands, found.shape[1]), np.uint64)
    rows = found.reshape(near.bands, near.rows, -1)
    for number, weight in enumerate(weights * np.uint64(2) + np.uint64(1)):
        keys += rows[:, number] * weight
    return mixed(keys)


@functools.cache
def _factors(count: int, seed: int) -> Signatures:
    """Odd numbers of 32 bits, all different, one an order."""
    drawn = Noise(seed).at("minhash").generator().integers(0, 1 << 31, 2 * count + 64, np.uint32)
    _, first = np.unique(drawn, return_index=True)
    return drawn[np.sort(first)[:count]] * np.uint32(2) + np.uint32(1)
