"""Documents that wait on disk: many runs are merged, so that few files are open at a time."""

from __future__ import annotations

import random

import pytest

from modeledge import files
from modeledge.corpus.spool import Spool
from modeledge.errors import ModeledgeError
from modeledge.records import Document


def test_many_runs_open_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand runs in three levels of eight: in order, each once, and never more than thirty files."""
    monkeypatch.setattr(files, "MOST_RUNS", 8)
    numbers = list(range(1000))
    random.Random(0).shuffle(numbers)
    with Spool(None, 1) as waiting:
        for number in numbers:
            waiting.add(Document(f"text {number}", f"a:{number}", fields={"number": number}))
            assert len(waiting._runs) <= 30
        found = list(waiting.ordered())
        assert [document.fields["number"] for document in found] == list(range(1000))
        assert [document.text for document in waiting] == [f"text {number}" for number in range(1000)]


def test_an_id_that_comes_twice_is_found_across_merged_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_RUNS", 2)
    with Spool(None, 1) as waiting:
        for number in range(100):
            waiting.add(Document("text", str({90: 1}.get(number, number)), f"x:{number}"))
        with pytest.raises(ModeledgeError, match="E-DUP-ID: x:1 and x:90"):
            list(waiting.ordered())
