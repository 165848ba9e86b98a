"""One copy of each text; which one, and in which order, cannot depend on the order of the input."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.dedup import exact_duplicates
from modeledge.corpus.spool import in_order, order_key
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger

TEXTS = st.lists(st.sampled_from(["a b", "a  b", " a\nb ", "e\u0301", "\u00e9", "c", "ab", ""]), max_size=12)


def named(texts):
    return [Document(text, f"file.txt:{i}", f"file.txt:{i}") for i, text in enumerate(texts, 1)]


def slow_oracle(documents):
    """The same rule by comparing every pair: a document stays when no earlier one has the same plain text."""
    import unicodedata

    def plain(text):
        return unicodedata.normalize("NFC", text).split()

    return [d for i, d in enumerate(documents) if not any(plain(e.text) == plain(d.text) for e in documents[:i])]


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.randoms(use_true_random=False))
def test_any_input_order_keeps_the_same_copies_in_the_same_order(texts, chance):
    documents = named(texts)
    shuffled = list(documents)
    chance.shuffle(shuffled)
    ledger = Ledger()
    assert list(exact_duplicates(shuffled, ledger=ledger)) == slow_oracle(documents)
    lost = len(documents) - len(slow_oracle(documents))
    assert (ledger.filtered["duplicate"].records if lost else 0) == lost


@settings(max_examples=30, deadline=None)
@given(TEXTS)
def test_bytes_lost_are_those_of_the_copies_that_left(texts):
    documents, ledger = named(texts), Ledger()
    kept = list(exact_duplicates(reversed(documents), ledger=ledger))
    lost = sum(len(d.text.encode()) for d in documents) - sum(len(d.text.encode()) for d in kept)
    assert sum(count.bytes for count in ledger.filtered.values()) == lost


def test_numbers_in_ids_count_as_numbers():
    ids = ["a:10", "a:9", "a:2:1", "a:2", "b:1", "a", "a:002", "a:99999999999999999999999", ""]
    ordered = ["", "a", "a:002", "a:2", "a:2:1", "a:9", "a:10", "a:99999999999999999999999", "b:1"]
    assert sorted(random.Random(1).sample(ids, len(ids)), key=order_key) == ordered


def test_documents_come_back_whole():
    documents = [Document("x\n\u2028\ud800é", "b", "w:1", {"day": object()}), Document("", "a", "w:2")]
    assert list(exact_duplicates(documents, ledger=Ledger())) == documents[::-1]
    assert list(in_order(documents)) == documents[::-1]


def test_in_order_keeps_duplicates():
    assert [d.id for d in in_order(reversed(named(["a", "a"])))] == ["file.txt:1", "file.txt:2"]


@pytest.mark.parametrize("other", ["same", "different"])
def test_a_shared_id_names_both_places(other):
    documents = [Document("same", "7", "b.jsonl:3"), Document("between", "8", "b.jsonl:4"), Document(other, "7", "a:1")]
    for stage in (lambda d: exact_duplicates(d, ledger=Ledger()), in_order):
        with pytest.raises(ModeledgeError, match=r"a:1 and b\.jsonl:3: the id '7'") as caught:
            list(stage(documents))
        assert caught.value.code == "E-DUP-ID"
