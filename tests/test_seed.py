"""Randomness as arithmetic: a function of its keys and of nothing else; permutations that are permutations."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modeledge.seed import Noise, permuted, permuted_many

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
keys = st.integers() | words
paths = st.lists(keys, max_size=4).map(tuple)
lengths = st.integers(1, 3000) | st.sampled_from([2**k + d for k in range(1, 12) for d in (-1, 0, 1)])
seeds = st.integers(-(2**70), 2**70)

WRITTEN = (11464521509322207953, [4293008792, 1640451520, 1086672516], [3, 0, 8, 2, 4, 5, 1, 7, 9, 6])

# ---- noise


def test_the_first_values_are_written_down() -> None:
    """Changing them would change every run that was ever made: a new seed scheme needs a decision page."""
    text = "\x1f".join(["7", "smask", "i1", "i20"])
    want = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    assert Noise(7).at("mask", 1, 20).integer() == want == WRITTEN[0]
    assert Noise(7).at("mask", 1, 20).generator().integers(0, 2**32, 3).tolist() == WRITTEN[1]
    assert [permuted(i, 10, Noise(3)) for i in range(10)] == WRITTEN[2]


@given(seed=seeds, path=paths, cut=st.integers(0, 4))
def test_noise_is_a_function_of_its_keys(seed: int, path: tuple[int | str, ...], cut: int) -> None:
    whole, steps = Noise(seed, path), Noise(seed).at(*path[:cut]).at(*path[cut:])
    assert whole == steps
    first = whole.generator().random(3).tolist()
    Noise(seed).at("other").generator().random(5)
    whole.generator().random(7)
    assert steps.generator().random(3).tolist() == first, "nothing that was drawn before can matter"
    assert whole.integer() == steps.integer()
    assert 0 <= whole.integer() < 2**64


@given(seeds, seeds, paths, paths)
@example(0, 0, (1,), ("1",))
@example(0, 0, (), ("",))
@example(0, 0, ("a", "b"), ("ab",))
@example(0, 0, (1, 2), (12,))
@example(0, 0, ("i1",), (1,))
@example(1, 11, (1,), ())
@example(0, 0, ("a", "b"), ("b", "a"))
def test_other_keys_give_other_noise(
    seed: int, other: int, path: tuple[int | str, ...], others: tuple[int | str, ...]
) -> None:
    same = (seed, path) == (other, others)
    assert (Noise(seed, path).integer() == Noise(other, others).integer()) == same


def test_noise_is_the_same_in_every_process() -> None:
    code = "from modeledge.seed import Noise; print(Noise(1).at('shuffle', 'x', 3).generator().random())"
    here = repr(float(Noise(1).at("shuffle", "x", 3).generator().random()))
    for number in "01":
        environment = os.environ | {"PYTHONHASHSEED": number}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == here


def test_draws_of_neighbouring_keys_are_uniform_and_unrelated() -> None:
    """10,000 first draws of consecutive keys: mean, spread and neighbours within five standard errors."""
    draws = np.array([Noise(0).at("mask", 0, i).generator().random() for i in range(10_000)])
    assert abs(draws.mean() - 0.5) < 5 / np.sqrt(12 * len(draws))
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 5 / np.sqrt(len(draws))
    counts = np.histogram(draws, 20, (0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 60, "chi-squared with 19 degrees of freedom; 60 is p = 4e-6"


# ---- permutations


@settings(max_examples=60)
@given(length=lengths, seed=seeds, path=paths)
def test_a_permutation_is_a_bijection(length: int, seed: int, path: tuple[int | str, ...]) -> None:
    noise = Noise(seed, path)
    image = permuted_many(np.arange(length), length, noise)
    assert np.array_equal(np.sort(image), np.arange(length))


@given(length=st.integers(1, 2**62), seed=seeds, data=st.data())
def test_one_at_a_time_equals_many_at_once(length: int, seed: int, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, length - 1), max_size=8))
    many = permuted_many(np.array(indices, dtype=np.int64), length, Noise(seed))
    assert many.tolist() == [permuted(i, length, Noise(seed)) for i in indices]
    assert all(0 <= value < length for value in many.tolist())
    assert many.dtype == np.int64


def test_permutations_differ_by_noise() -> None:
    images = {tuple(permuted(i, 50, Noise(0).at("shuffle", epoch)) for i in range(50)) for epoch in range(200)}
    assert len(images) == 200


def test_every_place_is_equally_likely() -> None:
    """Where index 0 of 10 lands over 5,000 permutations: chi-squared with 9 degrees of freedom; 45 is p = 9e-7."""
    places = np.bincount([permuted(0, 10, Noise(0).at(k)) for k in range(5000)], minlength=10)
    assert ((places - 500) ** 2 / 500).sum() < 45


@pytest.mark.parametrize(("index", "length"), [(-1, 5), (5, 5), (0, 0), (7, 5)])
def test_indices_outside_are_refused(index: int, length: int) -> None:
    with pytest.raises(IndexError):
        permuted(index, length, Noise(0))
    with pytest.raises(IndexError):
        permuted_many(np.array([index]), length, Noise(0))


def test_no_index_gives_no_image() -> None:
    assert permuted_many(np.array([], dtype=np.int64), 5, Noise(0)).tolist() == []


def test_no_two_paths_of_keys_read_alike() -> None:
    paths = [
        ("a", "b"),
        ("a\x1fsb",),
        ("a\x1f", "b"),
        ("a", "\x1fb"),
        (1, 2),
        ("1", 2),
        (12,),
        ("i12",),
        ("a\x1f\x1f", "b"),
    ]
    assert len({Noise(0, path).integer() for path in paths}) == len(paths)
    assert Noise(0, (np.uint8(3),)).integer() == Noise(0, (np.int64(3),)).integer() == Noise(0, (3,)).integer()  # type: ignore[arg-type]
