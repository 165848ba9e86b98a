"""Shards say what was written, however they were cut, or say which file is wrong."""

import json
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.shard import Shards, TokenDocument, token_type, write_shards
from modeledge.errors import ModeledgeError

DOCUMENTS = st.lists(st.lists(st.integers(0, 299), max_size=9), min_size=1, max_size=9).filter(any)


def write(folder, texts, *, cut=2**26, vocab_size=300, tokenizer="t"):
    documents = [
        TokenDocument(np.array(ids, np.int64), f"d\n{i}", {"words": np.array(ids) % 7}) for i, ids in enumerate(texts)
    ]
    return write_shards(
        folder,
        documents,
        vocab_size=vocab_size,
        tokenizer_fingerprint=tokenizer,
        channels={"words": "uint8"},
        shard_tokens=cut,
    )


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, st.integers(1, 90), st.data())
def test_reading_gives_back_what_was_written_however_it_was_cut(tmp_path_factory, texts, cut, data):
    folder = tmp_path_factory.mktemp("s") / "shards"
    whole = np.concatenate([np.array(ids, np.int64) for ids in texts])
    write(folder, texts, cut=cut)
    shards = Shards.open(folder)
    assert len(shards) == len(whole)
    assert shards.documents.tolist() == np.cumsum([0, *map(len, texts)]).tolist()
    assert shards.ids == [f"d\n{i}" for i in range(len(texts))]
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    assert shards.tokens(start, stop).tolist() == whole[start:stop].tolist()
    assert shards.channel("words", start, stop).tolist() == (whole[start:stop] % 7).tolist()
    assert shards.tokens().dtype == np.int64  # arithmetic on stored uint16 would wrap around
    assert len(list(folder.glob("tokens-*.bin"))) == -(-len(whole) // cut)
    assert shards.fingerprint == write(folder.with_name("other"), texts).fingerprint
    for token in range(len(whole)):
        expected = next(i for i, end in enumerate(np.cumsum([len(t) for t in texts])) if token < end)
        assert shards.document_of(token) == f"d\n{expected}"


def test_a_fingerprint_names_content_and_tokenizer(tmp_path):
    prints = {
        write(tmp_path / "a", [[1, 2], [3]]).fingerprint,
        write(tmp_path / "b", [[1], [2, 3]]).fingerprint,
        write(tmp_path / "c", [[1, 2], [4]]).fingerprint,
        write(tmp_path / "d", [[1, 2], [3]], tokenizer="u").fingerprint,
        write(tmp_path / "e", [[1, 2], [3]], vocab_size=301).fingerprint,
    }
    assert len(prints) == 5
    assert write(tmp_path / "f", [[1, 2], [3]], cut=2).fingerprint in prints


@pytest.mark.parametrize(("vocab_size", "kind"), [(65_536, "uint16"), (65_537, "uint32")])
def test_the_largest_id_fits_its_type(tmp_path, vocab_size, kind):
    shards = write(tmp_path / "s", [[0, vocab_size - 1]], vocab_size=vocab_size)
    assert token_type(vocab_size) == kind
    assert shards.tokens().tolist() == [0, vocab_size - 1]
    assert (tmp_path / "s" / "tokens-00000.bin").stat().st_size == 2 * np.dtype(kind).itemsize


@pytest.mark.parametrize("bad", [300, 2**16, 2**40, -1])
def test_an_id_outside_the_vocabulary_is_refused_at_write_time(tmp_path, bad):
    with pytest.raises(ModeledgeError, match=f"{bad} is outside a vocabulary of 300") as caught:
        write(tmp_path / "s", [[1], [2, bad]])
    assert (caught.value.code, caught.value.where) == ("E-VOCAB-SIZE", "d\n1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("channels", "code"),
    [
        ({}, "E-MISSING-FIELD"),
        ({"words": np.arange(2)}, "E-LENGTH-MISMATCH"),
        ({"words": np.array([0, 1, 256])}, "E-FIELD-TYPE"),
        ({"words": np.array([0, -1, 2])}, "E-FIELD-TYPE"),
        ({"words": np.arange(3), "more": np.arange(3)}, "E-FIELD-TYPE"),
    ],
)
def test_channels_that_do_not_fit_are_refused(tmp_path, channels, code):
    documents = [TokenDocument(np.arange(3), "the document", channels)]
    with pytest.raises(ModeledgeError, match="the document") as caught:
        write_shards(tmp_path / "s", documents, vocab_size=9, tokenizer_fingerprint="t", channels={"words": "uint8"})
    assert caught.value.code == code


@pytest.mark.parametrize("channels", [{"../x": "uint8"}, {"tokens": "uint8"}, {"words": "float32"}])
def test_unusable_channel_declarations_are_refused(tmp_path, channels):
    with pytest.raises(ModeledgeError) as caught:
        write_shards(tmp_path / "s", [], vocab_size=9, tokenizer_fingerprint="t", channels=channels)
    assert caught.value.code == "E-CONFIG-VALUE"


def test_a_corpus_without_a_token_is_refused(tmp_path):
    with pytest.raises(ModeledgeError) as caught:
        write(tmp_path / "s", [[], []])
    assert caught.value.code == "E-NO-RECORDS"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


FILES = ["tokens-00000.bin", "tokens-00001.bin", "words-00001.bin", "documents.bin", "documents.jsonl"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "s"
    write(folder, [[1, 2, 3], [4, 5]], cut=3)
    return folder


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1]), flip])
def test_damage_is_found_and_named(good, tmp_path, name, harm):
    folder = tmp_path / "s"
    shutil.copytree(good, folder)
    harm(folder / name)
    with pytest.raises(ModeledgeError, match=name) as caught:
        Shards.open(folder)
    assert caught.value.code == "E-CHECKPOINT"
    assert caught.value.remedy == "build the corpus again"


@pytest.mark.parametrize("name", ["tokens-00001.bin", "words-00000.bin", "documents.bin", "MANIFEST.json"])
@pytest.mark.parametrize("harm", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-3])])
def test_missing_and_cut_files_are_found_without_reading_them_too(good, tmp_path, name, harm):
    folder = tmp_path / "s"
    shutil.copytree(good, folder)
    harm(folder / name)
    with pytest.raises(ModeledgeError, match=name) as caught:
        Shards.open(folder, verify=False)
    assert caught.value.code == "E-CHECKPOINT"


@pytest.mark.parametrize(
    ("key", "value"),
    [("schema", 2), ("vocab_size", 4), ("tokenizer", "u"), ("channels", {"../x": "uint8"}), ("files", {})],
)
def test_an_altered_manifest_is_found(good, tmp_path, key, value):
    folder = tmp_path / "s"
    shutil.copytree(good, folder)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    (folder / "MANIFEST.json").write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(ModeledgeError) as caught:
        Shards.open(folder)
    assert caught.value.code == "E-CHECKPOINT"


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ModeledgeError) as caught:
        Shards.open(tmp_path / "nothing")
    assert caught.value.code == "E-NO-FILE"


def test_ranges_outside_the_corpus_are_refused(good):
    shards = Shards.open(good)
    for start, stop in ((0, 6), (-1, 2), (3, 2)):
        with pytest.raises(IndexError):
            shards.tokens(start, stop)
    with pytest.raises(ModeledgeError, match="no channel 'sentences'"):
        shards.channel("sentences")


def test_a_worker_gets_the_folder_and_not_the_bytes(tmp_path):
    shards = write(tmp_path / "s", [list(range(300)) * 50])
    data = pickle.dumps(shards)
    assert len(data) < 500
    assert pickle.loads(data).tokens(7, 9).tolist() == [7, 8]  # noqa: S301
