"""Masking: how many, which, disguised as what; counted over many examples against the binomial law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.objectives import MaskedLM, MaskedPrepare, prepared
from modeledge.records import Example
from modeledge.seed import Noise

VOCAB = 40
PAD, CLS, SEP, MASK, UNK = range(5)
SPECIALS = (PAD, CLS, SEP, MASK, UNK)
PLAIN = MaskedPrepare(VOCAB, MASK, SPECIALS)
WRAPPED = MaskedPrepare(VOCAB, MASK, SPECIALS, cls=CLS, sep=SEP)


def item(prepare, ids, index=0, epoch=0, seed=1):
    return prepared(MaskedLM(prepare), Example(index, np.asarray(ids), epoch=epoch), Noise(seed))


def likely(count, trials, share):
    """A count within 5 standard deviations of its binomial mean: a right one fails once in two million."""
    assert trials > 500
    assert abs(count - trials * share) <= 5 * math.sqrt(trials * share * (1 - share)), (count / trials, share)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=40),
    st.sampled_from([0.01, 0.15, 0.5, 0.99]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_what_is_chosen_and_what_is_told(ids, rate, wrap, index):
    prepare = MaskedPrepare(VOCAB, MASK, SPECIALS, rate=rate, cls=CLS if wrap else None, sep=SEP if wrap else None)
    whole = [CLS, *ids, SEP] if wrap else ids
    ordinary = [place for place, i in enumerate(whole) if i not in SPECIALS]
    before = list(ids)
    if not ordinary:
        with pytest.raises(ModeledgeError, match=f"E-NO-TARGET: example {index}:"):
            item(prepare, ids, index)
        return
    found = item(prepare, ids, index)
    chosen = found.reads["lm"].tolist()
    assert ids == before
    assert found.target is None
    assert len(chosen) == max(1, min(round(rate * len(ordinary)), len(ordinary) - 1))
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(ordinary)
    assert found.labels["lm"].tolist() == [whole[place] for place in chosen]
    assert found.weights["lm"].tolist() == [1.0] * len(chosen)
    assert len(found.source.ids) == len(whole)
    for place, now in enumerate(found.source.ids.tolist()):
        if place not in chosen:
            assert now == whole[place]
        else:
            assert now == MASK or now not in SPECIALS
            assert now < VOCAB


def many(prepare, count=400, length=60, epoch=0):
    """(before, after, chosen) of many examples of random ordinary ids."""
    random = np.random.default_rng(8)
    for index in range(count):
        ids = random.integers(len(SPECIALS), VOCAB, length)
        found = item(prepare, ids, index, epoch)
        yield ids, found.source.ids, found.reads["lm"]


def test_fifteen_percent_are_chosen():
    assert sum(len(chosen) for _, _, chosen in many(PLAIN)) == 400 * round(0.15 * 60)


def test_eighty_ten_ten():
    """A random token is by chance the old one in 1 of 35 cases: these look as if they had stayed."""
    kept = masked = other = 0
    drawn = np.zeros(VOCAB, dtype=int)
    for ids, now, chosen in many(PLAIN):
        for place in chosen:
            masked += now[place] == MASK
            kept += now[place] == ids[place]
            if now[place] not in (MASK, ids[place]):
                other += 1
                drawn[now[place]] += 1
    trials, ordinary = kept + masked + other, VOCAB - len(SPECIALS)
    likely(masked, trials, 0.8)
    likely(kept, trials, 0.1 + 0.1 / ordinary)
    likely(other, trials, 0.1 * (1 - 1 / ordinary))
    assert not drawn[: len(SPECIALS)].any()
    assert (drawn[len(SPECIALS) :] > 0).mean() > 0.9  # 360 draws of 35 ids: spread, not stuck


@pytest.mark.parametrize(("as_mask", "as_random"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.5)])
def test_other_shares(as_mask, as_random):
    prepare = MaskedPrepare(VOCAB, MASK, SPECIALS, as_mask=as_mask, as_random=as_random)
    masked = moved = trials = 0
    for ids, now, chosen in many(prepare, count=100):
        trials += len(chosen)
        masked += int((now[chosen] == MASK).sum())
        moved += int((now[chosen] != ids[chosen]).sum())
    if 0 < as_mask < 1:
        likely(masked, trials, as_mask)
    else:
        assert masked == trials * as_mask
    if as_mask == as_random == 0.0:
        assert moved == 0


def test_every_place_is_as_likely():
    times = np.zeros(20, dtype=int)
    for index in range(2000):
        times[item(PLAIN, np.arange(10, 30), index).reads["lm"]] += 1
    for count in times:
        likely(int(count), 2000, 3 / 20)


def test_random_tokens_are_uniform():
    prepare = MaskedPrepare(VOCAB, MASK, SPECIALS, rate=0.9, as_mask=0.0, as_random=1.0)
    drawn = np.zeros(VOCAB, dtype=int)
    for _, now, chosen in many(prepare, count=200):
        drawn += np.bincount(now[chosen], minlength=VOCAB)
    assert not drawn[: len(SPECIALS)].any()
    for count in drawn[len(SPECIALS) :]:
        likely(int(count), int(drawn.sum()), 1 / (VOCAB - len(SPECIALS)))


def test_masking_is_dynamic():
    """Another mask each epoch, each example and each seed; the same one for the same three."""
    ids = np.arange(5, 40)
    told = item(WRAPPED, ids, index=3, epoch=1)
    again = item(WRAPPED, ids, index=3, epoch=1)
    assert told.source.ids.tolist() == again.source.ids.tolist()
    seen = {
        tuple(item(WRAPPED, ids, index=index, epoch=epoch, seed=seed).reads["lm"].tolist())
        for index in range(4)
        for epoch in range(4)
        for seed in range(3)
    }
    assert len(seen) == 4 * 4 * 3


def test_over_epochs_every_token_is_masked_once():
    ids = np.arange(5, 25)
    seen = {int(place) for epoch in range(60) for place in item(PLAIN, ids, epoch=epoch).reads["lm"]}
    assert seen == set(range(20))


def test_the_tokens_that_masking_itself_adds_are_special():
    """Also where the list of specials forgets them: [CLS] is no target, [MASK] no random token."""
    prepare = MaskedPrepare(6, 3, (), rate=0.9, as_mask=0.0, as_random=1.0, cls=1, sep=2)
    for index in range(200):
        found = item(prepare, [0, 4, 5, 0, 4], index)
        assert found.source.ids[0] == 1
        assert found.source.ids[-1] == 2
        assert not set(found.source.ids[1:-1].tolist()) & {1, 2, 3}
