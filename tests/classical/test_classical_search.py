"""Choosing: folds that keep equal rows together, a search that finds what is there, and what it may not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modeledge.adapt.mix import learn_mix
from modeledge.classical import Bank, Candidate, Fitting, Learning, layers_named, search, space_of
from modeledge.classical import choose as searching
from modeledge.classical.choose import folds_of
from modeledge.errors import ModeledgeError
from modeledge.seed import Noise

ROWS, LAYERS, WIDTH = 120, 4, 6


def learning(signal: int, classes: int = 2, **more: Any) -> Learning:
    """States of which layer `signal` alone tells the label."""
    random = np.random.default_rng(0)
    states = random.normal(size=(ROWS, LAYERS, WIDTH)).astype(np.float32)
    y = np.arange(ROWS) % 3 % 2 if classes else random.normal(size=ROWS)
    states[:, signal, 0] += 4 * y
    bank = Bank({"mean": states, "first": np.ascontiguousarray(states[:, ::-1])}, (0, 1, 2, 3), **more)
    return Learning(bank, y, classes, learn_mix, Fitting(say=lambda line: None))


def test_the_layer_that_knows_is_found() -> None:
    space = space_of([((n,), "concat") for n in range(LAYERS)], ["mean"], None, ["logistic", "knn"], None)
    verdict = search(learning(2), space, "accuracy", range(ROWS), 0)
    assert verdict.chosen.layers == (2,)
    assert verdict.score > 0.95
    assert len(verdict.scores) == len(space) == 4 * (4 + 4)
    by_pool = space_of([((2,), "concat")], ["first", "mean"], None, ["logistic"], 0.1)
    assert search(learning(2), by_pool, "accuracy", range(ROWS), 0).chosen.pool == "mean"


def test_lower_is_better_where_it_is() -> None:
    space = space_of([((n,), "concat") for n in range(LAYERS)], ["mean"], None, ["logistic"], 1.0)
    verdict = search(learning(1, classes=0), space, "mean_squared_error", range(ROWS), 0)
    assert verdict.chosen.layers == (1,)
    assert verdict.score == min(score for _, score in verdict.scores)


def test_no_row_is_answered_by_a_head_that_saw_it_or_its_equal() -> None:
    """Labels by lot and each row three times: a neighbour that was seen would know its label."""
    random = np.random.default_rng(1)
    states = np.repeat(random.normal(size=(40, 1, WIDTH)).astype(np.float32), 3, 0)
    y = np.repeat(random.integers(0, 2, 40), 3)
    told = Learning(Bank({"mean": states}, (0,)), y, 2, learn_mix, Fitting())
    space = space_of([((0,), "concat")], ["mean"], None, ["knn"], 1)
    assert search(told, space, "accuracy", [n // 3 for n in range(120)], 0).score < 0.75
    assert search(told, space, "accuracy", range(120), 0).score > 0.8  # what it looks like where they are apart


def test_what_is_fitted_is_fitted_within_the_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = searching.fit_projection
    monkeypatch.setattr(searching, "fit_projection", lambda x, *rest: seen.append(len(x)) or real(x, *rest))
    mixed: list[int] = []
    base = learning(2)
    told = Learning(base.bank, base.labels, 2, lambda s, y, c: mixed.append(len(s)) or np.ones(s.shape[1]), base.how)
    search(told, space_of([((0, 1), "mix")], ["mean"], None, ["logistic"], 1.0), "accuracy", range(ROWS), 0)
    assert seen == mixed == [80, 80, 80]


def test_folds_are_dealt_by_class_and_group() -> None:
    y = np.array([0] * 30 + [1] * 6)
    folds = folds_of(y, range(36), 3, Noise(0))
    assert [np.bincount(y[folds == n]).tolist() for n in range(3)] == [[10, 2]] * 3
    assert np.array_equal(folds, folds_of(y, range(36), 3, Noise(0)))
    assert not np.array_equal(folds, folds_of(y, range(36), 3, Noise(1)))
    with pytest.raises(ModeledgeError, match="E-CLASS-TOO-SMALL"):
        folds_of(y, [0] * 36, 3, Noise(0))


def test_a_class_that_a_part_lacks_is_never_answered_and_one_class_alone_is_refused() -> None:
    base = learning(2)
    y = base.labels * 2  # classes 0 and 2 of 3
    fit = Learning(base.bank, y, 3, learn_mix, base.how).fitted(Candidate((2,), "concat", "mean", None, "forest", 1.0))
    told = fit.told(base.bank.of((2,), "mean"))
    assert told.shape == (ROWS, 3)
    assert not told[:, 1].any()
    assert fit.classes == (0, 2)
    with pytest.raises(ModeledgeError, match="E-ONE-CLASS"):
        Learning(base.bank, y * 0, 3, learn_mix, base.how).fitted(Candidate((2,), "concat", "mean", None, "knn", 1.0))


@pytest.mark.parametrize("classes", [2, 0])
def test_a_mixture_finds_the_layer_that_knows(classes: int) -> None:
    told = learning(1, classes)
    shares = learn_mix(told.bank.pools["mean"], told.labels, classes)
    assert shares.argmax() == 1
    assert shares[1] > 0.5 * shares.sum()
    again = learn_mix(told.bank.pools["mean"], told.labels, classes)
    assert np.array_equal(shares, again)
    fit = told.fitted(Candidate((0, 1, 2, 3), "mix", "mean", None, "logistic", 1.0))
    assert np.allclose(fit.combine.shares, shares, rtol=1e-3, atol=1e-4)  # the rows lie otherwise in memory
    states = told.bank.pools["mean"].astype(np.float64)
    assert np.allclose(fit.combine.features(states), sum(s * states[:, n] for n, s in enumerate(fit.combine.shares)))


def test_pairs_take_both_texts_of_a_row() -> None:
    states = np.arange(12.0, dtype=np.float32).reshape(6, 1, 2)
    bank = Bank({"mean": states}, (0,), apart=True)
    assert bank.rows == 3
    assert bank.of((0,), "mean", np.array([2, 0]))[:, 0, 0].tolist() == [4, 0, 10, 6]


@pytest.mark.parametrize("word", ["last7", "7", "0-7", "last0", "first0", "top", "", "5-3", "last-2", "-1"])
def test_words_that_name_no_layer_are_refused(word: str) -> None:
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        layers_named(word, 6)


def test_layers_are_named() -> None:
    words = {"last": (6,), "second": (5,), "all": (1, 2, 3, 4, 5, 6), "last2": (5, 6), "first2": (1, 2), "2,0": (0, 2)}
    assert {word: layers_named(word, 6) for word in words} == words
