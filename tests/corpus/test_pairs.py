"""Pairs of segments: from where, how often, cut how; and that they are a function of (seed, epoch, index)."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.mix import MixedStream
from modeledge.corpus.pairs import Pairing, PairStream, SentenceStream, cut_runs, sentence_begins
from modeledge.corpus.shard import TokenDocument, write_shards
from modeledge.corpus.stream import window
from modeledge.errors import ModeledgeError
from modeledge.objectives import Phases


def corpus(folder, documents, cut=2**20, channel=True):
    """Shards of documents given as lists of sentence lengths; every token's id is its place in the corpus."""
    texts, place = [], 0
    for number, lengths in enumerate(documents):
        ids, marks = np.arange(place, place + sum(lengths)), np.zeros(sum(lengths), dtype=np.uint8)
        marks[np.cumsum([0, *lengths])[:-1]] = 1
        channels = {"sentences": marks, "words": (ids % 2).astype(np.uint8)} if channel else {}
        texts.append(TokenDocument(ids, f"d{number}", channels))
        place += len(ids)
    kinds = {"sentences": "uint8", "words": "uint8"} if channel else {}
    return write_shards(folder, texts, vocab_size=10_000, tokenizer_fingerprint="t", channels=kinds, shard_tokens=cut)


def made(shards, room, seed, ask="next", *, shuffle=True, epochs=None, rooms=None, **more):
    return PairStream(shards, Pairing(room, ask, **more), seed, rooms=rooms, shuffle=shuffle, epochs=epochs)


def many(seed=0, count=60):
    random = np.random.default_rng(seed)
    return [random.integers(1, 9, random.integers(2, 12)).tolist() for _ in range(count)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("pairs") / "s", [*many(), [5], [], [3]])


def plain(e):
    channels = {name: values.tolist() for name, values in e.channels.items()}
    return e.index, e.epoch, e.ids.tolist(), e.pair.tolist(), e.label, channels


def document_of(shards, token):
    return int(np.searchsorted(shards.documents, token, side="right"))


def within(count, trials, share):
    assert abs(count - trials * share) <= 3 * math.sqrt(trials * share * (1 - share)), (count / trials, share)


# ---- what a pair is


def test_half_of_the_second_segments_come_from_another_document(shards):
    pairs = list(made(shards, 20, 3, "next", epochs=60))
    assert len(pairs) > 5000
    within(sum(e.label for e in pairs), len(pairs), 0.5)
    for e in pairs:
        same = document_of(shards, e.ids[0]) == document_of(shards, e.pair[0])
        assert same is (e.label == 0)
        assert all(np.array_equal(part, np.arange(part[0], part[-1] + 1)) for part in (e.ids, e.pair))
        assert len({document_of(shards, token) for token in e.ids}) == 1
        assert len({document_of(shards, token) for token in e.pair}) == 1
        assert len(e.ids) + len(e.pair) <= 20
        if same:
            assert e.ids[-1] < e.pair[0]


def test_half_of_the_ordered_pairs_are_swapped(shards):
    pairs = list(made(shards, 20, 3, "order", epochs=60))
    within(sum(e.label for e in pairs), len(pairs), 0.5)
    for e in pairs:
        one, two = (e.pair, e.ids) if e.label else (e.ids, e.pair)
        assert document_of(shards, e.ids[0]) == document_of(shards, e.pair[0])
        assert one[-1] < two[0]


def test_a_pair_that_fits_is_whole_sentences_without_a_gap(tmp_path):
    """One example: sentences of 3, 4, 2 tokens fill 9; the cut lies between two of them, everywhere alike."""
    stream = made(corpus(tmp_path / "s", [[3, 4, 2], [6, 2]]), 9, 0, "order", short=0.0, shuffle=False)
    assert len(stream) == 2
    cuts = []
    for epoch in range(400):
        e = stream.example(0, epoch)
        one, two = (e.pair, e.ids) if e.label else (e.ids, e.pair)
        assert [*one, *two] == list(range(9))
        cuts.append(len(one))
    assert set(cuts) == {3, 7}
    within(cuts.count(3), 400, 0.5)


def test_other_documents_are_equally_likely(tmp_path):
    """A long document is chosen no more often than a short one, and the own one never."""
    documents = [[4, 4], [4] * 30, [4, 4], [4, 4]]
    stream = made(corpus(tmp_path / "s", documents), 10, 1, "next", shuffle=False)
    found = []
    for epoch in range(2000):
        e = stream.example(0, epoch)
        if e.label:
            found.append(document_of(stream.shards, e.pair[0]))
    assert set(found) == {2, 3, 4}
    for number in (2, 3, 4):
        within(found.count(number), len(found), 1 / 3)


def test_the_longer_segment_loses_tokens_at_both_ends(tmp_path):
    stream = made(corpus(tmp_path / "s", [[30, 6], [5, 5]]), 20, 0, "order", short=0.0, shuffle=False)
    front = back = 0
    for epoch in range(300):
        e = stream.example(0, epoch)
        one, two = (e.pair, e.ids) if e.label else (e.ids, e.pair)
        assert two.tolist() == list(range(30, 36))
        assert len(one) == 14
        front, back = front + int(one[0]), back + 29 - int(one[-1])
    assert front + back == 300 * 16
    within(front, 300 * 16, 0.5)


def test_a_share_of_the_pairs_is_short(tmp_path):
    shards = corpus(tmp_path / "s", [[2] * 40, [2] * 40])
    lengths = {}
    for short in (0.0, 0.4):
        stream = made(shards, 40, 0, "order", short=short, epochs=100)
        lengths[short] = [len(e.ids) + len(e.pair) for e in stream]
    assert set(lengths[0.0]) == {40}
    assert set(lengths[0.4]) == set(range(4, 41, 2))
    # a target is 2 … 40, rounded up to whole sentences, at least two; started near the end it is cut there
    assert 0.3 < sum(n < 40 for n in lengths[0.4]) / len(lengths[0.4]) <= 0.45


@pytest.mark.parametrize("ask", ["next", "order"])
def test_pairs_for_less_room_at_first(tmp_path, ask):
    """Early ones are as those of a smaller room: whole sentences, neighbours where the label says so, anywhere in the
    example; at the end, and outside the run, they are those of a stream without a course."""
    shards = corpus(tmp_path / "s", [[2] * 60, [2] * 60, [2] * 60])
    whole = made(shards, 40, 0, ask, short=0.0)
    stream = made(shards, 40, 0, ask, short=0.0, rooms=Phases((12, 26, 40), (0, 200, 400)))
    told = window(stream, 500)
    lengths = [len(e.ids) + len(e.pair) for e in told]
    assert set(lengths[:200]) == {12}
    assert set(lengths[200:400]) == {26}
    assert [plain(e) for e in told[400:]] == [plain(whole.at(place)) for place in range(400, 500)]
    assert [plain(stream.example(n)) for n in range(6)] == [plain(whole.example(n)) for n in range(6)]
    own = [e for e in told[:400] if not e.label]
    assert all(np.diff([*e.ids, *e.pair]).tolist() == [1] * (len(e.ids) + len(e.pair) - 1) for e in own)
    assert all(e.ids[0] % 2 == 0 for e in own)
    assert len({int(e.ids[0]) - int(stream.ranges[e.index][0]) for e in own[:80]}) > 5
    assert [e.place for e in told] == list(range(500))


def test_a_room_that_follows_the_run_follows_that_of_a_mixture(shards):
    """And a run that resumes reads the same."""

    def mixed():
        rooms = Phases((8, 20), (0, 50))
        return MixedStream([made(shards, 20, 0, rooms=rooms), made(shards, 20, 1, rooms=rooms)], [0.5, 0.5])

    told = list(islice(iter(mixed()), 100))
    longest = [max(len(e.ids) + len(e.pair) for e in part) for part in (told[:50], told[50:])]
    assert longest == [8, 20]
    assert [e.place for e in told] == list(range(100))
    first, second = mixed(), mixed()
    head = [plain(e) for e in islice(iter(first), 37)]
    second.load_state_dict(first.state_dict())
    assert head + [plain(e) for e in islice(iter(second), 63)] == [plain(e) for e in told]


def test_sentences_by_themselves(shards):
    stream = SentenceStream(shards, 6, 0, shortest=3, shuffle=False, epochs=1)
    lengths = [size for document in [*many(), [5], [], [3]] for size in document]
    assert [len(e.ids) for e in stream] == [min(size, 6) for size in lengths if size >= 3]
    assert stream.left_out == sum(size if size < 3 else max(0, size - 6) for size in lengths)
    assert f"{stream.left_out:,} of " in stream.note
    assert all(e.channels["sentences"].tolist() == [1] + [0] * (len(e.ids) - 1) for e in window(stream, 20))


def test_channels_stand_beside_both_segments(shards):
    for e in window(made(shards, 20, 3), 50):
        assert e.channels["words"].tolist() == [token % 2 for token in (*e.ids, *e.pair)]
        assert len(e.channels["sentences"]) == len(e.ids) + len(e.pair)


# ---- runs


def runs_one_by_one(documents, room):
    """BERT's loop, sentence by sentence; a last one alone takes the one before it along."""
    found, place = [], 0
    for lengths in documents:
        marks = place + np.cumsum([0, *lengths])
        place = int(marks[-1])
        first = 0
        while len(lengths) - first > 1:
            last = first + 1
            while last < len(lengths) and (last - first < 2 or marks[last] - marks[first] < room):
                last += 1
            if len(lengths) - last == 1:
                last = last - 1 if last - first > 2 else len(lengths)
            found.append([int(marks[first]), int(marks[last])])
            first = last
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), max_size=9), min_size=1, max_size=8), st.integers(2, 30))
def test_runs_are_those_of_a_loop_over_sentences(documents, room):
    sizes = [sum(lengths) for lengths in documents]
    offsets = np.cumsum([0, *sizes])
    starts = [offset + np.cumsum([0, *lengths])[:-1] for offset, lengths in zip(offsets, documents, strict=False)]
    begins = np.concatenate(starts).astype(np.int64)
    ranges, lone = cut_runs(begins, offsets, room)
    assert ranges.tolist() == runs_one_by_one(documents, room)
    assert lone == sum(len(lengths) == 1 for lengths in documents)
    covered = int((ranges[:, 1] - ranges[:, 0]).sum())
    assert covered == sum(sum(lengths) for lengths in documents if len(lengths) > 1)  # nothing else is left out


def test_what_is_left_out_is_counted_and_said(shards):
    stream = made(shards, 20, 0)
    assert (stream.lone, stream.left_out) == (2, 8)
    assert stream.note == "2 documents of one sentence (8 tokens) hold no pair and are left out"


def test_a_document_begins_a_sentence_though_nothing_says_so(tmp_path):
    shards = write_shards(
        tmp_path / "s",
        [TokenDocument(np.arange(4), f"d{i}", {"sentences": np.array([0, 0, 1, 0])}) for i in range(2)],
        vocab_size=9,
        tokenizer_fingerprint="t",
        channels={"sentences": "uint8"},
    )
    assert sentence_begins(shards).tolist() == [0, 2, 4, 6]


# ---- the order


@settings(max_examples=25, deadline=None)
@given(stop=st.integers(0, 200), seed=st.integers(0, 3), ask=st.sampled_from(["next", "order"]))
def test_resuming_anywhere_equals_running_on(shards, stop, seed, ask):
    whole = [plain(e) for e in islice(made(shards, 20, seed, ask), 250)]
    first = made(shards, 20, seed, ask)
    head = [plain(e) for e in window(first, stop)]
    second = made(shards, 20, seed, ask)
    second.load_state_dict(first.state_dict())
    assert head + [plain(e) for e in window(second, 250 - stop)] == whole


def test_pairs_are_a_function_of_seed_epoch_and_index(shards):
    told = {
        (seed, epoch): [plain(made(shards, 20, seed).example(n, epoch))[2:] for n in range(30)]
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    stream = made(shards, 20, 0)
    assert [plain(stream.example(n, 1))[2:] for n in reversed(range(30))] == told[0, 1][::-1]
    assert len({str(value) for value in told.values()}) == 4


def test_pairs_may_come_again(shards):
    stream = made(shards, 20, 0, repeats=2)
    told = [[plain(stream.example(n, epoch))[2:] for n in range(10)] for epoch in range(4)]
    assert told[:2] == told[2:]
    assert told[0] != told[1]


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_the_cut_into_files_changes_nothing(shards, tmp_path, cut):
    other = made(corpus(tmp_path / "s", [*many(), [5], [], [3]], cut), 20, 0)
    stream = made(shards, 20, 0)
    assert other.fingerprint == stream.fingerprint
    assert [plain(e) for e in window(other, 100)] == [plain(e) for e in window(stream, 100)]


def test_whatever_changes_the_pairs_changes_the_fingerprint(shards):
    streams = [made(shards, 20, 0), made(shards, 21, 0), made(shards, 20, 1)]
    streams += [made(shards, 20, 0, "order"), made(shards, 20, 0, short=0.2), made(shards, 20, 0, repeats=9)]
    streams += [made(shards, 20, 0, rooms=Phases((8, 20), (0, 9)))]
    assert len({stream.fingerprint for stream in streams}) == 7


def test_what_is_held_out_is_no_ones_second_segment(shards):
    stream = made(shards, 20, 0)
    held = np.arange(0, len(stream), 4)
    kept = np.setdiff1d(np.arange(len(stream)), held)
    apart = {int(t) for n in held for t in range(*stream.ranges[n])}
    assert not apart & {int(t) for e in window(stream.only(kept), 600) for t in (*e.ids, *e.pair)}
    assert {int(t) for e in window(stream.only(held), 600) for t in (*e.ids, *e.pair)} <= apart
    assert any(e.label for e in window(stream.only(kept), 600))


# ---- bad input


def test_corpora_without_pairs_are_refused(tmp_path):
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD: .*no channel 'sentences'"):
        made(corpus(tmp_path / "a", [[3, 3], [2, 2]], channel=False), 20, 0)
    with pytest.raises(ModeledgeError, match=r"E-NO-TARGET: the corpus: none of the 3 documents has two sentences"):
        made(corpus(tmp_path / "b", [[3], [4], [9]]), 20, 0)
    one = corpus(tmp_path / "c", [[3, 3, 3], [4]])
    with pytest.raises(ModeledgeError, match="E-NO-TARGET: the corpus: 1 document has pairs"):
        made(one, 20, 0, "next")
    assert len(made(one, 20, 0, "order")) == 1
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        made(one, 1, 0, "order")
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        made(one, 20, 0, "order", short=1.0)
