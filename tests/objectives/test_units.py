"""What is hidden together: laws of lengths and places against exact counts, and statistics over a million tokens."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.objectives import (
    MaskedLM,
    MaskedPrepare,
    Readable,
    Runs,
    Salient,
    Single,
    ngrams,
    prepared,
    spans,
    whole_words,
)
from modeledge.objectives.units import LONGEST_WORD
from modeledge.records import Example
from modeledge.seed import Noise

VOCAB, PAD, CLS, SEP, MASK = 3000, 0, 1, 2, 3
SPECIALS = (PAD, CLS, SEP, MASK)


def text_of(begins, specials=(), salient=None):
    """A text whose token i begins a word where `begins[i]`; `specials` are places that may not be hidden."""
    places = np.array([i for i in range(len(begins)) if i not in specials], dtype=np.int64)
    channels = {"words": np.asarray(begins)[places]}
    if salient is not None:
        channels["salient"] = np.asarray(salient)[places]
    return Readable(places, channels)


def words_of(begins, specials=()):
    """Oracle: the words as lists of places, by one loop over the tokens."""
    words, behind = [], True
    for place, begin in enumerate(begins):
        if place in specials:
            behind = True
            continue
        if begin or behind:
            words.append([])
        words[-1].append(place)
        behind = False
    return words


def units_of(chosen):
    return [chosen.places[chosen.units == n].tolist() for n in range(int(chosen.units[-1]) + 1)]


# ---- laws


def test_the_laws_of_lengths_are_the_papers():
    assert spans().mean == pytest.approx(3.797, abs=5e-4)  # the paper prints 3.8
    weights = [Fraction(1, 5) * Fraction(4, 5) ** k for k in range(10)]
    assert spans().lengths == pytest.approx([float(w / sum(weights)) for w in weights], rel=1e-12)
    assert ngrams().lengths == pytest.approx([6 / 11, 3 / 11, 2 / 11], rel=1e-12)
    assert whole_words().lengths == (1.0,)


def runs_law(lengths, budget):
    """Oracle, in exact fractions: P(number of runs), from an offset of a renewal process that is under way."""
    mean = sum(Fraction(k + 1) * p for k, p in enumerate(lengths))
    at = {v: sum(lengths[v:]) / mean for v in range(len(lengths))}
    law, count = {}, 0
    while at:
        law[count] = sum(p for place, p in at.items() if place >= budget)
        following = {}
        for place, p in at.items():
            for k, share in enumerate(lengths):
                if place < budget:
                    following[place + k + 1] = following.get(place + k + 1, 0) + p * share
        at, count = following, count + 1
    return law, mean


@pytest.mark.parametrize("budget", [1, 2, 7, 15])
def test_the_expected_number_of_hidden_words_is_the_budget(budget):
    """The theorem that the draw rests on, in fractions; then the draw itself against the exact law of counts."""
    lengths = [Fraction(3, 8), Fraction(1, 8), Fraction(1, 2)]
    law, mean = runs_law(lengths, budget)
    assert sum(law.values()) == 1
    assert sum(count * p for count, p in law.items()) * mean == budget
    unit, words, trials = Runs(tuple(map(float, lengths))), 1000, 4000
    counts = np.zeros(words, dtype=int)
    for trial in range(trials):
        drawn = unit._drawn(words, budget / words + 1e-12, np.random.default_rng([budget, trial]))
        counts[len(drawn)] += 1
    told = {max(count, 1): Fraction(0) for count in law}
    for count, p in law.items():
        told[max(count, 1)] += p  # at least one
    assert counts.sum() == sum(counts[list(told)])
    for count, p in told.items():
        assert abs(counts[count] - trials * p) <= 4.5 * np.sqrt(trials * float(p * (1 - p))) + 1


def test_a_budget_that_is_no_whole_number_is_kept_in_the_mean():
    counts = [len(whole_words()._drawn(10, 0.25, np.random.default_rng(seed))) for seed in range(4000)]
    assert set(counts) == {2, 3}
    assert abs(counts.count(2) - 2000) <= 4.5 * np.sqrt(1000)


@pytest.mark.parametrize("apart", [True, False])
def test_places_are_uniform_among_all_arrangements(apart):
    """Two runs of two words among seven: each arrangement without overlap (apart: without touching) as often."""
    unit, trials = Runs((0.0, 1.0), apart=apart), 6000
    gap = 3 if apart else 2
    told = [pair for pair in combinations(range(6), 2) if pair[1] - pair[0] >= gap]
    seen = dict.fromkeys(told, 0)
    for trial in range(trials):
        seen[tuple(unit._placed(7, np.array([2, 2]), np.random.default_rng(trial)).tolist())] += 1
    assert len(seen) == len(told) == (6 if apart else 10)
    share = 1 / len(told)
    for count in seen.values():
        assert abs(count - trials * share) <= 4.5 * np.sqrt(trials * share * (1 - share))


UNITS = {"words": whole_words(), "ngrams": ngrams(), "spans": spans(), "salient": Salient()}


@pytest.mark.parametrize("name", UNITS)
@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.sampled_from([0, 0, 1, 2])), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.15, 0.5, 0.95]),
    st.integers(0, 99),
)
def test_units_are_whole(name, tokens, rate, seed):
    begins = [begin for begin, _, _ in tokens]
    special = {place for place, (_, kind, _) in enumerate(tokens) if kind == 0}
    salient = [mark for *_, mark in tokens]
    if len(special) == len(tokens):
        return
    text = text_of(begins, special, salient)
    chosen = UNITS[name].choose(text, rate, np.random.default_rng(seed))
    places, count = chosen.places.tolist(), len(text.places)
    assert places == sorted(set(places))
    assert set(places) <= set(text.places.tolist())
    assert 1 <= len(places) < max(count, 2)
    for unit in units_of(chosen):
        assert unit == list(range(unit[0], unit[-1] + 1))  # no special token within
    words = words_of(begins, special)
    if all(len(word) <= max(1, min(LONGEST_WORD, count // 2)) for word in words):
        hidden = set(places)
        if name != "salient" or not any(m for p, m in enumerate(salient) if p not in special):
            assert all(hidden >= set(word) or not hidden & set(word) for word in words)


def test_spans_stand_apart_while_there_is_room():
    begins = np.random.default_rng(0).random(200) < 0.7
    begins[0] = True
    words = words_of(begins)
    number = {place: n for n, word in enumerate(words) for place in word}
    for seed in range(200):
        chosen = spans().choose(text_of(begins), 0.15, np.random.default_rng(seed))
        ends = [(number[unit[0]], number[unit[-1]]) for unit in units_of(chosen)]
        assert all(b[0] - a[1] >= 2 for a, b in pairwise(ends))


# ---- short, endless and odd texts


def test_a_text_shorter_than_a_span():
    """Something is always hidden, something can always be read; of one token that one."""
    for words in range(1, 12):
        for seed in range(30):
            random = np.random.default_rng(seed)
            hidden = len(spans().choose(text_of([True] * words), 0.15, random).places)
            assert 1 <= hidden <= max(1, words // 2)


@pytest.mark.parametrize("size", [2, 9, 512])
def test_a_document_without_a_word_boundary_is_cut(size):
    for unit in (whole_words(), spans(), ngrams()):
        for seed in range(20):
            chosen = unit.choose(text_of([True] + [False] * (size - 1)), 0.15, np.random.default_rng(seed))
            assert 1 <= len(chosen.places) <= (size + 1) // 2
            assert size < 100 or len(chosen.places) % LONGEST_WORD == 0


def test_salient_spans_are_hidden_whole():
    marks = [0, 1, 2, 0, 1, 1, 2, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    found, groups = set(), {(1, 2), (4,), (5, 6, 7), (9,)}  # the last began before the example
    for seed in range(60):
        chosen = Salient().choose(text_of([True] * 18, (), marks), 0.2, np.random.default_rng(seed))
        units = set(map(tuple, units_of(chosen)))
        assert units <= groups
        assert len(chosen.places) <= round(0.2 * 18)
        found |= units
    assert found == groups
    none = Salient().choose(text_of([True] * 18, (), [0] * 18), 0.2, np.random.default_rng(0))
    assert 1 <= len(none.places) <= 9


def test_a_span_does_not_cross_a_special_token():
    unit = Runs((0.0, 0.0, 0.0, 1.0), apart=True, together=True)
    for seed in range(40):
        chosen = unit.choose(text_of([True] * 9, {4}), 0.3, np.random.default_rng(seed))
        assert 4 not in chosen.places
        assert all(unit == list(range(unit[0], unit[-1] + 1)) for unit in units_of(chosen))


def test_shards_without_the_channel_are_refused():
    prepare = MaskedPrepare(VOCAB, MASK, SPECIALS, unit=spans())
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD: .*no channel 'words'; .*channels = \[\"words\"\]"):
        prepared(MaskedLM(prepare), Example(0, np.arange(9)), Noise(0))


@pytest.mark.parametrize("edges", [{}, {"cls": CLS, "sep": SEP}])
def test_channels_stand_beside_their_tokens(edges):
    """Also where [CLS] moves them by one: words of a pair of tokens are hidden as pairs."""
    objective = MaskedLM(MaskedPrepare(VOCAB, MASK, SPECIALS, unit=whole_words(), **edges))
    for index in range(40):
        example = Example(index, np.arange(10, 50), channels={"words": np.tile([1, 0], 20)})
        told = prepared(objective, example, Noise(0))
        at = told.reads["lm"] - len(edges) // 2
        assert np.array_equal(at[::2] + 1, at[1::2])
        assert not (at[::2] % 2).any()
        assert told.labels["lm"].tolist() == example.ids[at].tolist()


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("the mask rate is 0; nothing would be learned", lambda: MaskedPrepare(9, 3, rate=0)),
        ("the mask rate is 1; nothing would be left to read", lambda: MaskedPrepare(9, 3, rate=1)),
        ("no shares", lambda: MaskedPrepare(9, 3, as_mask=0.8, as_random=0.3)),
        ("no shares", lambda: MaskedPrepare(9, 3, as_mask=-0.1)),
        ("masks is 0", lambda: MaskedPrepare(9, 3, masks=0)),
        ("no probabilities", lambda: Runs((0.5, 0.4))),
        ("no probabilities", lambda: Runs(())),
        ("longest is 0", lambda: spans(longest=0)),
        ("longest is 0", lambda: ngrams(0)),
        ("p is 1", lambda: spans(p=1)),
    ],
)
def test_values_that_make_no_mask(code, make):
    with pytest.raises(ModeledgeError, match=f"E-CONFIG-VALUE: .*{code}"):
        make()


# ---- statistics over a million tokens

EXAMPLES, LENGTH = 1954, 512  # 1,000,448 tokens


@pytest.fixture(scope="module")
def corpus():
    """Words of 1 to 5 tokens, and the number of the word of each token, `[examples, tokens]`."""
    random = np.random.default_rng(7)
    ids = random.integers(4, VOCAB, (EXAMPLES, LENGTH))
    begins = random.random((EXAMPLES, LENGTH)) < 0.7
    begins[:, 0] = True
    return ids, begins


def masked(corpus, unit):
    """For each example its ids before and after, the places chosen, and its runs as (first word, words)."""
    ids, begins = corpus
    objective = MaskedLM(MaskedPrepare(VOCAB, MASK, SPECIALS, unit=unit))
    for index in range(EXAMPLES):
        example = Example(index, ids[index], channels={"words": begins[index].astype(np.uint8)})
        told = prepared(objective, example, Noise(11))
        yield ids[index], told.source.ids, told.reads["lm"], np.cumsum(begins[index]) - 1


def within(count, trials, share, sigma=3.0):
    assert trials > 1000
    bound = sigma * np.sqrt(trials * share * (1 - share))
    assert abs(count - trials * share) <= bound, (count / trials, share, bound / trials)


@pytest.mark.parametrize("name", ["token", "words", "ngrams", "spans"])
def test_fifteen_percent_of_a_million_tokens(corpus, name):
    unit = {"token": Single(), **UNITS}[name]
    share = np.array([len(at) / LENGTH for _, _, at, _ in masked(corpus, unit)])
    if name == "token":
        assert set(share) == {77 / 512}
        return
    assert abs(share.mean() - 0.15) <= 3 * share.std() / np.sqrt(EXAMPLES)
    assert share.std() / np.sqrt(EXAMPLES) < 5e-4  # a rate of 15.2 % would be seen


def test_lengths_of_spans_over_a_million_tokens(corpus):
    """Read off the masks: runs of whole words between words that can be read. Geo(0.2) up to 10, mean 3.8."""
    seen = np.zeros(11, dtype=int)
    for _, _, at, words in masked(corpus, spans()):
        hidden = np.unique(words[at])
        runs = np.split(hidden, np.flatnonzero(np.diff(hidden) > 1) + 1)
        for run in runs:
            seen[len(run)] += 1
        assert not set(words[at]) & set(np.delete(words, at))  # whole words
    trials, law = seen.sum(), 0.2 * 0.8 ** np.arange(10)
    for words, share in enumerate(law / law.sum(), 1):
        within(seen[words], trials, share)
    lengths = np.arange(1, 11)
    mean, told = (seen[1:] * lengths).sum() / trials, (law * lengths).sum() / law.sum()
    spread = np.sqrt((law * (lengths - told) ** 2).sum() / law.sum() / trials)
    assert told == pytest.approx(3.8, abs=0.005)
    assert abs(mean - told) <= 3 * spread < 0.05


def test_lengths_of_ngrams_follow_their_law(corpus):
    drawn = np.zeros(4, dtype=int)
    for seed in range(4000):
        lengths = ngrams()._drawn(300, 0.15, np.random.default_rng(seed))
        drawn += np.bincount(lengths, minlength=4)
    for n, share in enumerate((6 / 11, 3 / 11, 2 / 11), 1):
        within(drawn[n], drawn.sum(), share)


@pytest.mark.parametrize("name", ["token", "words", "ngrams"])
def test_eighty_ten_ten_is_drawn_token_by_token(corpus, name):
    """Also under whole-word masking: in words of several tokens the fates are independent."""
    unit = {"token": Single(), **UNITS}[name]
    fates, pairs, same = np.zeros(3, dtype=int), 0, 0
    for before, after, at, words in masked(corpus, unit):
        fate = np.where(after[at] == MASK, 0, np.where(after[at] == before[at], 2, 1))
        fates += np.bincount(fate, minlength=3)
        neighbours = (np.diff(at) == 1) & (np.diff(words[at]) == 0)
        pairs += int(neighbours.sum())
        same += int(((np.diff(fate == 0) == 0) & neighbours).sum())
    trials, hit = fates.sum(), 0.1 / (VOCAB - 4)  # a random token that is the old one looks as if it stayed
    within(fates[0], trials, 0.8)
    within(fates[1], trials, 0.1 - hit)
    within(fates[2], trials, 0.1 + hit)
    within(same, pairs, 0.8**2 + 0.2**2)


def test_eighty_ten_ten_is_drawn_span_by_span(corpus):
    fates = np.zeros(3, dtype=int)
    replaced = set()
    for before, after, at, _ in masked(corpus, spans()):
        for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
            as_mask, stays = after[run] == MASK, after[run] == before[run]
            assert as_mask.all() or not as_mask.any()
            kind = 0 if as_mask.all() else 2 if stays.all() else 1
            assert kind != 1 or stays.mean() < 0.9 or len(run) < 3
            fates[kind] += 1
            if kind == 1 and len(run) > 2:
                replaced.add(len(set(after[run].tolist())) > 1)
    trials = fates.sum()
    for kind, share in enumerate((0.8, 0.1, 0.1)):
        within(fates[kind], trials, share)
    assert replaced == {True}  # each token of a replaced span is drawn for itself


# ---- static and dynamic


def mask_of(objective, epoch, index=5, seed=1):
    told = prepared(objective, Example(index, np.arange(10, 110), epoch=epoch), Noise(seed))
    return tuple(told.reads["lm"].tolist()), tuple(told.source.ids.tolist())


@pytest.mark.parametrize("masks", [1, 10])
def test_static_masks_come_again(masks):
    objective = MaskedLM(MaskedPrepare(VOCAB, MASK, SPECIALS, masks=masks))
    seen = [mask_of(objective, epoch) for epoch in range(40)]
    assert len(set(seen)) == masks
    assert seen == (seen[:masks] * 40)[:40]
    assert mask_of(objective, 0, index=6) != seen[0] != mask_of(objective, 0, seed=2)
    dynamic = MaskedLM(MaskedPrepare(VOCAB, MASK, SPECIALS))
    assert len({mask_of(dynamic, epoch) for epoch in range(40)}) == 40
    assert [mask_of(dynamic, epoch) for epoch in range(masks)] == seen[:masks]


@pytest.mark.parametrize("unit", [Single(), whole_words(), spans()])
def test_something_is_left_to_read_however_high_the_rate(unit):
    for words in range(2, 60):
        chosen = unit.choose(text_of([1] * words), 0.99, Noise(words).generator())
        assert 1 <= len(chosen.places) < words
