"""Intervals: known limits, oracles, coverage, pairing, speed."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_samples import BY_SACREBLEU, many
from scipy import stats

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, LeftOut, Metric, bootstrap, intervals, paired_difference, score_of, wilson
from modeledge.metrics.intervals import drawn_counts, drawn_marks
from modeledge.metrics.metric import mean_of
from modeledge.seed import Noise


def coins(rng, *shape, share=0.6):
    return (rng.random(shape) < share).astype(float)


def test_bootstrap_agrees_with_the_normal_interval_of_a_mean():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 1500)
    predictions = np.where(rng.random(1500) < 0.8, labels, 1 - labels)
    score = bootstrap(METRICS["accuracy"], predictions, labels, seed=3)
    reach = 1.96 * np.sqrt(score.value * (1 - score.value) / 1500)
    assert score.low == pytest.approx(score.value - reach, abs=0.004)
    assert score.high == pytest.approx(score.value + reach, abs=0.004)
    assert (score.n, score.name) == (1500, "accuracy")
    assert "draws:2000" in score.signature
    assert "seed:3" in score.signature
    assert "items:1500" in score.signature


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_can_be_bootstrapped_and_a_seed_repeats(name):
    predictions, labels = many(name, 60, 1)
    first = bootstrap(METRICS[name], predictions, labels, n=50, seed=1)
    assert first == bootstrap(METRICS[name], list(predictions), list(labels), n=50, seed=1)
    if "jackknife" not in first.signature:
        assert first != bootstrap(METRICS[name], predictions, labels, n=50, seed=2)
        assert "draws:50|seed:1" in first.signature
    assert first.low < first.high
    slack = 0.2 * (1 if name not in BY_SACREBLEU else 100)
    assert first.low - slack <= first.value <= first.high + slack
    assert first.value == METRICS[name](predictions, labels)
    assert first.n == 60
    assert first.signature.startswith(f"{name}|")
    assert "items:60" in first.signature


@pytest.mark.parametrize("name", sorted(n for n, row in METRICS.items() if row.parts is not None))
def test_sums_drawn_again_are_marks_of_items_drawn_again(name):
    """The fast way over what each item adds equals the slow way: gather the drawn items, mark them."""
    predictions, labels = many(name, 20, 2)
    parts = METRICS[name].parts(predictions, labels)
    if isinstance(parts, LeftOut):
        for item in range(20):
            left = [[row for i, row in enumerate(side) if i != item] for side in (predictions, labels)]
            assert METRICS[name](*left) == pytest.approx(parts.without[item], abs=1e-12)
        return
    generator = Noise(3).at("bootstrap", "items").generator()
    marks = []
    for _ in range(8):
        chosen = generator.integers(0, 20, size=20)
        marks.append(METRICS[name]([predictions[i] for i in chosen], [labels[i] for i in chosen]))
    assert drawn_marks(parts, 8, 3) == pytest.approx(marks, abs=1e-9)


def test_a_tally_draws_the_same_items_as_a_function():
    rng = np.random.default_rng(4)
    labels, predictions = rng.integers(0, 3, 80), rng.integers(0, 3, 80)
    right = bootstrap(METRICS["accuracy"], predictions, labels, n=99, seed=5)
    tally = score_of("accuracy", mean_of((labels == predictions).astype(float)), n=99, seed=5)
    assert (tally.value, tally.low, tally.high) == pytest.approx((right.value, right.low, right.high), abs=1e-12)
    assert tally.signature == right.signature


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(5).normal(size=50)
    without = (values.sum() - values) / 49
    score = score_of("mean", LeftOut(values.mean(), without), seed=1)
    reach = 1.959964 * values.std(ddof=1) / np.sqrt(50)
    assert (score.low, score.high) == pytest.approx((values.mean() - reach, values.mean() + reach))


def test_every_metric_sees_the_same_items():
    rng = np.random.default_rng(4)
    labels, predictions = rng.integers(0, 3, 80), rng.integers(0, 3, 80)
    error = Metric("error", lambda p, t: float(np.mean(p != t)), greater_is_better=False, needs="labels")
    right, wrong = (bootstrap(m, predictions, labels, n=99, seed=5) for m in (METRICS["accuracy"], error))
    assert right.low == pytest.approx(1 - wrong.high, abs=1e-12)


def loop_paired(a, b, seed, n):
    """The same draws, gathered by index: what the weighted counts must equal."""
    difference = np.asarray(a, float) - np.asarray(b, float)
    seeds, items = difference.shape
    noise = Noise(seed).at("paired_difference")
    rows = noise.at("seeds").generator().integers(0, seeds, size=(n, seeds))
    cols = noise.at("items").generator().integers(0, items, size=(n, items))
    return np.array([difference[np.ix_(r, c)].mean() for r, c in zip(rows, cols, strict=True)])


@pytest.mark.parametrize("chunk", [1, 200, 1 << 21])
def test_paired_difference_equals_a_loop_over_gathers_whatever_the_chunk(chunk, monkeypatch):
    monkeypatch.setattr(intervals, "CHUNK", chunk)
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.3, 1, (3, 37)), rng.normal(0, 1, (3, 37))
    marks = loop_paired(a, b, 9, 300)
    got = paired_difference(a, b, seed=9, n=300)
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(marks, [0.025, 0.975])), abs=1e-12)
    assert got.mean == pytest.approx((a - b).mean())
    tail = min((marks <= 0).sum(), (marks >= 0).sum())
    assert got.p == pytest.approx(min(1, 2 * (tail + 1) / 301))


def test_counts_sum_to_the_size():
    blocks = list(drawn_counts(Noise(1), 11, 5, 5))
    assert sum(len(b) for b in blocks) == 11
    assert all((b.sum(axis=1) == 5).all() for b in blocks)


def test_pairing_cancels_what_both_systems_share():
    rng = np.random.default_rng(5)
    hard = rng.normal(0, 1, (1, 400)) + rng.normal(0, 1, (3, 1))
    a, b = hard + 0.1 + rng.normal(0, 0.05, (3, 400)), hard + rng.normal(0, 0.05, (3, 400))
    paired = paired_difference(a, b, seed=1)
    assert paired.excludes_zero
    assert paired.high - paired.low < 0.03
    unpaired = paired_difference(a, b[:, rng.permutation(400)], seed=1)
    assert not unpaired.excludes_zero


def test_seeds_are_drawn_too():
    """One lucky seed of three: items alone would settle it, seeds do not."""
    a = np.zeros((3, 500))
    a[0] = 1.0
    b = np.zeros((3, 500))
    b[1:] = 0.2
    both = paired_difference(a, b, seed=1)
    assert not both.excludes_zero
    assert paired_difference(a.mean(0), b.mean(0), seed=1).excludes_zero


def test_sign_and_identity():
    rng = np.random.default_rng(6)
    a, b = coins(rng, 3, 200, share=0.7), coins(rng, 3, 200, share=0.5)
    forth, back = paired_difference(a, b, seed=1), paired_difference(b, a, seed=1)
    assert (forth.mean, forth.low, forth.high, forth.p) == pytest.approx((-back.mean, -back.high, -back.low, back.p))
    assert forth.excludes_zero
    assert back.excludes_zero
    assert forth.p < 0.01
    same = paired_difference(a, a, seed=1)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert not same.excludes_zero


def test_intervals_cover_no_difference_as_often_as_they_say():
    """Item noise only, 3 seeds: at least nominal coverage (the pigeonhole bootstrap errs on the wide side)."""
    rng = np.random.default_rng(7)
    missed = 0
    for trial in range(200):
        skill = rng.random((1, 150))
        a, b = (rng.random((2, 3, 150)) < skill).astype(float)
        missed += paired_difference(a, b, seed=trial, n=200).excludes_zero
    assert missed <= 200 * 0.08


def test_three_seeds_two_thousand_items_five_thousand_draws_take_under_two_seconds():
    rng = np.random.default_rng(8)
    a, b = coins(rng, 3, 2000), coins(rng, 3, 2000)
    start = time.process_time()
    paired_difference(a, b, seed=1)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("a", "b", "code"),
    [
        (np.ones((3, 5)), np.ones((3, 4)), "E-LENGTH-MISMATCH"),
        (np.ones((3, 5)), np.ones((2, 5)), "E-LENGTH-MISMATCH"),
        (np.ones((1, 5)), np.ones((5, 1)), "E-LENGTH-MISMATCH"),
        (np.ones((0, 5)), np.ones((0, 5)), "E-EMPTY-SPLIT"),
        (np.ones((3, 0)), np.ones((3, 0)), "E-EMPTY-SPLIT"),
        (np.full((1, 2), np.nan), np.ones((1, 2)), "E-NOT-FINITE"),
        (np.ones((1, 2)), np.array([[1, np.inf]]), "E-NOT-FINITE"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), "E-SCORES"),
        ([["a"]], [["b"]], "E-SCORES"),
        ([[1, 2], [3]], [[1, 2], [3]], "E-SCORES"),
    ],
)
def test_what_does_not_pair_is_refused(a, b, code):
    with pytest.raises(ModeledgeError) as caught:
        paired_difference(a, b, seed=1, n=10)
    assert caught.value.code == code


@pytest.mark.parametrize("n", [0, -5])
def test_a_bootstrap_without_draws_is_refused(n):
    for call in (
        lambda: paired_difference([[1.0]], [[0.0]], seed=1, n=n),
        lambda: bootstrap(METRICS["accuracy"], [1], [1], seed=1, n=n),
    ):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            call()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95]))
def test_wilson_agrees_with_scipy(case, level):
    expected = stats.binomtest(*case).proportion_ci(confidence_level=level, method="wilson")
    assert wilson(*case, level=level) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("case", "code"), [((0, 0), "E-EMPTY-SPLIT"), ((5, 4), "E-SCORES"), ((-1, 4), "E-SCORES")])
def test_wilson_refuses_what_is_no_proportion(case, code):
    with pytest.raises(ModeledgeError) as caught:
        wilson(*case)
    assert caught.value.code == code
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        wilson(1, 2, level=1.0)


@pytest.mark.parametrize("right", [0, 1])
def test_where_all_items_agree_the_interval_still_knows_how_many_they_are(right: int):
    """18 of 18 right is no certainty: drawing them again would say [1, 1]."""
    score = bootstrap(METRICS["accuracy"], [right] * 18, [1] * 18, seed=0)
    assert (score.low, score.high) == wilson(18 * right, 18)
    assert score.value == right
    assert score.high - score.low > 0.1
    assert score.signature.endswith("interval:wilson-95")
    mixed = bootstrap(METRICS["accuracy"], [1] * 17 + [0], [1] * 18, seed=0)
    assert "interval:bootstrap-percentile-95" in mixed.signature
