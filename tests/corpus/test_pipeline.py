"""Conservation, and a corpus whose bytes depend on the set of documents alone."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.asked import Build
from modeledge.corpus.dedup import exact_duplicates
from modeledge.corpus.filter import empty, longer_than, shorter_than, size
from modeledge.corpus.pipeline import build_corpus, kept_documents, reading, run_pipeline, tokenized
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.records import Count, Document, Ledger

TEXTS = st.lists(st.text(alphabet="aé\u0301 b\n", max_size=8), max_size=15)


class Bytes:
    """A stand-in tokenizer: UTF-8 bytes; 256 ends a text."""

    vocab_size, fingerprint = 257, "bytes"

    def __init__(self, eos=256):
        self.specials = SimpleNamespace(eos=eos)
        self.batches = []

    def encode_batch(self, texts):
        self.batches.append(len(texts))
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int64) for text in texts]


def source(texts, ledger):
    """Like a reader: names documents, counts all that it reads, quarantines what holds "aa"."""
    for line, text in enumerate(texts, 1):
        document = Document(text, f"f:{line}", f"f:{line}")
        ledger.read.add(bytes=size(document))
        if "aa" in text:
            ledger.quarantined.setdefault("aa", Count()).add(bytes=size(document))
        else:
            yield document


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.booleans())
def test_every_document_and_every_byte_is_accounted_for(texts, deduplicate):
    ledger = Ledger()
    stages = [lambda documents: exact_duplicates(documents, ledger=ledger)] if deduplicate else []
    filters = [empty, shorter_than(1), longer_than(2)]
    kept = list(run_pipeline(source(texts, ledger), filters, ledger=ledger, stages=stages))
    assert ledger.balanced()
    assert ledger.read.records == len(texts)
    assert ledger.kept.records == len(kept)
    assert ledger.kept.bytes == sum(map(size, kept))
    assert set(ledger.filtered) <= {"empty", "longer than 2 words", "duplicate"}  # the first reason counts
    assert all(count.records for count in ledger.filtered.values())


def test_filters_say_why():
    ledger = Ledger()
    kept = list(run_pipeline(source(["", "a", "b é", " ", "a a a"], ledger), [empty, longer_than(2)], ledger=ledger))
    assert [d.text for d in kept] == ["a", "b é"]
    assert {k: (c.records, c.bytes) for k, c in ledger.filtered.items()} == {
        "empty": (2, 1),
        "longer than 2 words": (1, 5),
    }


TEXT = ["hello world", "", "e\u0301t\u00e9", "hello  world", "aa", "zwei drei", "\u00e9t\u00e9"]


def build(tmp_path, name, texts=TEXT, documents=None, tokenizer=None, **config):
    ledger = Ledger()
    documents = source(texts, ledger) if documents is None else reading(documents, ledger=ledger)
    config = Build(**config) if config else None
    return build_corpus(documents, tokenizer or Bytes(), tmp_path / name, config=config, ledger=ledger), ledger


def test_a_corpus_is_written_whole_with_its_ledger(tmp_path):
    shards, ledger = build(tmp_path, "c")
    text = "hello world|\u00e9t\u00e9|zwei drei|"
    expected = [256 if byte == ord("|") else byte for byte in text.encode()]
    assert shards.tokens().tolist() == expected
    assert shards.ids == ["f:1", "f:3", "f:6"]
    assert shards.documents.tolist() == [0, 12, 18, 28]
    assert ledger.balanced()
    assert (ledger.kept.records, ledger.kept.tokens) == (3, 28)
    assert ledger.filtered["duplicate"].records == 2
    assert json.loads((tmp_path / "c" / "ledger.json").read_text()) == ledger.as_dict()
    assert len(Shards.open(tmp_path / "c", verify=True)) == 28
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40), st.integers(1, 5), st.booleans())
def test_bytes_depend_on_the_set_of_documents_alone(tmp_path_factory, chance, shard_tokens, batch, deduplicate):
    tmp_path = tmp_path_factory.mktemp("corpus")
    documents = [Document(text, f"f:{i}") for i, text in enumerate(TEXT)]
    one, ledger = build(tmp_path, "one", documents=documents, deduplicate=deduplicate)
    chance.shuffle(documents)
    settings = {"deduplicate": deduplicate, "shard_tokens": shard_tokens, "batch": batch}
    two, other = build(tmp_path, "two", documents=documents, **settings)
    assert one.fingerprint == two.fingerprint
    assert one.tokens().tobytes() == two.tokens().tobytes()
    assert (one.ids, one.documents.tolist()) == (two.ids, two.documents.tolist())
    assert ledger.as_dict() == other.as_dict()


def test_tokenizing_goes_in_batches_and_ends_texts_where_asked():
    documents = [Document("ab", str(i)) for i in range(7)]
    tokenizer = Bytes()
    assert [d.ids.tolist() for d in tokenized(documents, tokenizer, batch=3)] == [[97, 98, 256]] * 7
    assert tokenizer.batches == [3, 3, 1]
    assert next(tokenized(documents, tokenizer, end=False)).ids.tolist() == [97, 98]
    assert next(tokenized(documents, Bytes(eos=None))).ids.tolist() == [97, 98]


def test_a_batch_is_bounded_by_characters_too(monkeypatch):
    documents = [Document("ab" * n, str(n)) for n in (1, 1, 4, 9, 1, 1, 1, 1, 1)]
    whole = [d.ids.tolist() for d in tokenized(documents, Bytes())]
    monkeypatch.setattr("modeledge.corpus.workers.BATCH", 8)
    tokenizer = Bytes()
    assert [d.ids.tolist() for d in tokenized(documents, tokenizer, batch=5)] == whole
    assert tokenizer.batches == [3, 1, 4, 1]


def test_kept_documents_are_those_of_the_corpus(tmp_path):
    shards, _ = build(tmp_path, "c")
    mine = Ledger()
    kept = list(kept_documents(source(TEXT, mine), Build(), ledger=mine))
    assert [d.id for d in kept] == shards.ids
    assert [d.text for d in kept] == ["hello world", "\u00e9t\u00e9", "zwei drei"]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("E-NO-RECORDS", {"texts": ["", " ", "aa"]}),
        ("E-VOCAB-SIZE", {"tokenizer": Bytes(eos=257)}),
        ("E-CONFIG-KEY", {"filters": {"emty": True}}),
        ("E-CONFIG-KEY", {"stages": ("nfd",)}),
        ("E-DUP-ID", {"documents": [Document("a", "x"), Document("b", "x")]}),
    ],
)
def test_a_corpus_that_fails_leaves_nothing(tmp_path, code, change):
    with pytest.raises(ModeledgeError) as caught:
        build(tmp_path, "c", **change)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_source_leaves_nothing(tmp_path):
    def torn():
        yield Document("one", "1")
        raise RuntimeError("torn")

    with pytest.raises(RuntimeError, match="torn"):
        build_corpus(torn(), Bytes(), tmp_path / "c", ledger=Ledger())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "c").mkdir()

    def never():
        raise AssertionError
        yield

    with pytest.raises(ModeledgeError, match="exists already") as caught:
        build_corpus(never(), Bytes(), tmp_path / "c", ledger=Ledger())
    assert caught.value.code == "E-OUTPUT"


def test_a_source_that_does_not_count_is_our_mistake(tmp_path):
    with pytest.raises(AssertionError, match=r"ledger\.read"):
        build_corpus([Document("a", "1")], Bytes(), tmp_path / "c", ledger=Ledger())
    assert list(tmp_path.iterdir()) == []
