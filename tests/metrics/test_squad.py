"""Short answers: the two public prediction files, hand-worked pairs, and thresholds by brute force."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, gold_answers, squad_v1, squad_v2
from modeledge.metrics.dialogue import reply_words
from modeledge.metrics.squad import f1_v1, f1_v2, leave_one_out, normalise

DATA = Path(__file__).parents[3] / "shared" / "data" / "squad"


def public(version, predictions):
    path = DATA / f"dev-v{version}.rebuilt.json.gz"
    if not path.exists():
        pytest.skip(f"no shared data: {path.name} is not beside the checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        golds = gold_answers(json.load(file)["data"])
    return golds, json.loads((DATA / predictions).read_text(encoding="utf-8"))


@pytest.mark.shared_data
def test_the_public_predictions_of_version_1_score_what_is_published():
    golds, predictions = public("1.1", "predictions-v1.1-logistic-regression.json")
    report = squad_v1(golds, predictions, allow_missing=True, seed=1)
    exact, f1 = report.scores["exact_match"], report.scores["f1_answer"]
    assert (round(100 * exact.value, 2), round(100 * f1.value, 2)) == (40.14, 50.98)
    assert exact.n == 10570
    assert "missing-and-wrong:13" in exact.signature
    assert exact.high - exact.low == pytest.approx(2 * 1.96 * np.sqrt(0.4014 * 0.5986 / 10570), abs=0.002)
    with pytest.raises(ModeledgeError, match="E-MISSING-FIELD: 13 of 10570"):
        squad_v1(golds, predictions, seed=1)


@pytest.mark.shared_data
def test_the_public_predictions_of_version_2_score_what_is_published():
    golds, predictions = public("2.0", "predictions-v2.0-nlnet.json")
    scores = squad_v2(golds, predictions, seed=1).scores
    assert (round(100 * scores["exact_match"].value, 2), round(100 * scores["f1_answer"].value, 2)) == (75.83, 78.78)
    for name in ("exact_match", "f1_answer"):
        parts = scores[f"{name}_has_answer"], scores[f"{name}_no_answer"]
        assert [part.n for part in parts] == [5928, 5945]
        assert sum(p.n * p.value for p in parts) / 11873 == pytest.approx(scores[name].value)


@pytest.mark.shared_data
def test_the_rows_of_the_table_mark_the_files_alike():
    golds, predictions = public("2.0", "predictions-v2.0-nlnet.json")
    names = list(golds)
    answers, truths = [predictions[n] for n in names], [golds[n] or ("",) for n in names]
    scores = squad_v2(golds, predictions, seed=1).scores
    for name in ("exact_match", "f1_answer"):
        assert METRICS[name](answers, truths) == scores[name].value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat.", "cat"),
        ("an  apple\ta\nday", "apple day"),
        ("theatre", "theatre"),
        ("U.S.", "us"),
        ("the", ""),
        ("don't-stop", "dontstop"),
        ("a—b", "—b"),
        ("«The»", "« »"),
        ("ÉTÉ", "été"),
    ],
)
def test_normalised_as_the_official_script_does(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("guess", "gold", "first", "second"),
    [
        ("the cat sat", "a cat sat", 1, 1),
        ("cat cat dog", "cat dog dog", 2 / 3, 2 / 3),
        ("one", "two", 0, 0),
        ("", "", 0, 1),
        ("the", "", 0, 1),
        ("", "cat", 0, 0),
        ("in 1990", "1990", 2 / 3, 2 / 3),
    ],
)
def test_word_f1_of_both_versions(guess, gold, first, second):
    assert f1_v1(guess, gold) == pytest.approx(first)
    assert f1_v2(guess, gold) == pytest.approx(second)


def test_the_best_gold_answer_counts():
    assert METRICS["exact_match"](["Denver Broncos"], [["Denver", "the Denver Broncos!"]]) == 1
    assert METRICS["f1_answer"](["Denver Broncos"], [["Denver", "x"]]) == pytest.approx(2 / 3)


def test_a_gold_answer_that_says_nothing_excuses_no_silence_beside_one_that_does():
    for name in ("exact_match", "f1_answer"):
        assert METRICS[name]([""], [["The.", "the cat"]]) == 0
        assert METRICS[name]([""], [["The."]]) == 1
    scores = squad_v2({"a": ("The.", "the cat"), "b": ("The.",)}, {"a": "", "b": ""}, seed=1).scores
    assert scores["exact_match"].value == 0.5


def test_coqa_leaves_one_annotator_out():
    """Worked by hand: three golds, the guess equals the first. Without it the best is the better of the others."""
    golds = ("white cat", "cat", "dog")
    assert leave_one_out(f1_v2, "white cat", golds) == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert METRICS["coqa_exact"](["white cat"], [golds]) == pytest.approx(2 / 3)
    assert METRICS["coqa_f1"](["white cat", "x"], [golds, "x"]) == pytest.approx(((2 / 3 + 2) / 3 + 1) / 2)


def test_the_f1_of_convai2_parts_words_at_punctuation_and_rewards_no_silence():
    assert reply_words("I'm the  best-ever!") == ["i", "m", "best", "ever"]
    assert METRICS["word_f1"](["don't"], ["don t"]) == 1
    assert METRICS["f1_answer"](["don't"], ["don t"]) == 0
    assert METRICS["word_f1"]([""], [""]) == 0
    assert METRICS["word_f1"](["i like cats"], [["dogs", "i like dogs"]]) == pytest.approx(2 / 3)


def brute_force(golds, predictions, chances, compare):
    """Every threshold that could matter, each marked whole; more than it is taken as empty."""
    best, place = -1.0, 0.0
    for threshold in [-1.0, *sorted(chances.values())]:
        taken = {n: "" if chances[n] > threshold else predictions[n] for n in golds}
        mark = np.mean([max(compare(taken[n], gold) for gold in golds[n] or ("",)) for n in golds])
        if mark > best + 1e-12:
            best, place = mark, max(threshold, 0.0)
    return best, place


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_the_best_threshold_is_that_of_brute_force(seed, size):
    rng = np.random.default_rng(seed)
    words = ["red cat", "red", "cat", "dog", ""]
    names = [str(i) for i in range(size)]
    golds = {n: () if rng.random() < 0.5 else ("red cat", "cat") for n in names}
    predictions = {n: words[rng.integers(5)] for n in names}
    chances = dict(zip(names, rng.permutation(size) / size, strict=True))
    report = squad_v2(golds, predictions, no_answer=chances, threshold=0.4, seed=1)
    for best, compare in ((report.best_exact, lambda a, b: normalise(a) == normalise(b)), (report.best_f1, f1_v2)):
        value, threshold = brute_force(golds, predictions, chances, compare)
        assert best.value == pytest.approx(value)
        assert best.threshold == pytest.approx(threshold)
    cut = {n: "" if chances[n] > 0.4 else predictions[n] for n in names}
    assert report.scores["f1_answer"].value == pytest.approx(squad_v2(golds, cut, seed=1).scores["f1_answer"].value)


def test_files_that_do_not_belong_together_are_refused():
    golds = {"a": ("x",), "b": ()}
    for call, code in [
        (lambda: squad_v2(golds, {"a": "x"}, seed=1), "E-MISSING-FIELD"),
        (lambda: squad_v2(golds, {"a": "x", "b": "", "c": ""}, seed=1), "E-MISSING-FIELD"),
        (lambda: squad_v2({}, {}, seed=1), "E-EMPTY-SPLIT"),
        (lambda: squad_v1(golds, {"c": ""}, allow_missing=True, seed=1), "E-EMPTY-SPLIT"),
        (lambda: squad_v2(golds, {"a": "x", "b": None}, seed=1), "E-FIELD-TYPE"),
        (lambda: squad_v2(golds, {"a": "x", "b": ""}, no_answer={"a": 0.1}, seed=1), "E-MISSING-FIELD"),
        (lambda: squad_v2(golds, {"a": "x", "b": ""}, no_answer={"a": 0.1, "b": np.nan}, seed=1), "E-NOT-FINITE"),
    ]:
        with pytest.raises(ModeledgeError) as caught:
            call()
        assert caught.value.code == code
    left_out = squad_v2(golds, {"a": "x"}, allow_missing=True, seed=1).scores["exact_match"]
    assert (left_out.value, left_out.n) == (1, 1)
    assert "left-out:1" in left_out.signature
    missing = squad_v1({"a": ("x",), "b": ("The",)}, {"a": "x"}, allow_missing=True, seed=1).scores
    assert (missing["exact_match"].value, missing["exact_match"].n) == (0.5, 2)
