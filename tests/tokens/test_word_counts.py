"""Counts of words that were written to disk many times: exact, in order, and in few open files."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from modeledge import files
from modeledge.tokens.counts import WordCounts
from modeledge.tokens.words import pieces_of


def test_many_runs_open_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_RUNS", 4)
    lots, known = random.Random(0), Counter[str]()
    with WordCounts(1) as words:
        for _ in range(300):
            text = " ".join(f"w{lots.randrange(200)}" for _ in range(20))
            known.update(pieces_of(text))
            words.add(text)
            assert len(words._runs) <= 18
        assert list(words.merged()) == sorted(known.items())
