"""Damaged texts: the papers' figures, the reference's algorithms in plain loops, and counts over a million tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.objectives import (
    Damaged,
    Dropped,
    Form,
    Fragment,
    Masked,
    RandomSpans,
    Salients,
    Scattered,
    Shuffled,
    Split,
    most_tokens,
    ul2,
)
from modeledge.objectives.damage import composition, disguised, hidden_at_most, replaced, runs, runs_at_most
from modeledge.objectives.mixture import DENOISERS
from modeledge.records import Example
from modeledge.seed import Noise

TEXT = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
WORDS = [*TEXT, "apple", "<M>", "<X>", "<Y>", "<Z>"]
IDS, SIGNS, MASK = np.arange(len(TEXT)), (13, 14, 15), 12
SENTINELS = tuple(range(10_000, 10_200))
MILLION = 1_000_000


def random(*keys):
    return Noise(3).at("test", *keys).generator()


def said(ids):
    return " ".join(WORDS[i] for i in ids)


def where(*words):
    return np.array([word in words for word in TEXT])


# ---- the figures of the papers


def test_figure_2_of_t5():
    """Also table 3's "i.i.d. noise, replace spans"."""
    made = replaced(IDS, runs(where("for", "inviting", "last")), SIGNS)
    assert said(made.inputs) == "Thank you <X> me to your party <Y> week ."
    assert said(made.targets) == "<X> for inviting <Y> last <Z>"


def test_table_3_of_t5():
    gone = where("for", "inviting", "last")
    made = replaced(IDS, np.array([[2, 5], [6, 8], [8, 9]])[[0, 1]], SIGNS)  # "random spans", but for the last one
    assert said(made.inputs) == "Thank you <X> to <Y> last week ."
    assert said(made.targets) == "<X> for inviting me <Y> your party <Z>"
    hidden = disguised(IDS, gone, MASK, random(), shares=(0.0, 0.0), others=IDS)
    assert said(hidden) == "Thank you <M> <M> me to your party <M> week ."
    assert said(IDS[~gone]) == "Thank you me to your party week ."
    assert said(IDS[gone]) == "for inviting last"
    another = disguised(IDS, where("last"), MASK, random(), shares=(1.0, 0.0), others=np.array([11]))
    assert said(another) == "Thank you for inviting me to your party apple week ."


def test_no_sentinel_ends_targets_where_no_text_follows():
    made = replaced(IDS[:4], np.array([[0, 1], [2, 4]]), SIGNS)
    assert said(made.inputs) == "<X> you <Y>"
    assert said(made.targets) == "<X> Thank <Y> for inviting"


# ---- the reference's algorithms, in plain loops


def replaced_by_hand(ids, mask, sentinels):
    """`noise_span_to_unique_sentinel` of the tokens that are chosen, then of those that are not."""

    def one(chosen):
        out, number = [], 0
        for i, token in enumerate(ids):
            if not chosen[i]:
                out.append(token)
            elif i == 0 or not chosen[i - 1]:
                out.append(sentinels[number])
                number += 1
        return out

    return one(mask), one([not m for m in mask])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_sentinels_are_the_references(mask):
    """The reference's masks begin with text. Where one begins with a span our numbers still agree on both sides."""
    mask = np.array([False, *mask])
    if not mask.any():
        mask[-1] = True
    ids = np.arange(100, 100 + len(mask))
    made = replaced(ids, runs(mask), SENTINELS)
    inputs, targets = replaced_by_hand(ids, mask, SENTINELS)
    assert (made.inputs.tolist(), made.targets.tolist()) == (inputs, targets)
    turned = replaced(ids[1:], runs(mask[1:]), SENTINELS)
    assert restored(turned, SENTINELS) == ids[1:].tolist()


def restored(made: Damaged, sentinels):
    """The text, put together again from inputs and targets."""
    parts, last = {}, None
    for token in made.targets.tolist():
        if token in sentinels:
            last = token
            parts[last] = []
        else:
            parts[last].append(token)
    return [t for token in made.inputs.tolist() for t in (parts[token] if token in sentinels else [token])]


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 300), st.sampled_from([0.01, 0.15, 0.5, 0.9]), st.sampled_from([1.0, 3.0, 8.0, None]), st.data())
def test_random_spans_give_the_text_back(tokens, rate, mean, data):
    damage = RandomSpans(SENTINELS, rate, mean)
    spans = damage.spans(tokens, random(data.draw(st.integers(0, 99))))
    noise, count = damage.counts(tokens)
    assert noise == min(max(int(np.round(tokens * rate)), 1), tokens - 1)
    assert len(spans) == count == (1 if mean is None else min(max(int(np.round(noise / mean)), 1), tokens - noise))
    assert (spans[:, 1] - spans[:, 0]).sum() == noise
    assert spans[0, 0] > 0  # the text's first
    assert spans[-1, 1] == tokens  # a span last
    assert (spans[1:, 0] > spans[:-1, 1]).all()  # none touch
    made = replaced(np.arange(tokens), spans, SENTINELS)
    assert restored(made, SENTINELS) == list(range(tokens))
    assert [(len(made.inputs), len(made.targets))] == damage.sizes(tokens)


def test_every_partition_is_as_likely():
    """Five tokens in three parts: six ways."""
    seen: dict[tuple[int, ...], int] = {}
    for index in range(6000):
        parts = tuple(composition(5, 3, random(index)).tolist())
        seen[parts] = seen.get(parts, 0) + 1
    assert len(seen) == 6
    assert all(abs(n - 1000) < 4 * math.sqrt(1000 * 5 / 6) for n in seen.values())


# ---- counts over a million tokens


def within(count, trials, share):
    """Within 3 standard deviations of a binomial mean; the draws are fixed, so that this passes always or never."""
    assert abs(count - trials * share) <= 3 * math.sqrt(trials * share * (1 - share)), (count / trials, share)


def test_random_spans_over_a_million_tokens():
    """The share is exact; lengths are those of a random composition: P(k) = C(N−k−1, m−2) / C(N−1, m−1), nearly
    geometric with mean 3."""
    damage, count, first = RandomSpans(SENTINELS), 0, 0
    lengths = []
    for index in range(2000):
        spans = damage.spans(500, random(index))
        lengths.append(spans[:, 1] - spans[:, 0])
        first += int(spans[0, 0] == 1)
        count += len(spans)
    together = np.concatenate(lengths)
    assert together.sum() == 2000 * 75
    assert count == 2000 * 25
    assert together.mean() == 3.0
    within((together == 1).sum(), len(together), 24 / 74)
    within(first, 2000, 24 / 424)  # as many parts of the text as spans
    long = Example(0, np.arange(MILLION) % 5000)
    made = RandomSpans(tuple(range(-60_000, 0)))(long, random())
    assert len(made.targets) == 150_000 + 50_000
    assert len(made.inputs) == 850_000 + 50_000


SALIENT = np.array([0, 0, 1, 2, 0, 1, 1, 0, 1, 0, 0])  # "for inviting", "to", "your", "last"


def test_names_dates_and_numbers_alone_are_hidden():
    """Whole spans, as many as fit three tokens; the targets and the inputs together are the text."""
    seen, signs = set(), (*SIGNS, MASK)
    for index in range(200):
        made = Salients(signs, 3 / 11)(Example(index, IDS, channels={"salient": SALIENT}), random(index))
        pieces = np.split(made.targets, np.flatnonzero(np.isin(made.targets, signs)))
        spans = [piece[1:] for piece in pieces if len(piece) > 1]
        seen |= {said(span) for span in spans}
        assert 2 <= sum(map(len, spans)) <= 3
        assert np.array_equal(restored(made, signs), IDS)
    assert seen == {"for inviting", "to", "your", "last"}


def test_a_text_that_names_nothing_hides_spans_and_a_long_name_is_cut():
    ids = np.arange(100)
    nothing = Example(0, ids, channels={"salient": np.zeros(100, dtype=int)})
    plain, made = RandomSpans(SENTINELS)(nothing, random()), Salients(SENTINELS)(nothing, random())
    assert np.array_equal(plain.inputs, made.inputs)
    name = Example(0, ids, channels={"salient": np.array([0, 1, *[2] * 98])})
    cut = Salients(SENTINELS)(name, random())
    assert cut.targets.tolist() == [SENTINELS[0], *range(1, 16), SENTINELS[1]]
    with pytest.raises(ModeledgeError, match="E-MISSING-FIELD"):
        Salients(SENTINELS)(Example(0, ids), random())


def test_chosen_tokens_over_a_million():
    """Each for itself: a binomial count, and runs that are geometric with mean 1 / 0.85."""
    long = Example(0, np.arange(MILLION))
    inputs = Dropped()(long, random("drop")).inputs
    within(MILLION - len(inputs), MILLION, 0.15)
    made = Scattered(tuple(range(-200_000, 0)))(long, random("scattered"))
    hidden = MILLION - int((made.inputs >= 0).sum())
    spans = int((made.inputs < 0).sum())
    within(hidden, MILLION, 0.15)
    within(spans, MILLION, 0.15 * 0.85)
    vocab, specials = 50, (0, 1)
    ids = random("ids").integers(2, vocab, MILLION)
    hidden = Masked(1, as_random=0.1, vocab=vocab, specials=(0,))(Example(0, ids), random("mask")).inputs
    masks, other = int((hidden == 1).sum()), int(((hidden != 1) & (hidden != ids)).sum())
    within(masks, MILLION, 0.15 * 0.9)
    within(other, MILLION, 0.15 * 0.1 * 47 / 48)
    assert not np.isin(hidden, specials[:1]).any()


def test_mass_hides_one_half_and_tells_80_10_10():
    ids = random("ids").integers(2, 50, MILLION)
    damage = Fragment(1, vocab=50, specials=(0,))
    made = damage(Example(0, ids), random("mass"))
    assert len(made.targets) == MILLION // 2
    assert np.array_equal(made.targets, ids[made.begins :][: MILLION // 2])
    part = made.inputs[made.begins :][: MILLION // 2]
    within((part == 1).sum(), MILLION // 2, 0.8)
    within((part == made.targets).sum(), MILLION // 2, 0.1 + 0.1 / 48)
    assert np.array_equal(np.delete(made.inputs, np.arange(made.begins, made.begins + MILLION // 2)),
                          np.delete(ids, np.arange(made.begins, made.begins + MILLION // 2)))  # fmt: skip
    begins = [damage(Example(0, np.arange(10)), random(i)).begins for i in range(3000)]
    for start in range(6):
        within(begins.count(start), 3000, 1 / 6)


def test_a_prefix_ends_anywhere():
    cuts = [len(Split()(Example(0, np.arange(10)), random(i)).inputs) for i in range(4500)]
    assert set(cuts) == set(range(1, 10))
    for cut in range(1, 10):
        within(cuts.count(cut), 4500, 1 / 9)
    made = Split(0.3)(Example(0, np.arange(10)), random())
    assert (made.inputs.tolist(), made.targets.tolist()) == ([0, 1, 2], [3, 4, 5, 6, 7, 8, 9])


def test_deshuffling_moves_every_token_anywhere():
    seen = np.zeros((6, 6))
    for index in range(3600):
        made = Shuffled()(Example(0, np.arange(6)), random(index))
        assert made.targets.tolist() == [0, 1, 2, 3, 4, 5]
        seen[np.arange(6), made.inputs] += 1
    for count in seen.flat:
        within(count, 3600, 1 / 6)


def test_ul2_draws_the_seven_denoisers_alike():
    """Each is told by its mode and by how much it hides; [S] is the text's end, hidden whole."""
    damage, tokens = ul2(SENTINELS, (7000, 7001, 7002)), 512
    wanted = {}
    for mode, mean, rate in DENOISERS:
        inputs, targets = RandomSpans(SENTINELS, rate, mean).sizes(tokens)[0]
        wanted[({"[R]": 7000, "[S]": 7001, "[X]": 7002}[mode], inputs + 1, targets)] = 0
    assert len(wanted) == 7
    for index in range(3500):
        made = damage(Example(0, np.arange(tokens)), random(index))
        wanted[(int(made.inputs[0]), len(made.inputs), len(made.targets))] += 1
        if made.inputs[0] == 7001:
            assert made.inputs[1:].tolist() == [*range(384), SENTINELS[0]]
            assert made.targets.tolist() == [SENTINELS[0], *range(384, 512)]
    for count in wanted.values():
        within(count, 3500, 1 / 7)


def test_a_mixture_keeps_its_shares():
    mixed = ul2(SENTINELS, (1, 2, 3))
    damage = type(mixed)(mixed.ways[:2], (5, 6), (3.0, 1.0))
    first = [int(damage(Example(0, np.arange(30, 60)), random(i)).inputs[0]) for i in range(2000)]
    within(first.count(5), 2000, 0.75)


# ---- how long a text may be


def test_the_lengths_of_t5():
    """What the reference's `random_spans_helper` gives: 568 tokens make 512 inputs and 114 targets."""
    form = FORMS[0]
    damage = RandomSpans(SENTINELS)
    assert most_tokens(damage.sizes, form, 512) == 568
    inputs, targets = damage.sizes(568)[0]
    assert (inputs + 1, targets + 1) == (512, 114)
    assert most_tokens(RandomSpans(SENTINELS, 0.5, 3.0).sizes, form, 512) == helper_by_hand(512, 0.5, 3.0)


def helper_by_hand(length, rate, mean):
    """`random_spans_helper`: one longer, until the inputs are too long, or the targets."""

    def sizes(tokens):
        noise = round(tokens * rate)
        spans = round(noise / mean)
        return tokens - noise + spans + 1, noise + spans + 1

    tokens = length
    while sizes(tokens + 1)[0] <= length:
        tokens += 1
    return tokens - 1 if rate == 0.5 and sizes(tokens)[1] > length else tokens


WAYS = {
    "spans": RandomSpans(SENTINELS),
    "dense": RandomSpans(SENTINELS, 0.8, 2.0),
    "salient": Salients(SENTINELS),
    "scattered": Scattered(SENTINELS),
    "dropped": Dropped(),
    "masked": Masked(3),
    "shuffled": Shuffled(),
    "mass": Fragment(3, as_random=0.0),
    "split": Split(),
    "halves": Split(0.5),
    "ul2": ul2(SENTINELS, (7, 8, 9)),
}
FORMS = (
    Form("encoder-decoder", start=(0,), between=(1,), end=(1,)),
    Form("encoder-decoder", start=(1, 2), first=(2,), between=(1,), end=(1,)),
    Form("prefix", between=(1,), end=(1,)),
    Form("prefix"),
    Form("causal", first=(2,), between=(3, 4), end=(1,), whole=True),
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.kind}-{len(form.end)}-{len(form.first)}")
@pytest.mark.parametrize("way", WAYS)
def test_the_longest_text_fits_and_fills_the_row(way, form):
    """No example is longer than the row, whatever was drawn; with one token more some could be."""
    damage, length = WAYS[way], 96
    most = most_tokens(damage.sizes, form, length)
    longest = 0
    for index in range(60):
        for tokens in (most, most - index % 20):
            channels = {"salient": np.full(tokens, index % 3)}
            made = damage(Example(index, np.arange(20, 20 + tokens), channels=channels), random(index))
            ready = form.prepared(index, made.inputs, made.targets, begins=made.begins)
            longest = max(longest, *ready.lengths())
    assert longest <= length
    assert longest >= length - 1 or way in ("scattered", "dropped", "split", "ul2", "dense", "salient")
    assert max(form.length(*size) for size in damage.sizes(most + 1)) > length
    assert max(form.length(*size) for size in damage.sizes(most)) <= length


def test_chance_is_cut_where_it_goes_too_far():
    """5 standard deviations over the mean: with every token chosen the rest stays."""

    class Always:
        def random(self, count):
            return np.zeros(count)

        def integers(self, *_):
            return 0

    made = Dropped()(Example(0, np.arange(100)), Always())
    assert len(made.targets) == hidden_at_most(100, 0.15) == math.ceil(15 + 5 * math.sqrt(100 * 0.15 * 0.85)) == 33
    assert runs_at_most(100, 0.15) < hidden_at_most(100, 0.15)
    one = Dropped(1e-9)(Example(0, np.arange(5)), random())
    assert len(one.targets) == 1
    two = Dropped(1 - 1e-9)(Example(0, np.arange(2)), random())
    assert (len(two.inputs), len(two.targets)) == (1, 1)


# ---- bad input


def test_what_is_refused():
    with pytest.raises(ModeledgeError, match="E-SPECIAL-TOKEN: 25 sentinels are needed, 24 are there"):
        RandomSpans(SENTINELS[:24])(Example(0, np.arange(500)), random())
    for way in WAYS.values():
        for ids in ([], [4]):
            with pytest.raises(ModeledgeError, match="E-NO-TARGET: example 5"):
                way(Example(5, np.array(ids, dtype=np.int64)), random())
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: train\.length: 2 positions leave no room"):
        most_tokens(Masked(3).sizes, FORMS[0], 2)
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        Form("prefix", end=(1,), whole=True)
