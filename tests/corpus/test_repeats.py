"""Each span once: against the rule by hand, and against a search for what is left."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.filter import size
from modeledge.corpus.pipeline import reading
from modeledge.corpus.repeats import Repeats, units_of, without_repeats
from modeledge.corpus.workers import Processes
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger

LINES = st.lists(st.lists(st.sampled_from(["A b.", "a  B", "c", "}", "", "d e f"]), max_size=7), max_size=6)


def run(
    texts: list[str], config: Repeats, *, order: int = 0, **how: object
) -> tuple[dict[str, str], Ledger, list[str]]:
    """Text by id of what is left, the ledger, which must balance, and the documents that were emptied."""
    documents = [Document(text, f"d:{i}") for i, text in enumerate(texts)]
    random.Random(order).shuffle(documents)
    ledger, emptied = Ledger(), []
    told = {"emptied": lambda document, reason: emptied.append(document.id), **how}
    left = {}
    for document in without_repeats(reading(documents, ledger=ledger), config, ledger=ledger, **told):  # type: ignore[arg-type]
        ledger.kept.add(bytes=size(document))
        left[document.id] = document.text
    assert ledger.balanced()
    assert sum(c.records for c in ledger.filtered.values()) == len(emptied)
    return left, ledger, emptied


def spans(text: str, config: Repeats) -> list[tuple[bytes, ...]]:
    names = [name for _, _, name in units_of(text, config.unit)]
    return [tuple(names[i : i + config.span]) for i in range(len(names) - config.span + 1)]


@settings(max_examples=80, deadline=None)
@given(LINES, st.integers(1, 3), st.integers(0, 3))
def test_of_each_span_exactly_the_first_is_left(rows: list[list[str]], span: int, order: int) -> None:
    texts, config = ["\n".join(row) for row in rows], Repeats(span=span)
    left, _, _ = run(texts, config, order=order)
    every = [(some, f"d:{i}") for i, text in enumerate(texts) for some in spans(text, config)]
    first, times = dict(reversed(every)), Counter(some for some, _ in every)
    for some, id in first.items():
        assert times[some] == 1 or some in spans(left[id], config)  # the first copy is whole
    after = Counter(some for text in left.values() for some in spans(text, config))
    if span == 1:
        assert after == dict.fromkeys(times, 1)
    assert bool(run(texts, config)[1].cut or len(left) < len(texts)) == any(n > 1 for n in times.values()) or span > 1
    assert list(left) == sorted(left, key=lambda id: int(id[2:]))


def test_what_is_no_word_stays_and_short_lines_may() -> None:
    texts = ["Menu\nHome\n}\n* * *\nBody one", "menu!\n}\n* * *\nBody two\n\nBody  two"]
    left, ledger, _ = run(texts, Repeats())
    assert left["d:1"] == "}\n* * *\nBody two\n\n"
    assert ledger.cut["duplicate line"].records == 2
    assert ledger.cut["duplicate line"].bytes == len("menu!\n" + "Body  two")
    assert run(texts, Repeats(shortest=2))[0]["d:1"] == "menu!\n}\n* * *\nBody two\n\n"
    assert run(texts, Repeats(scope="document"))[0]["d:1"] == "menu!\n}\n* * *\nBody two\n\n"


def test_three_sentence_spans_as_in_c4() -> None:
    a, b, c, d = "It rained all day.", "Nobody came.", "We read.", "The end was near."
    left, ledger, _ = run(
        [f"{a} {b} {c} {d}", f"New here. {a} {b} {c} Also new.", f"{a} {b}"], Repeats(unit="sentence", span=3)
    )
    assert left == {"d:0": f"{a} {b} {c} {d}", "d:1": "New here. Also new.", "d:2": f"{a} {b}"}
    assert ledger.cut["duplicate span of 3 sentences"].records == 3
    same, _, _ = run(["Go on. Go on. Go on. Go on. Go on."], Repeats(unit="sentence", span=3))
    assert same["d:0"].strip() == "Go on. Go on. Go on."  # the first span is whole, what only later ones cover goes


def test_a_document_of_which_nothing_is_left_is_filtered() -> None:
    left, ledger, emptied = run(["x\ny", "y\n\nx"], Repeats())
    assert (left, emptied) == ({"d:0": "x\ny"}, ["d:1"])
    assert ledger.filtered["only duplicate lines"].bytes == 4


def test_memory_and_processes_change_nothing() -> None:
    chance = random.Random(3)
    texts = ["\n".join(f"line {chance.randrange(40)}" for _ in range(9)) for _ in range(30)]
    wanted = run(texts, Repeats())
    assert run(texts, Repeats(), order=1, memory=1) == wanted
    assert run(texts, Repeats(), order=2, ordered=Processes(2)) == wanted


def test_what_is_refused() -> None:
    for bad in ({"unit": "word"}, {"scope": "shard"}, {"span": 0}, {"shortest": 0}):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            Repeats(**bad)  # type: ignore[arg-type]
