"""Tags that spell spans, and sequences of tags where neighbours have a say; oracles that list every sequence."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.tasks.decode import Steps, marginals, viterbi
from modeledge.tasks.schemes import (
    OUTSIDE,
    REFUSED,
    SCHEMES,
    breaks,
    legal_steps,
    scheme_of,
    spans_of,
    split,
    tags_of,
)


def names_of(scheme: str, types: str = "XY") -> list[str]:
    return [OUTSIDE, *(f"{letter}-{kind}" for kind in types for letter in sorted(SCHEMES[scheme].letters))]


@st.composite
def spans(draw: st.DrawFn) -> tuple[list[tuple[int, int, str]], int]:
    """Spans that do not overlap, beside each other or apart."""
    out, at = [], 0
    for gap, size, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from("XY")), max_size=5)
    ):
        out.append((at + gap, at + gap + size, kind))
        at += gap + size
    return out, at + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(spans())
def test_spans_survive_their_tags(scheme: str, told: tuple[list[tuple[int, int, str]], int]) -> None:
    chosen, size = told
    tags = tags_of(chosen, size, SCHEMES[scheme])
    assert len(tags) == size
    assert spans_of(tags) == chosen
    assert not size or breaks(SCHEMES[scheme], tags) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_legal_is_what_spans_spell(scheme: str) -> None:
    """Every list of four tags: the scheme allows it just where some spans spell it."""
    kind, names = SCHEMES[scheme], names_of(scheme)
    for tags in product(names, repeat=4):
        spelled = tags_of(spans_of(tags), 4, kind) == list(tags)
        assert (breaks(kind, tags) == []) is spelled, tags


def test_a_broken_tag_is_counted_once_where_it_stands() -> None:
    assert breaks(SCHEMES["bio"], ["O", "I-X", "I-X", "B-Y", "I-X"]) == [1, 4]
    assert breaks(SCHEMES["iobes"], ["B-X", "O", "S-X", "B-Y"]) == [1, 3]  # the last span is left open


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ("O I-X I-X", [(1, 3, "X")]),  # as conlleval: an I after O begins
        ("B-X I-Y", [(0, 1, "X"), (1, 2, "Y")]),
        ("B-X B-X I-X", [(0, 1, "X"), (1, 3, "X")]),
        ("I-X O I-X", [(0, 1, "X"), (2, 3, "X")]),
        ("B-X E-X I-X", [(0, 2, "X"), (2, 3, "X")]),
        ("S-X S-X E-Y", [(0, 1, "X"), (1, 2, "X"), (2, 3, "Y")]),
        ("B-per-son O", [(0, 1, "per-son")]),
        ("O O", []),
    ],
)
def test_broken_tags_are_read_as_conlleval_reads_them(tags: str, told: list[tuple[int, int, str]]) -> None:
    assert spans_of(tags.split()) == told


def test_spans_are_seqevals() -> None:
    """Every list of four tags of BIO and of IOBES, broken ones too."""
    seqeval = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="seqeval is not installed")
    for scheme in ("bio", "iobes"):
        for tags in product(names_of(scheme), repeat=4):
            told = [(first, last + 1, kind) for kind, first, last in seqeval.get_entities(list(tags))]
            assert spans_of(tags) == told, tags


def test_schemes_are_inferred() -> None:
    def name(*tags: str, asked: str | None = None) -> str | None:
        scheme = scheme_of(tags, asked)
        return None if scheme is None else scheme.name

    assert name("O", "B-X", "I-X") == "bio"
    assert name("B-NP", "I-NP") == "bio"
    assert name("O", "B-X", "E-X") == name("S-X", "B-X", "I-X", "E-X") == "iobes"
    assert name("U-X", "L-X", "B-X") == "bilou"
    assert name("B-X", "M-X", "E-X") == "bmes"
    assert name("O", "B-X", asked="iobes") == "iobes"
    assert name("NOUN", "O", "-LRB-", "PRP$") is name("B-X", "MISC", asked="none") is None
    assert split("B-a-b") == ("B", "a-b")


@pytest.mark.parametrize(
    ("tags", "asked", "words"),
    [
        (("O", "B-X", "MISC"), None, "'MISC' has no prefix"),
        (("O", "X-PER", "Z-PER"), None, "X, Z"),
        (("O", "B-X", "E-X"), "bio", "the scheme bio"),
        (("NOUN", "O"), "bio", "'NOUN' has no prefix"),
    ],
)
def test_an_unknown_scheme_is_refused(tags: tuple[str, ...], asked: str | None, words: str) -> None:
    with pytest.raises(ModeledgeError, match="E-TAG-SCHEME") as caught:
        scheme_of(tags, asked)
    assert words in str(caught.value)
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE.*'bioes'.*iobes"):
        scheme_of(tags, "bioes")


# ---- decoding


def listed(scores: np.ndarray, steps: Steps) -> dict[tuple[int, ...], float]:
    """Every sequence with its sum."""
    out = {}
    for path in product(range(scores.shape[1]), repeat=len(scores)):
        told = sum(scores[t, k] for t, k in enumerate(path)) + sum(steps.between[a, b] for a, b in pairwise(path))
        out[path] = float(told + steps.start[path[0]] + steps.end[path[-1]])
    return out


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 30.0]))
def test_decoding_agrees_with_every_sequence(words: int, tags: int, seed: int, size: float) -> None:
    random = np.random.default_rng(seed)
    scores = size * random.normal(size=(words, tags))
    steps = Steps(*(size * random.normal(size=shape) for shape in (tags, (tags, tags), tags)))
    every = listed(scores, steps)
    assert tuple(viterbi(scores, steps).tolist()) == max(every, key=every.__getitem__)
    paths, sums = np.array(list(every)), np.array(list(every.values()))
    shares = np.exp(sums - sums.max())
    shares /= shares.sum()
    told = np.stack([np.bincount(paths[:, t], weights=shares, minlength=tags) for t in range(words)])
    assert np.allclose(marginals(scores, steps), told, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_illegal_step_is_answered(scheme: str) -> None:
    names, kind = names_of(scheme), SCHEMES[scheme]
    steps, random = legal_steps(names, kind), np.random.default_rng(0)
    broken = 0
    for _ in range(200):
        scores = 5 * random.normal(size=(random.integers(1, 9), len(names)))
        assert breaks(kind, [names[n] for n in viterbi(scores, steps)]) == []
        broken += breaks(kind, [names[n] for n in scores.argmax(-1)]) != []
        assert marginals(scores, steps).sum(-1) == pytest.approx(1.0)
    assert broken > 100  # the best tags alone break it


def test_where_no_sequence_is_legal_the_least_broken_is_answered() -> None:
    names = ["I-X", "B-X"]
    steps = legal_steps(names, SCHEMES["iobes"])  # no E-X: whatever ends here is left open
    scores = np.array([[9.0, 0.0], [0.0, 9.0]])
    told = viterbi(scores, steps)
    assert [names[n] for n in told] == ["B-X", "I-X"]
    assert np.isfinite(marginals(scores, steps)).all()
    assert REFUSED < -1e5
