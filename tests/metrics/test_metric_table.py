"""Every row of METRICS: against an oracle, and against bad input."""

import doctest
import importlib
import math
import pkgutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_samples import BY_SACREBLEU, good, truth
from scipy import stats
from sklearn import metrics as oracle

import modeledge.metrics
from modeledge.errors import CATALOGUE, ModeledgeError
from modeledge.metrics import (
    METRICS,
    accuracy,
    bits_per_byte,
    bits_per_token,
    calibration_error,
    f1_macro,
    f1_micro,
    matthews,
    metric_named,
    perplexity,
)
from modeledge.metrics.classify import confusion

ids = st.integers(0, 5)
number = st.floats(-1e3, 1e3).map(lambda x: round(x, 2))


def columns(element):
    return st.lists(st.tuples(element, element), min_size=1, max_size=40).map(lambda rows: tuple(np.array(rows).T))


@st.composite
def probabilities(draw):
    items, classes = draw(st.integers(1, 30)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.3, 1.0, 4.0]))), size=items)
    return scores, rng.integers(0, classes, items)


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


LABEL_ORACLES = {
    "accuracy": lambda p, t: oracle.accuracy_score(t, p),
    "f1_macro": lambda p, t: oracle.f1_score(t, p, average="macro", zero_division=0),
    "f1_micro": lambda p, t: oracle.f1_score(t, p, average="micro"),
    "matthews": lambda p, t: oracle.matthews_corrcoef(t, p),
}


@pytest.mark.parametrize("name", sorted(LABEL_ORACLES))
@settings(deadline=None, max_examples=60)
@given(pair=columns(ids))
def test_class_metrics_agree_with_scikit_learn(name, pair):
    guess, truth = pair
    assert METRICS[name](guess, truth) == pytest.approx(quietly(LABEL_ORACLES[name], guess, truth), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(columns(st.integers(0, 1)))
def test_binary_f1_agrees_with_scikit_learn(pair):
    expected = quietly(oracle.f1_score, pair[1], pair[0], zero_division=0)
    assert METRICS["f1"](*pair) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(columns(ids), ids)
def test_micro_f1_without_a_class_agrees_with_scikit_learn(pair, ignore):
    kept = [c for c in range(6) if c != ignore]
    expected = quietly(oracle.f1_score, pair[1], pair[0], labels=kept, average="micro", zero_division=0)
    assert f1_micro(*pair, ignore=ignore) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(columns(ids))
def test_f1_of_relations_is_tacreds(pair):
    """The loop of TACRED's own scorer (score.py): what is guessed, what is there, and both, no relation left out."""
    correct = guessed = gold = 0
    for guess, label in zip(*pair, strict=True):
        correct += guess == label != 0
        guessed += guess != 0
        gold += label != 0
    precision, recall = (correct / guessed if guessed else 1.0), (correct / gold if gold else 0.0)
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert METRICS["relation_f1"](*pair) == pytest.approx(expected, abs=1e-12)
    assert METRICS["relation_f1"](*pair) == pytest.approx(f1_micro(*pair, ignore=0), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(columns(number))
def test_regression_metrics_agree_with_scipy(pair):
    guess, truth = pair
    assert METRICS["mean_squared_error"](guess, truth) == pytest.approx(oracle.mean_squared_error(truth, guess))
    if len(guess) < 2 or np.ptp(guess) < 0.005 or np.ptp(truth) < 0.005:
        return
    assert METRICS["pearson"](guess, truth) == pytest.approx(stats.pearsonr(guess, truth).statistic, abs=1e-9)
    assert METRICS["spearman"](guess, truth) == pytest.approx(stats.spearmanr(guess, truth).statistic, abs=1e-9)


def loop_calibration(scores, truth, bins):
    """Guo et al. 2017, equation 3, item by item."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, row in enumerate(scores) if b / bins < max(row) <= (b + 1) / bins]
        if inside:
            right = sum(int(np.argmax(scores[i])) == truth[i] for i in inside) / len(inside)
            total += len(inside) / len(truth) * abs(right - sum(max(scores[i]) for i in inside) / len(inside))
    return total


@settings(deadline=None, max_examples=60)
@given(probabilities(), st.integers(1, 20))
def test_calibration_error_is_guos_equation(case, bins):
    scores, truth = case
    assert calibration_error(scores, truth, bins=bins) == pytest.approx(loop_calibration(scores, truth, bins), abs=1e-9)


def test_calibration_error_of_known_cases():
    assert calibration_error([[1.0, 0.0], [0.0, 1.0]], [0, 1]) == 0
    assert calibration_error([[1.0, 0.0], [0.0, 1.0]], [1, 0]) == 1
    assert calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1]) == pytest.approx(0)


def test_a_confidence_on_a_border_belongs_to_the_lower_bin():
    # a wrong answer at 1/2 and a right one at 3/4: apart their gaps add up, in one bin they would cancel
    assert calibration_error([[0.5, 0.5], [0.75, 0.25]], [1, 0], bins=2) == pytest.approx(0.375)


def test_constant_answers_score_zero_not_nan():
    assert METRICS["pearson"]([0.1, 0.1, 0.1], [1.0, 2.0, 3.0]) == 0
    assert METRICS["spearman"]([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]) == 0
    assert matthews([1, 1, 1], [0, 1, 2]) == 0
    assert METRICS["f1"]([0, 0], [0, 0]) == 0


def test_huge_ids_and_values_cost_nothing_and_overflow_nothing():
    assert f1_macro([10**15, 3], [10**15, 3]) == 1
    assert matthews([10**15, 3], [3, 10**15]) == -1
    assert METRICS["pearson"]([1e300, -1e300, 0.0], [1.0, -1.0, 0.0]) == pytest.approx(1)
    big = np.repeat([0, 1], 100_000)
    assert matthews(big, big) == 1


def test_confusion_counts_true_by_predicted():
    assert confusion([0, 1, 1, 2], [0, 0, 1, 1], 3).tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_row_marks_the_truth_best_and_returns_a_float(name):
    predictions, labels = good(name)
    row = METRICS[name]
    assert row.name == name
    assert type(row(predictions, labels)) is float
    if not row.alone:
        assert row.better(row(truth(name), labels), row(predictions, labels))
    assert not row.better(1.0, 1.0)
    shuffled = [2, 0, 1]
    moved = [predictions[i] for i in shuffled], [labels[i] for i in shuffled]
    assert row(*moved) == pytest.approx(row(predictions, labels))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_row_refuses_what_does_not_pair(name):
    predictions, labels = good(name)
    for bad, code in [
        ((predictions[:2], labels), "E-LENGTH-MISMATCH"),
        ((predictions, labels[:2]), "E-LENGTH-MISMATCH"),
        (([], []), "E-EMPTY-SPLIT"),
        ((np.zeros((0, 2)), []), "E-EMPTY-SPLIT"),
    ]:
        with pytest.raises(ModeledgeError) as caught:
            METRICS[name](*bad)
        assert caught.value.code == code


NAN = float("nan")
BAD_ENTRIES = [
    ("text", NAN, "E-FIELD-TYPE"),
    ("text", None, "E-FIELD-TYPE"),
    ("text", 3, "E-FIELD-TYPE"),
    ("text", b"bytes", "E-FIELD-TYPE"),
    ("spans", "B-PER", "E-FIELD-TYPE"),
    ("spans", [NAN, "O"], "E-FIELD-TYPE"),
    ("spans", ["X-PER", "O"], "E-LABEL-UNKNOWN"),
    ("spans", ["", "O"], "E-LABEL-UNKNOWN"),
    ("spans", ["O"], "E-LENGTH-MISMATCH"),
    ("matrix", [0.5, 1], "E-LABEL-TYPE"),
    ("matrix", [NAN, 1], "E-LABEL-TYPE"),
    ("matrix", [2, 1], "E-LABEL-RANGE"),
    ("matrix", [1, -1], "E-LABEL-RANGE"),
    ("ranking", [NAN, 1.0, 2.0], "E-NOT-FINITE"),
    ("ranking", [1.0, 2.0], "E-LENGTH-MISMATCH"),
    ("ranking", ["a", "b", "c"], "E-SCORES"),
    ("outcomes", [0, 2] * 5, "E-LABEL-RANGE"),
    ("outcomes", [0.5] * 10, "E-LABEL-TYPE"),
    ("outcomes", [], "E-EMPTY-SPLIT"),
]


@pytest.mark.parametrize(("needs", "entry", "code"), BAD_ENTRIES)
def test_an_entry_that_is_no_answer_is_refused_and_placed(needs, entry, code):
    for name in (n for n in METRICS if METRICS[n].needs == needs and n not in BY_SACREBLEU):
        predictions, labels = good(name)
        with pytest.raises(ModeledgeError, match=r"\[1|item 1|query 1|E-LABEL-TYPE") as caught:
            METRICS[name]([predictions[0], entry, predictions[2]], labels)
        assert caught.value.code == code, name


def test_labels_that_say_nothing_are_refused():
    for row, labels, code in [
        ("exact_match", ["a", [], "c"], "E-LABEL-MISSING"),
        ("exact_match", ["a", ["b", NAN], "c"], "E-FIELD-TYPE"),
        ("exact_match", ["a", NAN, "c"], "E-FIELD-TYPE"),
        ("mrr", [[1, 0, 0] * 4, [0, 0, 0] * 4, [1, 0, 0] * 4], "E-SCORES"),
        ("mrr", [[1, 0, 0] * 4, [1, -1, 0] * 4, [1, 0, 0] * 4], "E-SCORES"),
        ("multilabel_exact", [[1, 0, 0]] * 3, "E-LENGTH-MISMATCH"),
    ]:
        with pytest.raises(ModeledgeError) as caught:
            METRICS[row](good(row)[0], labels)
        assert caught.value.code == code
    with pytest.raises(ModeledgeError, match=r"E-FIELD-TYPE.*list"):
        METRICS["exact_match"]("abc", ["a", "b", "c"])


@pytest.mark.parametrize("name", [n for n in sorted(METRICS) if METRICS[n].needs == "scores"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused_and_placed(name, bad):
    predictions, labels = good(name)
    broken = np.array(predictions, dtype=float)
    broken[1] = bad
    with pytest.raises(ModeledgeError, match=r"E-NOT-FINITE: predictions\[1"):
        METRICS[name](broken, labels)


@pytest.mark.parametrize("name", [n for n in sorted(METRICS) if METRICS[n].needs == "labels"])
@pytest.mark.parametrize(
    ("bad", "code", "words"),
    [
        ([0, -100, 1], "E-LABEL-RANGE", r"labels\[1\].*ignored items"),
        ([0, 1, -1], "E-LABEL-RANGE", r"labels\[2\].*-1"),
        ([0.0, 1.0, 1.0], "E-LABEL-TYPE", "float64"),
        ([0, math.nan, 1], "E-LABEL-TYPE", "float64"),
        (["a", "b", "a"], "E-LABEL-TYPE", "class ids"),
        ([[0], [1], [1]], "E-LABEL-TYPE", r"\[3, 1\]"),
        ([[0], [1, 2], []], "E-SCORES", "labels"),
        (np.array([0, 1, 2**64 - 1], dtype=np.uint64), "E-LABEL-RANGE", "1844"),
    ],
)
def test_labels_that_are_no_class_ids_are_refused(name, bad, code, words):
    with pytest.raises(ModeledgeError, match=words) as caught:
        METRICS[name]([0, 1, 1], bad)
    assert caught.value.code == code


def test_ids_beyond_the_classes_are_refused():
    assert accuracy([0, 2], [0, 1], classes=3) == 0.5
    with pytest.raises(ModeledgeError, match=r"E-LABEL-RANGE: predictions\[1\]: label id 3 is not one of 0 … 2"):
        accuracy([0, 3], [0, 1], classes=3)
    with pytest.raises(ModeledgeError, match=r"E-LABEL-RANGE: labels\[0\]: label id 2"):
        METRICS["f1"]([0, 1], [2, 1])
    with pytest.raises(ModeledgeError, match=r"E-LABEL-RANGE: labels\[1\]"):
        calibration_error([[0.5, 0.5], [0.5, 0.5]], [0, 2])


@pytest.mark.parametrize("bad", [[[2.0, -1.0]], [[0.2, 0.2]], [[5.0, 3.0]], [0.5], [[[0.5, 0.5]]]])
def test_calibration_refuses_what_is_no_probability(bad):
    with pytest.raises(ModeledgeError, match="E-SCORES"):
        calibration_error(bad, [0])


def test_language_measures():
    nats = 3.0 * math.log(2) * 10
    assert perplexity(nats, 10) == pytest.approx(8)
    assert bits_per_token(nats, 10) == pytest.approx(3)
    assert bits_per_byte(nats, 40) == pytest.approx(0.75)
    assert perplexity(0.0, 5) == 1
    for bad, code in [((1.0, 0), "E-EMPTY-SPLIT"), ((math.nan, 3), "E-NOT-FINITE"), ((-0.1, 3), "E-SCORES")]:
        for function in (perplexity, bits_per_token, bits_per_byte):
            with pytest.raises(ModeledgeError) as caught:
                function(*bad)
            assert caught.value.code == code
    with pytest.raises(ModeledgeError, match="E-NOT-FINITE"):
        perplexity(1e6, 1)


def test_the_table_names_the_nearest_metric():
    assert metric_named("f1_macro") is METRICS["f1_macro"]
    with pytest.raises(ModeledgeError, match="did you mean 'accuracy'"):
        metric_named("acuracy")
    assert "E-SCORES" in CATALOGUE


def test_docstring_examples_run():
    names = [module.name for module in pkgutil.iter_modules(modeledge.metrics.__path__)]
    results = [doctest.testmod(importlib.import_module(f"modeledge.metrics.{name}")) for name in names]
    assert sum(r.failed for r in results) == 0
    assert sum(r.attempted for r in results) >= 7


def test_metrics_import_neither_torch_nor_scikit_learn():
    heavy = "('torch', 'sklearn', 'pandas', 'sacrebleu')"
    code = f"import sys, modeledge.metrics; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
