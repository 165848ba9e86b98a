"""BART's five noises: the paper's figure, loops beside them, Poisson counts over a million tokens."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.objectives import Bart
from modeledge.objectives.bart import filled_in, permuted, sentences_of, span_lengths
from modeledge.records import Example
from modeledge.seed import Noise

LETTERS = "ABC.DE._"
IDS, MASK, MILLION = np.arange(7), 7, 1_000_000
STARTS = np.array([1, 0, 0, 0, 1, 0, 0])
NOTHING = {"infill": 0.0, "permute": 0.0}


def random(*keys):
    return Noise(4).at("bart", *keys).generator()


def said(ids):
    return "".join(LETTERS[i] for i in ids)


def outcomes(**noise):
    """All that a noise makes of the figure's text, in 400 draws."""
    damage = Bart(MASK, **{**NOTHING, **noise})
    example = Example(0, IDS, channels={"sentences": STARTS})
    made = [damage(example, random(index)) for index in range(400)]
    assert all(one.targets.tolist() == IDS.tolist() for one in made)
    return {said(one.inputs) for one in made}


def within(count, trials, share):
    """Within 3 standard deviations of a binomial mean."""
    assert abs(count - trials * share) <= 3 * math.sqrt(trials * share * (1 - share)), (count / trials, share)


def test_figure_2():
    """Each of the paper's five examples is one of what the noise makes, and what it makes is of that kind."""
    masked, deleted = outcomes(masking=0.3), outcomes(delete=0.3)
    assert "A_C._E." in masked
    assert all(len(one) == 7 and "_" in one for one in masked)
    assert "AC.E." in deleted  # the paper prints A.C.E., with a full stop that its text does not have
    assert all("_" not in one and len(one) < 7 for one in deleted)
    assert outcomes(permute=1.0) == {"ABC.DE.", "DE.ABC."}
    rotated = outcomes(rotate=1.0)
    assert "C.DE.AB" in rotated
    assert rotated == {LETTERS[i:7] + LETTERS[:i] for i in range(7)}
    assert "A_.D_E." in outcomes(infill=0.3)
    assert said(filled_in(IDS, np.array([1, 4]), np.array([2, 0]), MASK)) == "A_.D_E."


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 20), st.integers(0, 1000))
def test_spans_are_filled_in_one_by_one(lengths, kept, seed):
    """By hand: a list of spans and tokens in their order, walked from left to right."""
    ids, lengths = np.arange(sum(lengths) + kept), np.array(lengths)
    places = np.sort(random(seed).choice(kept + len(lengths), len(lengths), replace=False))
    out, at, spans = [], 0, dict(zip(places.tolist(), lengths.tolist(), strict=True))
    for item in range(kept + len(lengths)):
        if item in spans:
            out.append(-1)
            at += spans[item]
        else:
            out.append(int(ids[at]))
            at += 1
    assert at == len(ids)
    assert filled_in(ids, places, lengths, -1).tolist() == out


def test_poisson_lengths_over_a_million_tokens():
    """The share is exact, lengths are Poisson(3) with their zeros, and every place is as likely."""
    lengths = span_lengths(MILLION, 0.3, 3.0, random())
    assert lengths.sum() == 300_000
    count = len(lengths)
    assert abs(lengths.mean() - 3.0) <= 3 * math.sqrt(3.0 / count)
    for length in range(10):
        within((lengths == length).sum(), count, math.exp(-3) * 3**length / math.factorial(length))
    made = Bart(-1, permute=0.0)(Example(0, np.arange(MILLION)), random())
    masks = int((made.inputs == -1).sum())
    assert len(made.inputs) - masks == 700_000
    within(masks, 1_000_000, 0.1)
    front = np.flatnonzero(made.inputs == -1) < len(made.inputs) // 2
    within(front.sum(), masks, 0.5)


def test_short_texts_do_not_grow():
    for tokens in range(2, 12):
        example = Example(0, np.arange(tokens))
        made = [Bart(-1, permute=0.0)(example, random(index, tokens)) for index in range(300)]
        assert all(len(one.inputs) <= tokens for one in made)
        assert all((one.inputs >= 0).sum() == tokens - max(round(0.3 * tokens), 1) for one in made)
        assert any((np.diff(np.flatnonzero(one.inputs < 0)) == 1).any() for one in made) is (tokens > 4)


def test_every_order_of_sentences_is_as_likely():
    seen = dict.fromkeys(permutations(range(3)), 0)
    for index in range(3000):
        told = permuted(np.arange(9), np.array([0, 2, 5]), random(index)).tolist()
        heads = [told.index(i) for i in (0, 2, 5)]
        seen[tuple(np.argsort(heads).tolist())] += 1
        assert sorted(told) == list(range(9))
    for count in seen.values():
        within(count, 3000, 1 / 6)


def test_masking_and_deletion_over_a_million_tokens():
    example = Example(0, np.arange(MILLION))
    masked = Bart(-1, **{**NOTHING, "masking": 0.15})(example, random("mask")).inputs
    within((masked == -1).sum(), MILLION, 0.15)
    deleted = Bart(-1, **{**NOTHING, "delete": 0.15})(example, random("delete")).inputs
    within(MILLION - len(deleted), MILLION, 0.15)
    assert (np.diff(deleted) > 0).all()


def test_all_together_the_target_is_the_text():
    damage = Bart(-1, masking=0.1, delete=0.1, rotate=0.5)
    ids = np.arange(60)
    example = Example(0, ids, channels={"sentences": (ids % 7 == 3).astype(np.uint8)})
    made = [damage(example, random(index)) for index in range(50)]
    assert all(one.targets.tolist() == ids.tolist() for one in made)
    assert all(len(one.inputs) <= 60 for one in made)
    assert len({tuple(one.inputs.tolist()) for one in made}) == 50
    assert sentences_of(example).tolist() == [0, 3, 10, 17, 24, 31, 38, 45, 52, 59]


def test_permutation_needs_the_channel():
    assert Bart(MASK).channels == {"sentences"}
    assert not Bart(MASK, permute=0.0).channels
    with pytest.raises(ModeledgeError, match="E-CONFIG: example 3: nothing says where sentences begin"):
        Bart(MASK)(Example(3, IDS), random())
