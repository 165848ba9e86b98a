"""BLEU, chrF, chrF++ and TER: sacreBLEU's numbers and signatures, and what happens without it."""

import sys

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, bootstrap, translation

GUESS = ["The cat sat on the mat.", "He goes home now", "Nothing at all", "the  quick brown fox jumps over a dog"]
GOLDS = [
    "The cat is on the mat.",
    "He is going home now.",
    "Everything there is",
    "the quick brown fox jumped over the dog",
]
OTHERS = [(GOLDS[0], "A cat sat upon the mat."), GOLDS[1], (GOLDS[2], "Nothing"), GOLDS[3]]


def metrics():
    return pytest.importorskip("sacrebleu.metrics", reason="sacrebleu is not installed: pip install 'modeledge[bleu]'")


def scorers():
    module = metrics()
    return {"bleu": module.BLEU(), "chrf": module.CHRF(), "chrf++": module.CHRF(word_order=2), "ter": module.TER()}


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++", "ter"])
def test_the_mark_and_its_signature_are_those_of_sacrebleu(name):
    scorer = scorers()[name]
    expected = scorer.corpus_score(GUESS, [GOLDS]).score
    score = bootstrap(METRICS[name], GUESS, GOLDS, n=20, seed=1)
    assert score.value == pytest.approx(expected, abs=1e-9)
    assert METRICS[name](GUESS, GOLDS) == score.value
    assert f"sacrebleu:{name}|{scorer.get_signature()}|items:4|" in score.signature
    assert score.low <= score.value <= score.high


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++", "ter"])
def test_items_may_have_different_numbers_of_references(name):
    scorer = scorers()[name]
    second = [gold[1] if isinstance(gold, tuple) else None for gold in OTHERS]
    assert METRICS[name](GUESS, OTHERS) == pytest.approx(scorer.corpus_score(GUESS, [GOLDS, second]).score, abs=1e-9)
    assert "nrefs:var" in METRICS[name].parts(GUESS, OTHERS).how


def test_options_reach_sacrebleu_and_its_signature():
    module = metrics()
    parts = translation("bleu", lowercase=True, tokenize="char")(GUESS, GOLDS)
    expected = module.BLEU(lowercase=True, tokenize="char").corpus_score(GUESS, [GOLDS]).score
    assert parts.mark() == pytest.approx(expected, abs=1e-9)
    assert "case:lc" in parts.how
    assert "tok:char" in parts.how


def test_two_thousand_draws_are_sums_not_translations():
    metrics()
    score = bootstrap(METRICS["bleu"], GUESS * 50, GOLDS * 50, seed=1)
    assert score.n == 200
    assert 0 < score.high - score.low < 20
    assert np.isfinite([score.low, score.high]).all()


def test_without_sacrebleu_the_error_names_the_command(monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "sacrebleu"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ModeledgeError, match=r"E-EXTRA: bleu .*pip install 'modeledge\[bleu\]'"):
        METRICS["bleu"](GUESS, GOLDS)
