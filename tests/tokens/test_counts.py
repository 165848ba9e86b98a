"""Training on counts of words is training on the texts, in bounded memory."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest

from modeledge.tokens import train_tokenizer
from modeledge.tokens.counts import A_WORD, TOGETHER, WordCounts, counted
from modeledge.tokens.words import pieces_of

KINDS = ("bpe", "wordpiece", "unigram")


def texts(count: int = 80) -> list[str]:
    lots = random.Random(0)
    words = ["".join(lots.choices("abcdeé", k=lots.randint(1, 6))) for _ in range(150)]
    gaps = [" ", " ", " ", "\n", ", ", ". ", "  ", "\t"]
    return ["".join(w + lots.choice(gaps) for w in lots.choices(words, k=60)) for _ in range(count)]


@pytest.mark.parametrize("memory", [1 << 30, 40_000])
def test_counts_are_exact_whether_spilled_or_not(memory: int) -> None:
    with counted(texts(), memory) as counts:
        wanted = Counter(piece for text in texts() for piece in pieces_of(text))
        for _ in range(2):
            assert list(counts.merged()) == sorted(wanted.items())
        assert bool(counts._runs) == (memory < 1 << 30)
        given = list(counts.repeated(lambda piece: [piece.replace(" ", "_"), "|"]))
        again = Counter(word for text in given for word in text.split(" "))
        assert again.pop("|") == sum(wanted.values())
        assert again == Counter(piece.replace(" ", "_") for text in texts() for piece in pieces_of(text))
        assert max(map(len, given)) <= TOGETHER + len(max(wanted, key=len))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_of_the_texts(kind: str) -> None:
    options = {"kind": kind, "vocab_size": 330 if kind != "wordpiece" else 120}
    whole = train_tokenizer(texts(), **options)  # type: ignore[arg-type]
    assert train_tokenizer(iter(texts()), memory=1 << 30, **options).fingerprint == whole.fingerprint  # type: ignore[arg-type]


def test_rare_words_go_all_together_and_that_is_said() -> None:
    with WordCounts(memory=2 * A_WORD * 2) as counts:
        counts.add("a b b c c c d d d")
        assert counts.least() == 3
        assert list(counts.repeated(str.split, 3)) == ["c c c d d d"]
        assert "2 words that occur less than 3 times" in counts.notes[0]
    small = train_tokenizer(iter(texts()), vocab_size=300, memory=100 * A_WORD)
    assert "were left out" in small.notes[0]


PROGRAM = """
import random, sys
from modeledge.machine import peak_memory
from modeledge.tokens.counts import WordCounts
def texts(count):
    lots = random.Random(0)
    for _ in range(count):
        yield " ".join(f"{lots.getrandbits(40):x}" for _ in range(1000))
list(texts(1))
before = peak_memory(reset=True)  # what rusage tells begins with the memory of the process that forked this one
with WordCounts(int(sys.argv[1])) as counts:
    for text in texts(300):
        counts.add(text)
    assert sum(1 for _ in counts.merged()) > 240_000
    print((peak_memory() - before) // 1024)
"""


def test_memory_is_bounded_by_the_cap() -> None:
    """250,000 distinct words need 35 MB at least in one table; 16 MB are allowed."""
    used = {
        cap: int(
            subprocess.run([sys.executable, "-c", PROGRAM, str(cap << 20)], capture_output=True, check=True).stdout
        )
        for cap in (16, 1024)
    }
    assert used[16] < 16 * 1024 < used[1024], used
