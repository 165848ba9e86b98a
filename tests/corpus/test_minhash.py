"""Shingles, signatures and bands: each against a plain reading of its definition, and recall against its formula."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.minhash import CHUNK, PRESETS, Near, band_keys, make_near, signatures
from modeledge.corpus.shingles import BLOCK, LONGEST, Shingles, Shingling, distinct, hashed_runs, jaccard, shingle
from modeledge.errors import ModeledgeError

TEXT = st.text(alphabet="aB c.\n'é\u0301\u2014ß\u00a0\U0001d54f\x00-", max_size=30)


def slow_shingles(text: str, config: Shingling) -> list[object]:
    """The shingles as their definition says them, in Python."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    if not config.punctuation:
        text = "".join(c for c in text if unicodedata.category(c)[0] not in "PS")
    words = "".join(" " if c.isspace() or c <= " " else c for c in text).split()
    units = words if config.unit == "word" else list(" ".join(words))
    last = max(len(units) - config.n + 1, min(len(units), 1))
    return [tuple(units[i : i + config.n]) for i in range(last)]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXT, max_size=6), st.sampled_from(["word", "character"]), st.integers(1, 4), st.booleans())
def test_shingles_are_equal_where_their_units_are(texts: list[str], unit: str, n: int, punctuation: bool) -> None:
    config = Shingling(unit=unit, n=n, punctuation=punctuation)  # type: ignore[arg-type]
    found, wanted = shingle(texts, config), [slow_shingles(text, config) for text in texts]
    assert np.diff(found.offsets).tolist() == [len(some) for some in wanted]
    numbers: dict[object, set[int]] = {}
    for value, units in zip(found.values.tolist(), [u for some in wanted for u in some], strict=True):
        numbers.setdefault(units, set()).add(value)
    assert all(len(values) == 1 for values in numbers.values())
    assert len({min(values) for values in numbers.values()}) == len(numbers)


def test_a_shingle_has_one_number_wherever_it_stands() -> None:
    """Across the blocks in which sums are taken, and behind words longer than one is known by."""
    phrase = "the quick brown fox jumps"
    filler = "".join(f"w{i} " for i in range(BLOCK // 4))
    texts = [phrase, filler + phrase, "x" * (2 * BLOCK + 17) + " " + phrase, ("y" * (LONGEST - 5) + " ") * 9 + phrase]
    found = shingle(texts, Shingling())
    assert len({int(found.of(i)[-1]) for i in range(4)}) == 1
    runs = hashed_runs(np.ones(9, np.uint8), np.array([0, 4, 4, 9]), np.array([3, 4, 7, 9]))
    assert runs[0] == runs[2] != 0 == runs[1] == runs[3]  # empty runs are 0


def test_jaccard_is_that_of_sets() -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        a, b = (chance.integers(0, 20, chance.integers(0, 12)).astype(np.uint64) for _ in range(2))
        first, second = set(a.tolist()), set(b.tolist())
        wanted = len(first & second) / max(1, len(first | second))
        assert jaccard(distinct(a), distinct(b)) == wanted
    assert jaccard(distinct(a[:0]), distinct(b[:0])) == 0


def test_a_signature_is_the_least_image_whatever_stands_beside() -> None:
    chance = np.random.default_rng(1)
    sizes = [3, 0, CHUNK + 5, 1, 0, 2 * CHUNK, 40, 0]
    values = chance.integers(0, 1 << 63, sum(sizes)).astype(np.uint64) * np.uint64(2)
    shingles = Shingles(values, np.cumsum([0, *sizes]))
    near = Near(bands=3, rows=2)
    found = signatures(shingles, near)
    for document in range(len(sizes)):
        alone = Shingles(shingles.of(document), np.array([0, sizes[document]]))
        assert np.array_equal(signatures(alone, near)[:, 0], found[:, document])
    one = shingles.of(0) >> np.uint64(32)
    factor = signatures(Shingles(np.array([1 << 32], np.uint64), np.array([0, 1])), near)[:, 0].astype(np.uint64)
    assert found[:, 0].tolist() == ((one[None] * factor[:, None]) % (1 << 32)).min(1).tolist()
    assert set(found[:, 1].tolist()) == {2**32 - 1}


def pairs_of(similarity: float, count: int, size: int, chance: np.random.Generator) -> tuple[Shingles, float]:
    """`count` pairs of sets of random shingles with one exact similarity near the asked one: document 2i beside 2i+1.

    Two sets of `size` that share s have J = s / (2·size − s).
    """
    shared = round(2 * size * similarity / (1 + similarity))
    drawn = chance.integers(0, 1 << 63, (count, 2 * size - shared)).astype(np.uint64) * np.uint64(2)
    first, second = drawn[:, :size], drawn[:, size - shared :]
    values = np.stack([first, second], 1).reshape(-1)
    exact = [jaccard(distinct(first[i]), distinct(second[i])) for i in range(3)]
    assert exact == [shared / (2 * size - shared)] * 3
    return Shingles(values, np.arange(2 * count + 1) * size), exact[0]


@pytest.mark.parametrize(("bands", "rows"), [(14, 8), (32, 4), (5, 2)])
@pytest.mark.parametrize("size", [30, 400])
def test_recall_is_that_of_the_formula(bands: int, rows: int, size: int) -> None:
    """Within 3 standard errors at each J; over all values of J together the χ² is ordinary (two-sided, p > 10⁻³)."""
    chance, deviations = np.random.default_rng(7), []
    for similarity in np.arange(0.1, 1.0, 0.1):
        found = np.zeros(2)
        for seed in range(5):  # orders are shared by the pairs of one seed, so several are drawn
            near = Near(bands=bands, rows=rows, seed=seed)
            shingles, exact = pairs_of(similarity, 120, size, chance)
            keys = band_keys(signatures(shingles, near), near)
            found += [np.any(keys[:, ::2] == keys[:, 1::2], axis=0).sum(), 120]
        wanted = near.chance(exact)
        error = np.sqrt(max(wanted * (1 - wanted), 1e-4) / found[1])
        deviations.append((found[0] / found[1] - wanted) / error)
    assert max(map(abs, deviations)) < 3, deviations
    assert sum(d * d for d in deviations) < 27.9  # χ² of 9 degrees of freedom


def test_presets_and_what_is_refused() -> None:
    assert PRESETS["strict"].chance(0.8) > 0.9999999
    assert PRESETS["fineweb"].chance(0.8) == pytest.approx(0.924, abs=5e-4)  # the paper's own figure
    near = make_near("strict", unit="character", n=9, rows=3)
    assert (near.shingling, near.rows, near.bands, near.threshold) == (Shingling(unit="character", n=9), 3, 32, 0.8)
    for bad in ({"n": 0}, {"bands": 0}, {"threshold": 1.5}, {"unit": "letter"}, {"rows": 20_000}):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            make_near("fineweb", **bad)
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-KEY.*'bands'"):
        make_near("fineweb", band=3)
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE.*'strict'"):
        make_near("strikt")
