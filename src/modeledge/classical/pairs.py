"""Two texts as one row of features: how far apart they are, how much they have in common (Conneau et al. 2017, arXiv
1705.02364, figure 1, has |a − b| and a · b of sentence vectors; the cosine is the sum of the latter)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


def compared(a: Any, b: Any) -> Any:
    """`|a − b|, a · b, cosine` of rows of unit length `[rows, n]` → `[rows, 2n + 1]`, dense or sparse as they are."""
    if isinstance(a, np.ndarray):
        return np.hstack([abs(a - b), a * b, (a * b).sum(1, keepdims=True)])
    common = a.multiply(b)
    return sparse.hstack([abs(a - b), common, sparse.csr_matrix(common.sum(1))]).tocsr()
