"""The order of a stream is arithmetic: no history, no file cut, no rank count in it."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus import stream as stream_module
from modeledge.corpus.pack import deal, plan_rows
from modeledge.corpus.shard import TokenDocument, write_shards
from modeledge.corpus.stream import ListStream, TokenStream, window
from modeledge.errors import ModeledgeError
from modeledge.records import Example
from modeledge.seed import Noise, permuted, permuted_many

TEXTS = [np.arange(n) + 10 * i for i, n in enumerate([5, 0, 23, 1, 14, 9])]


def corpus(folder, cut):
    documents = [TokenDocument(ids, f"d{i}", {"words": ids % 3}) for i, ids in enumerate(TEXTS)]
    return write_shards(
        folder, documents, vocab_size=99, tokenizer_fingerprint="t", channels={"words": "uint8"}, shard_tokens=cut
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("stream") / "s", 2**20)


def labelled(count=11):
    return [Example(100 + i, np.arange(i + 1), label=i % 2, where=f"r:{i}") for i in range(count)]


def plain(example):
    channels = {name: values.tolist() for name, values in example.channels.items()}
    return example.index, example.epoch, example.ids.tolist(), example.label, channels


MAKERS = {
    "tokens": lambda shards, seed, **k: TokenStream(shards, 6, seed, **k),
    "documents": lambda shards, seed, **k: TokenStream(shards, 6, seed, "document", **k),
    "list": lambda shards, seed, **k: ListStream(labelled(), seed, **k),
}


@given(st.integers(1, 3000), st.integers(0, 2**32), st.data())
@settings(max_examples=60)
def test_many_permuted_indices_equal_one_by_one(length, seed, data):
    indices = data.draw(st.lists(st.integers(0, length - 1), max_size=20))
    noise = Noise(seed).at("x")
    assert permuted_many(np.array(indices, np.int64), length, noise).tolist() == [
        permuted(i, length, noise) for i in indices
    ]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 16, 17, 1000, 2**20 + 1, 2**40 + 3, 2**62])
def test_permuted_many_agrees_at_every_size(length):
    indices = np.unique(np.array([0, length // 3, length // 2, length - 1], np.int64))
    noise = Noise(5)
    assert permuted_many(indices, length, noise).tolist() == [permuted(int(i), length, noise) for i in indices]
    with pytest.raises(IndexError):
        permuted_many(np.array([length]), length, noise)
    with pytest.raises(IndexError):
        permuted_many(np.array([-1]), length, noise)


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=25, deadline=None)
@given(stop=st.integers(0, 40), seed=st.integers(0, 3), shuffle=st.booleans())
def test_resuming_anywhere_equals_running_on(shards, kind, stop, seed, shuffle):
    make = MAKERS[kind]
    whole = [plain(e) for e in islice(make(shards, seed, shuffle=shuffle), 50)]
    first = make(shards, seed, shuffle=shuffle)
    head = [plain(e) for e in window(first, stop)]
    second = make(shards, seed, shuffle=shuffle)
    second.load_state_dict(first.state_dict())
    assert head + [plain(e) for e in window(second, 50 - stop)] == whole
    assert head + [plain(e) for e in window(first, 50 - stop)] == whole


@pytest.mark.parametrize("kind", MAKERS)
def test_the_state_is_the_place_after_the_example_just_given(shards, kind):
    stream = MAKERS[kind](shards, 1)
    for count, _ in zip(range(1, 30), stream, strict=False):
        assert stream.state_dict()["position"] == count


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("block", [3, 4096])
def test_every_epoch_is_a_permutation_and_epochs_differ(shards, kind, block, monkeypatch):
    monkeypatch.setattr(stream_module, "BLOCK", block)
    stream = MAKERS[kind](shards, 7, epochs=3)
    examples = list(stream)
    n = len(stream)
    assert len(examples) == 3 * n
    epochs = [examples[i * n : (i + 1) * n] for i in range(3)]
    unshuffled = [plain(e)[0] for e in MAKERS[kind](shards, 7, shuffle=False, epochs=1)]
    for number, epoch in enumerate(epochs):
        assert sorted(e.index for e in epoch) == sorted(unshuffled)
        assert {e.epoch for e in epoch} == {number}
        image = [permuted(k, n, Noise(7).at("shuffle", number)) for k in range(n)]
        assert [e.index for e in epoch] == [unshuffled[i] for i in image]
    orders = {tuple(e.index for e in epoch) for epoch in epochs}
    assert len(orders) == 3
    assert list(stream) == []  # it is at its end


def test_other_seeds_give_other_orders(shards):
    orders = {tuple(e.index for e in TokenStream(shards, 6, seed, epochs=1)) for seed in range(4)}
    assert len(orders) == 4


@pytest.mark.parametrize("cut", [1, 7, 52])
@pytest.mark.parametrize("how", ["split", "document"])
def test_the_cut_into_files_changes_nothing(shards, tmp_path, cut, how):
    other = TokenStream(corpus(tmp_path / "s", cut), 6, 3, how)
    stream = TokenStream(shards, 6, 3, how)
    assert [plain(e) for e in islice(stream, 30)] == [plain(e) for e in islice(other, 30)]
    assert stream.fingerprint == other.fingerprint


def test_asking_for_a_position_moves_nothing(shards):
    stream = TokenStream(shards, 6, 3)
    expected = [plain(e) for e in islice(TokenStream(shards, 6, 3), 20)]
    assert plain(stream.at(19)) == expected[19]
    assert [plain(e) for e in window(stream, 20)] == expected


def test_an_example_is_its_range_of_the_corpus(shards):
    whole = np.concatenate(TEXTS)
    for example in TokenStream(shards, 6, 3, epochs=1):
        ids = whole[example.index * 6 : example.index * 6 + 6]
        assert example.ids.tolist() == ids.tolist()
        assert example.channels["words"].tolist() == (ids % 3).tolist()
    stream = TokenStream(shards, 6, 3)
    assert stream.where(0) == "d0 to d2"
    assert stream.where(1) == "d2"
    assert (len(stream), stream.left_out) == (9, 0)
    assert TokenStream(shards, 6, 3, shortest=6).left_out == 52 % 6


def test_fingerprints_name_whatever_changes_the_examples_or_their_order(shards):
    streams = [
        TokenStream(shards, 6, 3),
        TokenStream(shards, 5, 3),
        TokenStream(shards, 6, 4),
        TokenStream(shards, 6, 3, "document"),
        TokenStream(shards, 6, 3, shortest=2),
        TokenStream(shards, 6, 3, shuffle=False),
        ListStream(labelled(), 3),
        ListStream(labelled(10), 3),
        ListStream(labelled()[::-1], 3),
        ListStream([*labelled()[:-1], Example(110, np.arange(11), label=1)], 3),
        ListStream([*labelled()[:-1], Example(110, np.arange(11), label=0, pair=np.arange(1))], 3),
    ]
    assert len({stream.fingerprint for stream in streams}) == len(streams)
    assert TokenStream(shards, 6, 3, epochs=5).fingerprint == streams[0].fingerprint


def test_another_streams_state_is_refused_and_both_are_named(shards):
    one, two = TokenStream(shards, 6, 3), TokenStream(shards, 6, 4)
    window(one, 5)
    with pytest.raises(ModeledgeError, match=one.fingerprint) as caught:
        two.load_state_dict(one.state_dict())
    assert caught.value.code == "E-RESUME"
    assert two.fingerprint in str(caught.value)
    for state in ({}, {"position": 3}, one.state_dict() | {"position": -1}, one.state_dict() | {"position": "3"}):
        with pytest.raises(ModeledgeError) as caught:
            one.load_state_dict(state)
        assert caught.value.code == "E-RESUME"
    assert one.state_dict()["position"] == 5


def test_unusable_lists_are_refused():
    for examples, code in (
        ([], "E-NO-RECORDS"),
        ([*labelled(2), labelled(1)[0]], "E-DUP-ID"),
        ([Example(0, np.arange(2), label=object())], "E-LABEL-TYPE"),
    ):
        with pytest.raises(ModeledgeError) as caught:
            ListStream(examples, 0)
        assert caught.value.code == code
    with pytest.raises(ModeledgeError, match="r:0 and r:0"):
        ListStream([labelled(1)[0]] * 2, 0)
    with pytest.raises(ModeledgeError) as caught:
        ListStream(labelled(), 0, epochs=0)
    assert caught.value.code == "E-CONFIG-VALUE"


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_any_number_of_ranks_reads_the_same_steps(shards, ranks):
    """Each rank runs the same window and the same plan, and takes its part: together they read the corpus once."""
    streams = [TokenStream(shards, 6, 3, "document", epochs=1) for _ in range(ranks)]
    alone = TokenStream(shards, 6, 3, "document", epochs=1)
    seen = []
    while examples := window(alone, 4):
        expected = [[examples[i].index for i in row] for row in plan_rows([len(e.ids) for e in examples], 8)]
        together = []
        for rank, stream in enumerate(streams):
            batch = window(stream, 4)
            rows = deal(plan_rows([len(e.ids) for e in batch], 8), ranks)[rank]
            together += [[batch[i].index for i in row] for row in rows]
        assert together == expected
        seen += [index for row in together for index in row]
    assert sorted(seen) == list(range(len(alone)))
