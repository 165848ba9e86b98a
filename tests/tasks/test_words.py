"""Which piece a word is read at, and which window answers it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledge.tasks.words import Words, read_places, windows
from modeledge.tokens import Tokenizer, train_tokenizer

TEXT = ["the quick brown fox's jumps, over the lazy dog... (1999)"] * 4


@pytest.fixture(scope="module", params=["bpe", "wordpiece", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(TEXT, kind=request.param, vocab_size=60 if request.param == "wordpiece" else 300)


def found(text: str) -> list[str]:
    words = Words.found(text)
    return [words.word(n) for n in range(len(words))]


def test_words_are_found_by_characters() -> None:
    assert found("Don't  e-mail\tBob_2!") == ["Don", "'", "t", "e", "-", "mail", "Bob_2", "!"]
    assert found("北京 is 3.5") == ["北", "京", "is", "3", ".", "5"]
    assert found("नमस्ते e\u0301a") == ["नमस्ते", "e\u0301a"]  # marks belong to their letters
    assert found("a北b\u200dc") == ["a", "北", "b\u200dc"]


def test_words_are_joined_by_spaces() -> None:
    words = Words.joined(["a", "New York", "c"])
    assert words.text == "a New York c"
    assert [words.word(n) for n in range(3)] == ["a", "New York", "c"]
    assert words.word(0, 2) == "a New York"


@given(words=st.lists(st.text("thequickfox'.()12 \u0301é\x01", min_size=1).filter(str.strip), min_size=1, max_size=6))
def test_a_word_is_read_at_a_piece_of_its_own(tokenizer: Tokenizer, words: list[str]) -> None:
    """By going over characters: the first piece that begins in the word, without the space before it."""
    told = Words.joined(words)
    _, offsets = tokenizer.encode_spans(told.text)
    begins = []
    for start, end in offsets.tolist():
        inner = [c for c in range(start, end) if not told.text[c].isspace()]
        begins.append(inner[0] if inner else -1)
    covered = [{c for c in range(s, e) if not told.text[c].isspace()} for s, e in offsets.tolist()]
    for (start, end), piece in zip(told.places, read_places(told, offsets), strict=True):
        own = [n for n, b in enumerate(begins) if start <= b < end]
        across = [n for n, chars in enumerate(covered) if chars & set(range(start, end))]
        assert piece == (own or across or [-1])[0]


def test_a_piece_may_answer_two_words() -> None:
    words = Words("a.b c", ((0, 1), (1, 2), (2, 3), (4, 5)))
    assert read_places(words, np.array([[0, 2], [2, 5]])).tolist() == [0, 0, 1, 1]
    assert read_places(words, np.array([[0, 1], [4, 5]])).tolist() == [0, -1, -1, 1]
    assert read_places(words, np.array([[0, 1], [0, 1], [1, 4], [4, 5]])).tolist() == [0, 2, 2, 3]
    assert read_places(words, np.zeros((0, 2), dtype=np.int64)).tolist() == [-1] * 4


@given(st.lists(st.integers(-1, 2), min_size=1, max_size=60), st.integers(2, 12), st.data())
def test_each_word_is_answered_once_where_it_shows_most(steps: list[int], room: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(0, room - 1))
    at, reads = 0, []
    for step in steps:  # −1: a word without a piece
        reads.append(-1 if step < 0 else at + step)
        at = at if step < 0 else at + step + 1
    pieces = at + data.draw(st.integers(0, 3))
    for both in (True, False):
        parts = windows(np.array(reads), pieces, room, stride, both=both)
        owned = [int(w) for _, words in parts for w in words]
        assert owned == [n for n, read in enumerate(reads) if read >= 0]  # in their order, each once
        starts = range(0, max(pieces - stride, 1), room - stride) if pieces > room else [0]
        for piece, words in parts:
            assert piece.stop - piece.start <= room
            for read in (reads[w] for w in words):
                shown = {s: context(read, s, min(s + room, pieces), both) for s in starts}
                assert shown[piece.start] == max(shown.values()) >= 0


def context(read: int, start: int, stop: int, both: bool) -> int:
    """How much a window shows around a place; −1 where the place is outside."""
    left, right = read - start, stop - 1 - read
    return -1 if min(left, right) < 0 else min(left, right) if both else left
