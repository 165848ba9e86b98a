"""Randomness as arithmetic: every draw is a function of (seed, purpose, keys), never of what was drawn before.

So the order of shards, the number of workers or ranks, and a restart in the middle cannot change a result
(the fifth law of the house). A purpose is a word ("mask", "shuffle", "init", "dropout"); keys are integers or words.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Key = int | str


@dataclass(frozen=True)
class Noise:
    """A source of randomness. `Noise(7).at("mask", epoch, index).generator()` is the same wherever it is asked for."""

    seed: int
    path: tuple[Key, ...] = ()

    def at(self, *keys: Key) -> Noise:
        """The source for one purpose, one example, one step: further keys, nothing drawn."""
        return Noise(self.seed, (*self.path, *keys))

    def integer(self) -> int:
        """64 bits that depend on the seed and all keys (BLAKE2b)."""
        text = "\x1f".join([str(self.seed), *map(_spelled, self.path)])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def generator(self) -> np.random.Generator:
        """A fresh NumPy generator (Philox, counter-based, the same on every platform)."""
        return np.random.Generator(np.random.Philox(key=self.integer()))


def _spelled(key: Key) -> str:
    """A key so that no two paths read alike: whole numbers of any type are one kind, the separator is doubled."""
    return "s" + key.replace("\x1f", "\x1f\x1f") if isinstance(key, str) else f"i{int(key)}"


def permuted(index: int, length: int, noise: Noise) -> int:
    """The image of `index` under a pseudo-random permutation of `range(length)`: O(1) memory, random access.

    A four-round Feistel network over the smallest even number of bits that holds `length`, walking the cycle until
    the value falls inside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").

    >>> sorted(permuted(i, 10, Noise(3)) for i in range(10)) == list(range(10))
    True
    """
    if not 0 <= index < length:
        raise IndexError(f"index {index} is outside range({length})")
    half = max(1, (max(length - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = _round_keys(noise)
    value = index
    while True:
        left, right = value >> half, value & mask
        for key in keys:
            left, right = right, left ^ (_mix(right ^ key) & mask)
        value = (left << half) | right
        if value < length:
            return value


def permuted_many(indices: npt.NDArray[np.integer[Any]], length: int, noise: Noise) -> npt.NDArray[np.int64]:
    """`permuted` for many indices at once: the same values, `[n]`, by NumPy.

    Values still outside `range(length)` walk on together; each round leaves at most three quarters of them.
    """
    values = np.asarray(indices)
    if values.size and not (values.min() >= 0 and values.max() < length):
        raise IndexError(f"indices {values.min()} to {values.max()} are not all inside range({length})")
    half = np.uint64(max(1, (max(length - 1, 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    keys = [np.uint64(key) for key in _round_keys(noise)]
    walking = np.arange(values.size)
    image = values.astype(np.uint64)
    while walking.size:
        left, right = image[walking] >> half, image[walking] & mask
        for key in keys:
            left, right = right, left ^ (_mix_many(right ^ key) & mask)
        image[walking] = (left << half) | right
        walking = walking[image[walking] >= np.uint64(length)]
    return image.astype(np.int64)


def _mix_many(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """`_mix` on an array: unsigned products wrap around at 64 bits by themselves."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _round_keys(noise: Noise) -> tuple[int, ...]:
    base = noise.integer()
    return tuple(_mix(base + i * 0x9E3779B97F4A7C15) for i in range(1, 5))


def _mix(value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014)."""
    value &= 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)
