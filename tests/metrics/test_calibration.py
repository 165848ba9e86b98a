"""Reliability, proper scores, temperatures, and the perplexities of a corpus."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from sklearn import metrics as oracle

from modeledge.errors import ModeledgeError
from modeledge.metrics import (
    METRICS,
    bits_per_byte,
    bits_per_text_byte,
    calibration_error,
    fit_temperature,
    perplexity_per_byte,
    perplexity_per_token,
    perplexity_per_word,
    perplexity_renormalised,
    reliability,
    tempered,
)

quick = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32)


def case(seed, items=60, classes=3, sharp=3.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(items, classes)) * sharp
    labels = np.array([rng.choice(classes, p=p) for p in special.softmax(logits / sharp * 1.5, axis=1)])
    return logits, labels


@quick
@given(seeds, st.integers(2, 5))
def test_proper_scores_are_those_of_scikit_learn(seed, classes):
    logits, labels = case(seed, classes=classes)
    chances = special.softmax(logits, axis=1)
    known = list(range(classes))
    assert METRICS["negative_log_likelihood"](chances, labels) == pytest.approx(
        oracle.log_loss(labels, chances, labels=known)
    )
    expected = oracle.brier_score_loss(labels, chances, labels=known, scale_by_half=False)
    assert METRICS["brier"](chances, labels) == pytest.approx(expected)


def test_a_certain_mistake_costs_much_not_infinitely():
    assert METRICS["negative_log_likelihood"]([[1.0, 0.0]], [1]) == pytest.approx(149 * np.log(2))
    assert METRICS["brier"]([[1.0, 0.0]], [1]) == 2
    for name in ("brier", "negative_log_likelihood"):
        with pytest.raises(ModeledgeError, match=r"E-SCORES: .*probabilities, not logits"):
            METRICS[name]([[3.0, 1.0]], [1])


@quick
@given(seeds, st.integers(1, 20))
def test_the_diagram_holds_the_error(seed, bins):
    logits, labels = case(seed)
    chances = special.softmax(logits, axis=1)
    diagram = reliability(chances, labels, bins=bins)
    assert diagram.count.sum() == len(labels)
    held = diagram.count > 0
    assert np.isnan(diagram.accuracy[~held]).all()
    gaps = np.abs(diagram.accuracy - diagram.confidence)[held] * diagram.count[held]
    assert gaps.sum() / len(labels) == pytest.approx(calibration_error(chances, labels, bins=bins))
    lower = diagram.upper - 1 / bins
    assert (diagram.confidence[held] <= diagram.upper[held] + 1e-12).all()
    assert (diagram.confidence[held] > lower[held] - 1e-12).all()


@quick
@given(seeds)
def test_the_temperature_is_the_least_negative_log_likelihood(seed):
    logits, labels = case(seed, items=200)

    def loss(log_temperature):
        return -np.sum(special.log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(200), labels])

    expected = np.exp(optimize.minimize_scalar(loss, bounds=(-9, 9), method="bounded", options={"xatol": 1e-10}).x)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(expected, rel=1e-4)
    assert fit_temperature(special.log_softmax(logits, axis=1), labels) == pytest.approx(found)
    assert fit_temperature(logits * 7, labels) == pytest.approx(found * 7)
    assert tempered(logits, found) == pytest.approx(special.softmax(logits / found, axis=1))


def test_a_temperature_makes_a_proud_classifier_honest_and_changes_no_answer():
    logits, labels = case(1, items=4000, sharp=6.0)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(4.0, rel=0.1)  # labels were drawn at logits / 4
    before, after = special.softmax(logits, axis=1), tempered(logits, temperature)
    assert calibration_error(after, labels) < 0.03 < 0.15 < calibration_error(before, labels)
    assert (before.argmax(1) == after.argmax(1)).all()


def test_no_temperature_is_best_for_the_perfect_and_for_the_useless():
    with pytest.raises(ModeledgeError, match="E-SCORES: every label has the largest logit"):
        fit_temperature([[2.0, 1.0], [0.0, 1.0]], [0, 1])
    with pytest.raises(ModeledgeError, match="E-SCORES: the logits say no more"):
        fit_temperature([[2.0, 1.0], [0.0, 1.0]], [1, 0])
    for bad, labels, code in [
        ([[np.nan, 1.0]], [0], "E-NOT-FINITE"),
        ([[1.0, 2.0]], [0, 1], "E-LENGTH-MISMATCH"),
        ([1.0, 2.0], [0, 1], "E-SCORES"),
        ([[1.0, 2.0]], [2], "E-LABEL-RANGE"),
    ]:
        with pytest.raises(ModeledgeError) as caught:
            fit_temperature(bad, labels)
        assert caught.value.code == code
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        tempered([[1.0, 2.0]], 0.0)


NATS, TOKENS, WORDS, BYTES = [30.0, 10.0, 20.0], [10, 5, 9], [8, 4, 7], [40, 21, 33]


def test_perplexities_are_kept_apart_by_name_and_signature():
    token = perplexity_per_token(NATS, TOKENS, tokenizer="gpt2", seed=1)
    word = perplexity_per_word(NATS, WORDS, seed=1)
    byte = perplexity_per_byte(NATS, BYTES, seed=1)
    other = perplexity_renormalised(NATS, WORDS, reference="parlai words", seed=1)
    bits = bits_per_text_byte(NATS, BYTES, seed=1)
    for score, name, lengths, unit in [
        (token, "perplexity_per_token", TOKENS, "unit:token of gpt2|items:3"),
        (word, "perplexity_per_word", WORDS, "unit:word by white space|items:3"),
        (byte, "perplexity_per_byte", BYTES, "unit:UTF-8 byte|items:3"),
        (other, "perplexity_per_reference_token", WORDS, "unit:token of parlai words|renormalised|items:3"),
    ]:
        assert score.name == name
        assert score.value == pytest.approx(np.exp(60 / sum(lengths)))
        assert unit in score.signature
        each = np.exp(np.array(NATS) / np.array(lengths))
        assert each.min() - 1e-9 <= score.low < score.value < score.high <= each.max() + 1e-9
        assert score.n == 3
    assert bits.value == pytest.approx(bits_per_byte(60.0, 94))


def test_a_perplexity_without_a_unit_or_a_length_is_refused():
    for call, code in [
        (lambda: perplexity_per_token(NATS, TOKENS, tokenizer=" ", seed=1), "E-CONFIG-VALUE"),
        (lambda: perplexity_renormalised(NATS, TOKENS, reference="a|b", seed=1), "E-CONFIG-VALUE"),
        (lambda: perplexity_per_word(NATS, [1, 0, 2], seed=1), "E-SCORES"),
        (lambda: perplexity_per_word([1.0, -1.0, 2.0], WORDS, seed=1), "E-SCORES"),
        (lambda: perplexity_per_word([1.0, 1e9, 2.0], WORDS, seed=1), "E-SCORES"),
        (lambda: perplexity_per_word([1.0, np.nan, 2.0], WORDS, seed=1), "E-NOT-FINITE"),
        (lambda: perplexity_per_word(NATS, WORDS[:2], seed=1), "E-LENGTH-MISMATCH"),
        (lambda: perplexity_per_word([], [], seed=1), "E-EMPTY-SPLIT"),
    ]:
        with pytest.raises(ModeledgeError) as caught:
            call()
        assert caught.value.code == code
