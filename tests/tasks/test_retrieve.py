"""BM25 by the hand formula, and what stands before a question."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, TransformerConfig
from modeledge.tasks import Bm25, ClosedBook, lead, lead_answers, open_book, sentences
from modeledge.tasks.retrieve import words_of
from modeledge.tasks.writing import Writing
from modeledge.tokens import train_tokenizer

PASSAGES = ["The cat sat on the mat.", "A dog!", "Cats and dogs; the cat again, cat.", "Nothing here", "the the the"]


def by_hand(passages: list[str], query: str, k1: float, b: float) -> list[float]:
    texts = [words_of(p) for p in passages]
    mean = sum(map(len, texts)) / len(texts)
    out = []
    for text in texts:
        score, counts = 0.0, Counter(text)
        for word in words_of(query):
            n = sum(word in other for other in texts)
            idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            tf = counts[word]
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(text) / mean)) if tf else 0.0
        out.append(score)
    return out


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8).map(" ".join), min_size=1, max_size=6),
    st.lists(st.sampled_from("abcxyz"), max_size=5).map(" ".join),
    st.sampled_from([(0.9, 0.4), (1.2, 0.75), (0.0, 0.0), (2.0, 1.0)]),
)
def test_scores_are_those_of_the_formula(passages: list[str], query: str, shape: tuple[float, float]) -> None:
    index = Bm25(passages, k1=shape[0], b=shape[1])
    assert index.scores(query) == pytest.approx(by_hand(passages, query, *shape), abs=1e-12)


def test_scores_rank_as_those_of_rank_bm25() -> None:
    """Its BM25Plus with δ = 0 has this term weight; its idf is ln((N + 1) / n), so one word at a time is compared."""
    other = pytest.importorskip("rank_bm25")
    theirs = other.BM25Plus([words_of(p) for p in PASSAGES], k1=0.9, b=0.4, delta=0)
    for word in ("cat", "the", "dog"):
        ours, told = Bm25(PASSAGES).scores(word), theirs.get_scores([word])
        n = sum(word in words_of(p) for p in PASSAGES)
        told *= math.log(1 + (5 - n + 0.5) / (n + 0.5)) / math.log(6 / n)
        assert ours == pytest.approx(told, abs=1e-9)


def test_the_best_come_first_and_equals_in_order() -> None:
    index = Bm25(PASSAGES)
    hits = index.best("the CAT", 9)
    assert [hit.passage for hit in hits] == [2, 0, 4]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert index.best("nobody knows") == []
    assert [h.passage for h in Bm25(["a b", "b a", "a b"]).best("a", 2)] == [0, 1]
    with pytest.raises(ModeledgeError, match="E-NO-RECORDS"):
        Bm25([])
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        Bm25(["a"], b=2.0)


def task() -> ClosedBook:
    tokenizer = train_tokenizer(["a cat and a dog"] * 4, vocab_size=270)
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=8), position=Learned(length=80))
    facts = TransformerConfig(width=8, embed=Tokens(vocab=tokenizer.vocab_size), decoder=stack)
    writing = Writing(max_target=8, ask="Q: {source}\nA:")
    return ClosedBook(tokenizer, facts, writing, length=80, columns={"source": "question", "target": "answer"})


def test_an_open_book_stands_before_the_same_question() -> None:
    closed = task()
    row = {"question": "Where sat the cat?", "answer": ["mat"]}
    asked, shut = open_book(closed, Bm25(PASSAGES), row, 2), closed.request(row)
    assert asked.prompt == f"{PASSAGES[2]}\n\n{PASSAGES[0]}\n\n{shut.prompt}"  # type: ignore[union-attr]
    assert replace(asked, prompt=shut.prompt) == shut  # type: ignore[union-attr]
    assert open_book(closed, Bm25(PASSAGES), {"question": "xyz"}).prompt == "Q: xyz\nA:"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said: "Go." She went.', ['He said: "Go."', "She went."]),
        ("Mr. A. Smith met Dr. Low. They spoke.", ["Mr. A. Smith met Dr. Low.", "They spoke."]),
        ("It costs 3.50 today. Fine.", ["It costs 3.50 today.", "Fine."]),
        ("A heading\nA sentence", ["A heading", "A sentence"]),
        ("The U.S. Senate met. It ended.", ["The U.S. Senate met.", "It ended."]),
        ("e.g. this one. Next", ["e.g. this one.", "Next"]),
        ("   ", []),
    ],
)
def test_sentences(text: str, told: list[str]) -> None:
    found = sentences(text)
    assert found == told
    assert "".join("".join(found).split()) == "".join(text.split())  # no letter is lost


def test_a_lead_is_marked_as_any_answer() -> None:
    assert lead("One. Two. Three. Four.", 2) == "One. Two."
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        lead("One.", 0)
    closed = task()
    data = [{"question": "Cat. Dog. Mat.", "answer": "Cat. Dog."}]
    (told,) = lead_answers(closed, data, 2)
    assert told.value == "Cat. Dog."
    assert np.isclose(closed.mark([told], closed.encode(data)).get("exact_match", 1.0), 1.0)
