"""ROUGE and the stemmer, against rouge-score and NLTK."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.metrics import METRICS
from modeledge.metrics.rouge import overlap
from modeledge.metrics.stem import ENDINGS, IRREGULAR, porter

DATA = Path(__file__).parents[3] / "shared" / "data"
KINDS = ("1", "2", "L", "Lsum")
WORDS = ["the", "The", "a", "running", "runs", "runner's", "cat", "cats", "ponies", "happily,", "42", "x-ray", "Été"]


def scorer(stem):
    module = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is not installed")
    return module.RougeScorer([f"rouge{kind}" for kind in KINDS], use_stemmer=stem)


def stemmer():
    return pytest.importorskip("nltk.stem.porter", reason="nltk is not installed").PorterStemmer()


def texts(longest=25):
    word = st.sampled_from([*WORDS, "\n", "walked", "walking", "_", "dying", "\n\n"])
    return st.lists(word, max_size=longest).map(" ".join)


@pytest.mark.parametrize("stem", [False, True])
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_every_kind_is_that_of_rouge_score(stem, data):
    guess, golds = data.draw(texts()), data.draw(st.lists(texts(), min_size=1, max_size=3))
    oracle = scorer(stem)
    for kind in KINDS:
        for gold in golds:
            ours, theirs = overlap(kind, guess, gold, stem=stem), oracle.score(gold, guess)[f"rouge{kind}"]
            expected = (theirs.precision, theirs.recall, theirs.fmeasure)
            assert (ours.precision, ours.recall, ours.f1) == pytest.approx(expected, abs=1e-12)
        row = METRICS[f"rouge{kind}{'_stem' if stem else ''}"]
        expected = oracle.score_multi(golds, guess)[f"rouge{kind}"].fmeasure
        assert row([guess, "one cat"], [golds, "one cat"]) == pytest.approx((expected + 1) / 2, abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32))
def test_long_texts_of_few_words_walk_back_alike(seed):
    """Few different words make many subsequences of one length: the union depends on which is found."""
    rng = np.random.default_rng(seed)
    sides = ["\n".join(" ".join(rng.choice(list("abcde"), rng.integers(0, 9))) for _ in range(4)) for _ in range(2)]
    theirs = scorer(False).score(*sides)["rougeLsum"]
    ours = overlap("Lsum", sides[1], sides[0])
    assert (ours.precision, ours.recall) == pytest.approx((theirs.precision, theirs.recall), abs=1e-12)


def test_known_marks():
    assert overlap("1", "the cat sat", "the cat slept").f1 == pytest.approx(2 / 3)
    assert overlap("2", "the cat sat", "the cat slept").f1 == pytest.approx(1 / 2)
    assert overlap("L", "police killed the gunman", "police kill the gunman").f1 == pytest.approx(0.75)  # Lin 2004, S2
    assert overlap("L", "the gunman kill police", "police kill the gunman").f1 == pytest.approx(0.5)  # Lin 2004, S3
    assert overlap("1", "police killed", "police kill", stem=True).f1 == 1
    assert overlap("1", "was", "wa", stem=True).f1 == 0  # words of three letters are left alone
    assert overlap("1", "", "").f1 == 0
    assert "stem:porter-nltk" in METRICS["rouge1_stem"].parts(["a"], ["a"]).how
    assert "stem:no" in METRICS["rouge1"].parts(["a"], ["a"]).how


def test_stems_of_made_up_words_are_those_of_nltk():
    oracle = stemmer()
    rng = np.random.default_rng(1)
    ends = [*ENDINGS, *"ly y ll e s es ies sses ed ing eed ied".split(" ")]  # noqa: SIM905
    ends += "bli alli logi fulli ization ational iviti".split(" ")  # noqa: SIM905
    starts = ["".join(rng.choice(list("aeiouybcdlstzwx"), rng.integers(0, 6))) for _ in range(400)]
    words = {start + end for start in starts for end in ["", *ends]} | set(IRREGULAR)
    words |= {start + first + second for start in starts[:60] for first in ends for second in ends}
    words.discard("")
    assert len(words) > 50_000
    assert {w: porter(w) for w in words} == {w: oracle.stem(w) for w in words}


@pytest.mark.shared_data
def test_stems_of_real_words_are_those_of_nltk():
    oracle = stemmer()
    files = [DATA / "gutenberg", DATA / "sotu", DATA / "wikitext2_raw"]
    paths = sorted(p for folder in files for p in folder.rglob("*") if p.suffix in (".txt", ".raw"))
    if not paths:
        pytest.skip("no shared data: the corpora are not beside the checkout")
    words = set()
    for path in paths:
        words |= set(re.findall(r"[a-z0-9]+", path.read_text(encoding="utf-8", errors="replace").lower()))
    assert len(words) > 40_000
    assert {w: porter(w) for w in words} == {w: oracle.stem(w) for w in words}
