"""Marks for rankings: each item is a query with candidates, a score for each, and how relevant each really is.

Predictions are scores, labels are relevances ≥ 0, both `[queries][candidates]`; queries may have different numbers of
candidates. Reciprocal rank looks at the first relevant candidate, recall@k at how many relevant ones are among the
first k, average precision at the precision at each relevant one, nDCG (Järvelin and Kekäläinen 2002) at graded
relevance, discounted by log₂(1 + rank), over the best that any order could gain.

A scorer that gives all candidates the same score must not be rewarded for the order of the file. Ranks count ties
against the system (a candidate's rank is the number that score at least as high, scikit-learn's rule for average
precision), and nDCG shares a tied group's gain among its places (McSherry and Najork 2008), as scikit-learn does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Floats, Tally, finite, mean_of, same_length
from modeledge.metrics.text import items_of


def reciprocal_rank(predictions: Any, labels: Any) -> Tally:
    """MRR: the mean over queries of 1 / the rank of the first relevant candidate, 0 … 1."""
    return mean_over_queries(predictions, labels, lambda s, r: 1 / float(worst_ranks(s)[r > 0].min()), "ties:worst")


def average_precision(predictions: Any, labels: Any) -> Tally:
    """MAP: the mean over queries of the mean, over relevant candidates, of the precision at their rank, 0 … 1."""

    def one(scores: Floats, relevance: Floats) -> float:
        ranks = worst_ranks(scores)[relevance > 0]
        above = np.searchsorted(np.sort(ranks), ranks, side="right")
        return float(np.mean(above / ranks))

    return mean_over_queries(predictions, labels, one, "ties:worst")


def recall_at(k: int) -> Callable[[Any, Any], Tally]:
    """Recall@k: the mean over queries of the share of relevant candidates among the first k, 0 … 1."""
    at_least_one(k)

    def parts(predictions: Any, labels: Any) -> Tally:
        return mean_over_queries(
            predictions, labels, lambda s, r: float(np.mean(worst_ranks(s)[r > 0] <= k)), f"k:{k}|ties:worst"
        )

    return parts


def ndcg_at(k: int) -> Callable[[Any, Any], Tally]:
    """nDCG@k with the relevance itself as gain, the mean over queries, 0 … 1."""
    at_least_one(k)

    def one(scores: Floats, relevance: Floats) -> float:
        discount = 1 / np.log2(np.arange(len(scores)) + 2)
        discount[k:] = 0
        _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
        gains = np.bincount(group, weights=relevance) / sizes
        reached = np.add.reduceat(discount, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
        return float(gains @ reached / (np.sort(relevance)[::-1] @ discount))

    return lambda predictions, labels: mean_over_queries(predictions, labels, one, f"k:{k}|gain:linear|ties:mean")


def worst_ranks(scores: Floats) -> Floats:
    """For each candidate, how many score at least as high, itself among them."""
    return np.searchsorted(np.sort(-scores), -scores, side="right").astype(np.float64)


def mean_over_queries(predictions: Any, labels: Any, mark: Callable[[Floats, Floats], float], how: str) -> Tally:
    """The mean of one mark a query."""
    pairs = ranking_pair(predictions, labels)
    return mean_of(np.array([mark(scores, relevance) for scores, relevance in pairs]), how)


def ranking_pair(predictions: Any, labels: Any) -> list[tuple[Floats, Floats]]:
    """For each query the scores and relevances of its candidates; a query without a relevant one is `E-SCORES`."""
    guesses, truths = items_of(predictions, "predictions"), items_of(labels, "labels")
    same_length(guesses, truths)
    pairs = []
    for query, (guess, truth) in enumerate(zip(guesses, truths, strict=True)):
        scores, relevance = finite(guess, f"predictions[{query}]"), finite(truth, f"labels[{query}]")
        if scores.ndim != 1 or scores.shape != relevance.shape:
            what = f"{list(scores.shape)} scores stand against {list(relevance.shape)} relevances"
            raise ModeledgeError("E-LENGTH-MISMATCH", what, where=f"query {query}", remedy="score each candidate once")
        if (relevance < 0).any() or not (relevance > 0).any():
            what = "a relevance is below 0" if (relevance < 0).any() else "no candidate is relevant"
            remedy = "leave queries out that nothing could answer, and say how many they are"
            raise ModeledgeError("E-SCORES", what, where=f"labels[{query}]", remedy=remedy)
        pairs.append((scores, relevance))
    return pairs


def at_least_one(k: int) -> None:
    """`E-CONFIG-VALUE` for a cut-off below 1."""
    if k < 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"k is {k}", remedy="pass at least 1")
