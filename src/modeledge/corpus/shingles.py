"""The n-grams of texts as 64-bit numbers, many documents at once.

Two texts are compared by the sets of their *shingles*, the runs of n words or characters (Broder 1997, "On the
resemblance and containment of documents"): J(A, B) = |A ∩ B| / |A ∪ B|. Everything that compares documents here,
MinHash, the exact Jaccard that verifies it and decontamination, sees shingles as numbers from this one place.

The hash is a polynomial modulo 2⁶⁴ with an odd point p, and one rule serves words and n-grams alike. With the prefix
sums C[i] = Σ_{j<i} v[j]·pʲ the run v[a:b] has the hash (C[b] − C[a])·p⁻ᵃ, wherever it stands, since an odd p has an
inverse. A window of fixed length needs no sums: two of m values side by side make one of 2m. A word of up to eight
bytes is a number as it stands, a longer one is a run of such, a shingle is a window of words, and all are a handful of
NumPy operations on a whole batch, without a Python object a word. Hashes are mixed after each level; two of 10⁵
different shingles agree with a probability near 10⁻¹⁰.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from modeledge.corpus.normal import nfc
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import AnyArray, IntArray

Hashes: TypeAlias = npt.NDArray[np.uint64]
Unit = Literal["word", "character"]
BLOCK = 1 << 15  # values hashed at a time: their sums stay in the processor's second cache
LONGEST = 1 << 14  # a word of more bytes is known by these
POINT = (
    0x9E6C63D0876A9A47  # p: odd, otherwise arbitrary; it and the mixing below are part of the file format of no file
)

_END = 0xFF  # no byte of UTF-8
_BREAK = bytes([_END])
_SPACE = 0x20  # what is not above it, white space and control characters, separates words
_PUNCTUATION = bytes(c for c in range(33, 127) if not chr(c).isalnum())
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
_LOWER = bytes(_SPACE if c < _SPACE else c + 32 if 65 <= c <= 90 else c for c in range(256))


@dataclass(frozen=True, kw_only=True)
class Shingling:
    """What a shingle is: `n` words or characters of the text in lower case and normal form C.

    Words are separated by white space. Punctuation (Unicode's categories P and S) is taken out unless `punctuation`
    keeps it, as in GPT-3's and FineWeb's rules. A text of fewer than `n` units is one shingle, an empty one none.
    Raises `E-CONFIG-VALUE`.
    """

    unit: Unit = "word"
    n: int = 5
    punctuation: bool = False

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise ModeledgeError("E-CONFIG-VALUE", f"unit = {self.unit!r}", remedy=nearest(self.unit, get_args(Unit)))
        if not 1 <= self.n <= 1000:
            raise ModeledgeError("E-CONFIG-VALUE", f"n = {self.n}: a shingle has 1 to 1000 units")


@dataclass(frozen=True)
class Shingles:
    """Shingles of several documents one after the other: `values [m]`, those of document d from `offsets[d]`."""

    values: Hashes
    offsets: IntArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, document: int) -> Hashes:
        """The shingles of one document in the order of its text."""
        return self.values[self.offsets[document] : self.offsets[document + 1]]

    def set(self, document: int) -> Hashes:
        """The set of one document's shingles, rising."""
        return distinct(self.of(document))


def distinct(values: Hashes) -> Hashes:
    """The different values, rising."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def jaccard(first: Hashes, second: Hashes) -> float:
    """|A ∩ B| / |A ∪ B| of two sets as `Shingles.set` gives them; 0 where both are empty."""
    both = np.sort(np.concatenate([first, second]))
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared) if len(both) else 0.0


def shingle(texts: Sequence[str], config: Shingling) -> Shingles:
    """The shingles of texts, in their order, repeats included."""
    if config.unit == "word":
        buffer = _joined(texts, config.punctuation)
        units, starts = word_hashes(buffer)
        places = np.searchsorted(starts, np.flatnonzero(buffer == _END))
    else:
        shown = [_characters(text, config.punctuation) for text in texts]
        places = np.cumsum([0, *map(len, shown)])
        units = mixed(np.concatenate([*shown, np.zeros(0, np.uint32)]).astype(np.uint64))
    counts = np.diff(places)
    offsets = np.concatenate(
        [[0], np.cumsum(np.where(counts < config.n, np.minimum(counts, 1), counts - config.n + 1))]
    )
    inside = np.ones(max(len(units) - config.n + 1, 0), bool)  # windows that lie in one text
    across = (places[1:, None] - np.arange(1, config.n)).ravel()
    inside[across[(across >= 0) & (across < len(inside))]] = False
    values = windows(units, config.n)[inside]
    short = np.flatnonzero((counts > 0) & (counts < config.n))
    if len(short):
        whole, every = np.empty(offsets[-1], np.uint64), np.ones(offsets[-1], bool)
        every[offsets[short]] = False
        whole[every] = values
        whole[offsets[short]] = hashed_runs(units, places[short], places[short + 1])
        values = whole
    return Shingles(mixed(values), offsets)


def word_hashes(buffer: npt.NDArray[np.uint8]) -> tuple[Hashes, IntArray]:
    """The hash of each word of texts as `_joined` gives them, and the place of its first byte.

    A word of up to eight bytes is one number, read where it stands; a longer one is a run of such.
    """
    between = np.flatnonzero((buffer - np.uint8(_SPACE + 1)) >= _END - _SPACE - 1)  # spaces and ends of texts
    starts = between[:-1] + 1
    sizes = between[1:] - starts
    if not sizes.all():
        starts, sizes = starts[sizes > 0], sizes[sizes > 0]
    sizes = np.minimum(sizes, LONGEST)
    padded = np.concatenate([buffer, np.zeros(8, np.uint8)])
    words = _eights(padded, starts, sizes)
    long = np.flatnonzero(sizes > 8)
    if len(long):
        counts = (sizes[long] + 7) >> 3
        ends = np.cumsum(counts)
        into = (np.arange(ends[-1]) - np.repeat(ends - counts, counts)) << 3
        parts = _eights(padded, np.repeat(starts[long], counts) + into, np.repeat(sizes[long], counts) - into)
        words[long] = hashed_runs(mixed(parts), ends - counts, ends)
    words *= np.uint64(POINT)  # half of `mixed`: what is made of words is mixed again
    words ^= words >> np.uint64(32)
    return words, starts


def _eights(padded: npt.NDArray[np.uint8], starts: IntArray, sizes: IntArray) -> Hashes:
    """The bytes from each start as a number, low byte first: `sizes` of them, at most eight."""
    everywhere = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
    found: Hashes = everywhere[starts].astype(np.uint64, copy=False)
    found &= _MASKS.take(sizes, mode="clip")
    return found


def windows(values: Hashes, n: int) -> Hashes:
    """The polynomial hash of every run of `n` values, by doubling: two neighbours of m values make one of 2m."""
    out, length = values, 1
    for bit in bin(n)[3:]:
        out, length = _followed(out, length, out), 2 * length
        if bit == "1":
            out, length = _followed(out, length, values), length + 1
    return out


def _followed(first: Hashes, length: int, then: Hashes) -> Hashes:
    """The hashes of runs of `length` values, each followed by the run of `then` that begins behind it."""
    out: Hashes = then[length:] * np.uint64(pow(POINT, length, 1 << 64))
    out += first[: len(out)]
    return out


def hashed_runs(values: AnyArray, starts: IntArray, stops: IntArray) -> Hashes:
    """The polynomial hash of each run `values[start:stop]`; starts rise, runs have at most `LONGEST` values."""
    powers, inverse = _powers()
    out = np.empty(len(starts), np.uint64)
    sums = np.zeros(BLOCK + LONGEST + 1, np.uint64)
    done = 0
    while done < len(starts):
        low = int(starts[done])
        until = int(np.searchsorted(starts, low + BLOCK))
        begin, end = starts[done:until] - low, stops[done:until] - low
        high = int(end.max())
        np.multiply(values[low : low + high], powers[:high], out=sums[1 : high + 1], dtype=np.uint64)
        np.cumsum(sums[1 : high + 1], out=sums[1 : high + 1])
        here = sums[end]
        here -= sums[begin]
        here *= inverse[begin]
        out[done:until] = here
        done = until
    return out


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """pʲ and p⁻ʲ for all places of a block."""
    size = BLOCK + LONGEST + 1
    both = []
    for point in (POINT, pow(POINT, -1, 1 << 64)):
        steps = np.full(size, point, np.uint64)
        steps[0] = 1
        both.append(np.multiply.accumulate(steps))
    return both[0], both[1]


def mixed(values: Hashes) -> Hashes:
    """Each bit of a value moves half the bits of the result: the finaliser of SplitMix64 (Steele et al. 2014)."""
    out = values ^ (values >> np.uint64(30))
    out *= np.uint64(0xBF58476D1CE4E5B9)
    out ^= out >> np.uint64(27)
    out *= np.uint64(0x94D049BB133111EB)
    out ^= out >> np.uint64(31)
    return out


def plain(text: str, punctuation: bool) -> bytes:
    """The text as its shingles see it, in UTF-8: lower case, normal form C, without punctuation unless it counts."""
    if text.isascii():
        return text.encode().translate(_LOWER, b"" if punctuation else _PUNCTUATION)
    text = nfc(nfc(text).lower())
    if not punctuation:
        text = _marks().sub("", text)
    return " ".join(text.split()).encode("utf-8", "surrogatepass").translate(_LOWER)


@functools.cache
def _marks() -> re.Pattern[str]:
    """Unicode's punctuation and symbols as one class of characters, in ranges."""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] in "PS":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return re.compile("[" + "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in ranges) + "]+")


def _joined(texts: Sequence[str], punctuation: bool) -> npt.NDArray[np.uint8]:
    """The texts as `plain` shows them, the byte `_END` before the first and behind each."""
    parts = [text.encode() if text.isascii() else plain(text, punctuation) for text in texts]
    whole = _BREAK.join([b"", *parts, b""])
    return np.frombuffer(whole.translate(_LOWER, b"" if punctuation else _PUNCTUATION), np.uint8)


def _characters(text: str, punctuation: bool) -> npt.NDArray[Any]:
    """The text as its shingles see it, in code points: one space between words."""
    shown = b" ".join(plain(text, punctuation).split()).decode("utf-8", "surrogatepass")
    return np.frombuffer(shown.encode("utf-32-le", "surrogatepass"), np.uint32)
