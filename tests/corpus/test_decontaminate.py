"""Evaluation text in training text: found wherever it stands, cut as GPT-3 cut it; what sources share."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_small import WORDS

from modeledge.corpus.decontaminate import (
    Contaminated,
    Decontamination,
    EvaluationGrams,
    decontaminated,
    gram_length,
    word_places,
)
from modeledge.corpus.filter import size
from modeledge.corpus.overlap import overlap
from modeledge.corpus.pipeline import reading
from modeledge.corpus.shingles import Shingling, shingle
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger

CHANCE = random.Random(5)


def text(words: int) -> str:
    return " ".join(CHANCE.choices(WORDS, k=words))


QUESTION = text(20)


@pytest.fixture(autouse=True)
def same_texts() -> None:
    """A test reads the same texts whichever ran before it."""
    CHANCE.seed(6)


def run(texts: list[str], config: Decontamination, sets: dict[str, list[str]] | None = None):  # type: ignore[no-untyped-def]
    ledger, found = Ledger(), []
    grams = EvaluationGrams(sets or {"quiz": [QUESTION]}, config.n)
    documents = reading([Document(t, f"d:{i}") for i, t in enumerate(texts)], ledger=ledger)
    left = list(decontaminated(documents, grams, config, ledger=ledger, found=found.append))
    ledger.kept.add(len(left), bytes=sum(map(size, left)))
    assert ledger.balanced()
    return {d.id: d.text for d in left}, ledger, found


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="aB \n\t.,'é\u0301\u2014\u00a0\x00Σß", max_size=40))
def test_words_have_the_places_that_shingles_count(some: str) -> None:
    assert len(word_places(some)) == len(shingle([some], Shingling(n=1)).values)


def test_a_span_is_cut_with_its_margins() -> None:
    before, after = text(100), text(100)
    shown = QUESTION.upper().replace(" ", ", ", 5)
    left, ledger, found = run([f"{before} {shown} {after}", before], Decontamination())
    assert left == {"d:0": f"{before[:-199].strip()}\n\n{after[199:].strip()}", "d:1": before}
    assert found == [Contaminated(found[0].document, "contaminated span", ("quiz",), 8)]  # 20 words: 8 runs of 13
    assert ledger.cut["contaminated span"].records == 1


def test_thirteen_words_count_and_twelve_do_not() -> None:
    words = QUESTION.split()
    around = text(80)
    for count, touched in ((12, False), (13, True)):
        some = f"{around} {' '.join(words[3 : 3 + count])} {text(80)}"
        _, ledger, found = run([some], Decontamination(how="drop"))
        assert (bool(found), bool(ledger.filtered)) == (touched, touched)
    some = f"{around} {' '.join(words[:15])}"
    assert run([some], Decontamination(how="drop", hits=4))[2] == []
    assert len(run([some], Decontamination(how="drop", hits=3))[2]) == 1


def test_common_phrases_short_pieces_and_many_pieces() -> None:
    around = [text(130) for _ in range(11)]
    holders = [f"{some} {QUESTION}" for some in around]
    assert run(holders, Decontamination())[0] == {f"d:{i}": t for i, t in enumerate(holders)}  # in eleven documents
    assert len(run(holders[:10], Decontamination())[2]) == 10
    assert run([f"{text(20)} {QUESTION} {text(20)}"], Decontamination())[1].filtered["contaminated"].records == 1
    many = f" {QUESTION} ".join(around)
    assert list(run([many], Decontamination())[1].filtered) == ["contaminated in more than 10 pieces"]
    assert run([f" {QUESTION} ".join(around[:10])], Decontamination())[0]["d:0"].count("\n\n") == 9


def test_the_length_of_n_grams_by_set() -> None:
    assert [gram_length([k] * 9) for k in (3, 8, 11, 13, 50)] == [8, 8, 11, 13, 13]
    short = text(9)
    sets = {"long": [QUESTION], "short": [short, "too short to look for"]}
    left, ledger, found = run([f"{text(60)} {short} {text(60)}"], Decontamination(n=None, how="drop"), sets)
    assert (left, found[0].sets) == ({}, ("short",))
    assert ledger.notes == ["short: 1 × an example shorter than the n-gram, not looked for in the corpus"]


def test_what_is_refused() -> None:
    for bad in ({"how": "keep"}, {"hits": 0}, {"n": 0}, {"pieces": 0}, {"margin": -1}, {"common": 0}):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            Decontamination(**bad)  # type: ignore[arg-type]


def test_overlap_is_the_containment_of_shingles() -> None:
    shared, own = text(400), text(800)
    sources = {"a": [Document(shared, "1")], "b": [Document(own, "2"), Document(shared, "3")], "c": []}
    found = overlap(sources)
    a, b = 400 - 12, 800 - 12 + 400 - 12
    assert np.allclose(found.containment, [[1, 1, 0], [a / b, 1, 0], [0, 0, 0]], atol=1e-12)
    assert found.sampled == (a, b, 0)
    sampled = overlap(sources, memory=400 * 32)
    assert sum(sampled.sampled) <= 400
    assert abs(sampled.containment[1, 0] - a / b) < 3 * (a / b * (1 - a / b) / sampled.sampled[1]) ** 0.5
    turned = overlap(dict(reversed(sources.items())), memory=400 * 32)
    assert np.array_equal(turned.containment, sampled.containment[::-1, ::-1])
