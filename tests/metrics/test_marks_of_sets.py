"""Multi-label, ordinal and ranked answers, diversity and programs: against scikit-learn, or the formula itself."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, distinct, ndcg_at, pass_at, pass_chance, recall_at, self_repetition

seeds = st.integers(0, 2**32)
quick = settings(deadline=None, max_examples=80)


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


@quick
@given(seeds, st.integers(1, 20), st.integers(2, 5))
def test_multilabel_marks_are_those_of_scikit_learn(seed, items, classes):
    rng = np.random.default_rng(seed)
    guess, truth = (rng.random((2, items, classes)) < rng.random()).astype(int)
    assert METRICS["multilabel_exact"](guess, truth) == pytest.approx(oracle.accuracy_score(truth, guess))
    for average in ("micro", "macro", "samples"):
        expected = quietly(oracle.f1_score, truth, guess, average=average, zero_division=0)
        assert METRICS[f"multilabel_f1_{average}"](guess.astype(bool), truth) == pytest.approx(expected, abs=1e-12)


@quick
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_ordinal_marks_are_those_of_scikit_learn(pairs):
    guess, truth = np.array(pairs).T
    assert METRICS["mean_absolute_error"](guess, truth) == pytest.approx(oracle.mean_absolute_error(truth, guess))
    expected = quietly(oracle.cohen_kappa_score, truth, guess, weights="quadratic", labels=list(range(6)))
    expected = 0 if math.isnan(expected) else expected
    assert METRICS["quadratic_kappa"](guess, truth) == pytest.approx(expected, abs=1e-9)


def test_kappa_of_known_cases():
    assert METRICS["quadratic_kappa"]([0, 1, 2, 3], [0, 1, 2, 3]) == 1
    assert METRICS["quadratic_kappa"]([3, 2, 1, 0], [0, 1, 2, 3]) == pytest.approx(-1)
    assert METRICS["quadratic_kappa"]([2, 2, 2], [0, 1, 2]) == pytest.approx(0)
    assert METRICS["quadratic_kappa"]([2, 2], [2, 2]) == 0
    rare = [0] * 10_000 + [1, 1, 5]
    expected = oracle.cohen_kappa_score(rare, [*rare[:-1], 4], weights="quadratic", labels=list(range(6)))
    assert METRICS["quadratic_kappa"]([*rare[:-1], 4], rare) == pytest.approx(expected)
    assert METRICS["quadratic_kappa"]([0] * 10**6 + [1], [0] * 10**6 + [1]) == pytest.approx(1)
    assert METRICS["quadratic_kappa"]([10**15, 10**15 + 1], [10**15, 10**15 + 1]) == 1


@quick
@given(seeds, st.integers(2, 9), st.booleans())
def test_rankings_are_marked_as_scikit_learn_does(seed, candidates, ties):
    rng = np.random.default_rng(seed)
    relevance = rng.integers(0, 4, (5, candidates))
    relevance[:, 0] += 1
    relevance = np.array([rng.permutation(row) for row in relevance])
    scores = rng.integers(0, 3, relevance.shape) if ties else rng.normal(size=relevance.shape)
    binary = (relevance > 0).astype(int)
    expected = oracle.label_ranking_average_precision_score(binary, scores)
    assert METRICS["map"](scores, relevance) == pytest.approx(expected)
    expected = np.mean([oracle.average_precision_score(b, s) for b, s in zip(binary, scores, strict=True)])
    assert METRICS["map"](scores, binary) == pytest.approx(expected)
    for k in (1, 3, 10):
        expected = oracle.ndcg_score(relevance, scores, k=k)
        assert ndcg_at(k)(scores, relevance).mark() == pytest.approx(expected)
    one = np.zeros_like(binary)
    one[:, -1] = 1
    assert METRICS["mrr"](scores, one) == pytest.approx(oracle.label_ranking_average_precision_score(one, scores))


def loop_ranks(scores):
    return [sum(other >= score for other in scores) for score in scores]


@quick
@given(seeds)
def test_reciprocal_rank_and_recall_are_their_definitions(seed):
    rng = np.random.default_rng(seed)
    scores = [rng.integers(0, 5, n).astype(float).tolist() for n in rng.integers(1, 12, 4)]
    relevance = [[1, *rng.integers(0, 2, len(row) - 1)] for row in scores]
    placed = [
        [rank for rank, r in zip(loop_ranks(s), row, strict=True) if r]
        for s, row in zip(scores, relevance, strict=True)
    ]
    assert METRICS["mrr"](scores, relevance) == pytest.approx(np.mean([1 / min(ranks) for ranks in placed]))
    for k in (1, 3):
        expected = np.mean([np.mean([rank <= k for rank in ranks]) for ranks in placed])
        assert recall_at(k)(scores, relevance).mark() == pytest.approx(expected)


def test_a_constant_scorer_earns_nothing_by_the_order_of_the_file():
    assert METRICS["mrr"]([[1, 1, 1, 1]], [[1, 0, 0, 0]]) == 0.25
    assert METRICS["recall@1"]([[1, 1, 1, 1]], [[1, 0, 0, 0]]) == 0


@quick
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6).map(" ".join), min_size=1, max_size=6))
def test_diversity_is_its_definition(texts):
    for n in (1, 2):
        runs = [[tuple(t.split()[i : i + n]) for i in range(len(t.split()) - n + 1)] for t in texts]
        every = list(itertools.chain(*runs))
        expected = len(set(every)) / len(every) if every else 0
        assert distinct(n)(texts, texts).mark() == pytest.approx(expected)
        repeated = [1 - len(set(run)) / len(run) if run else 0 for run in runs]
        assert self_repetition(n)(texts, [None] * len(texts)).mark() == pytest.approx(np.mean(repeated))


def test_diversity_of_known_cases():
    assert METRICS["distinct_1"](["a b", "a b"], ["", ""]) == 0.5
    assert METRICS["type_token"](["a b", "a b a b"], ["", ""]) == 0.75
    assert METRICS["self_repetition"](["a b c d e"], [""]) == 0
    assert METRICS["self_repetition"](["a b c d a b c d"], [""]) == pytest.approx(1 / 5)
    with pytest.raises(ModeledgeError, match=r"E-SCORES: predictions\[1\]"):
        METRICS["type_token"](["a", " "], ["", ""])


@quick
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_equation_1(case):
    n, c, k = case
    assert pass_chance(n, c, k) == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k), abs=1e-12)
    chosen = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_chance(n, c, k) == pytest.approx(np.mean([any(row) for row in chosen]), abs=1e-12)


def test_pass_at_k_over_problems():
    assert METRICS["pass@1"]([[1, 0], [0, 0], [1, 1, 1, 0]], [None] * 3) == pytest.approx((0.5 + 0 + 0.75) / 3)
    assert pass_at(2)([[1, 0, 0]], [None]).mark() == pytest.approx(2 / 3)
    assert "k:2|programs:3-3" in pass_at(2)([[1, 0, 0]], [None]).how
    with pytest.raises(ModeledgeError, match=r"E-SCORES: .*k is 5"):
        METRICS["pass@5"]([[1, 0]], [None])


@pytest.mark.parametrize("make", [distinct, self_repetition, recall_at, ndcg_at, pass_at])
def test_a_cut_off_below_one_is_refused(make):
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE: k is 0"):
        make(0)
