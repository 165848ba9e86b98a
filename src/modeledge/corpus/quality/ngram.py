"""A small n-gram language model, to tell text that reads like good text from text that does not.

Interpolated Kneser-Ney (Kneser and Ney 1995; Chen and Goodman 1999, equations 24-26, with one discount an order). With
c(uvw) the count of a trigram, and N(·vw) the number of different words before vw,

    p(w|uv) = max(c(uvw) − d₃, 0) / c(uv·) + d₃·N(uv·)/c(uv·) · p(w|v)
    p(w|v)  = max(N(·vw) − d₂, 0) / N(·v·) + d₂·N(v·)/N(·v·) · p(w)
    p(w)    = max(N(·w) − d₁, 0) / N(··)   + d₁·V⁺/N(··) · 1/V        V⁺ of the V words were seen

A low order is asked only where the high one knows little, so what counts there is not how often a word came but in how
many different company: "Francisco" is frequent, and nearly always behind "San". The discounts are d = n₁/(n₁ + 2n₂),
from how many n-grams of the order came once and twice.

The model is kept as an ARPA file keeps it, in arrays: for each order the n-grams that were seen (three ids of 21 bits
in one integer, sorted), their probability, and what is left for those that were not (the back-off weight). A text is
looked up whole, by binary search. Words are those of `page`, in small letters; a rare one is `<unk>`, id 0; id 1 stands
before the first word and behind the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from modeledge.corpus.quality.page import WORD
from modeledge.errors import ModeledgeError
from modeledge.files import committed_folder, read_json, verify_folder, write_json
from modeledge.records import IntArray

BITS, ORDER = 21, 3
UNKNOWN, EDGE = 0, 1
SPECIALS = ("<unk>", "</s>")
KIND = "n-gram model"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """The n-grams of one order: sorted keys `[n]`, ln p `[n]`, and ln of the back-off weight behind each `[n]`."""

    keys: IntArray
    logs: Floats
    backoffs: Floats

    def find(self, keys: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Where each key is, and whether it is there."""
        places = np.minimum(np.searchsorted(self.keys, keys), max(len(self.keys) - 1, 0))
        return places, self.keys[places] == keys if len(self.keys) else np.zeros(len(keys), bool)


class NgramModel:
    """Probabilities of words behind two words. `words` are the vocabulary in order of ids, the specials first."""

    def __init__(self, words: list[str], levels: tuple[Level, ...]) -> None:
        self.words, self.levels = words, levels
        self._ids = {word: number for number, word in enumerate(words)}

    def encode(self, text: str) -> IntArray:
        """The ids of a text's words, an edge on both sides."""
        words = WORD.findall(text.lower())
        ids = [self._ids.get(word, UNKNOWN) for word in words]
        return np.array([EDGE, *ids, EDGE], np.int64)

    def log_probabilities(self, ids: IntArray) -> Floats:
        """ln p of each id but the first, given the (at most) two before it, float64 `[ids - 1]`."""
        unigrams, bigrams, trigrams = self.levels
        words, before = ids[1:], ids[:-1]
        logs = unigrams.logs[words]
        logs = self._joined(bigrams, before << BITS | words, unigrams, before, logs)
        contexts = ids[:-2] << BITS | ids[1:-1]
        high = self._joined(trigrams, contexts << BITS | ids[2:], bigrams, contexts, logs[1:])
        return np.concatenate((logs[:1], high))

    @staticmethod
    def _joined(level: Level, keys: IntArray, below: Level, contexts: IntArray, logs: Floats) -> Floats:
        """The stored probability where the n-gram is known; else the context's weight times the lower order."""
        places, known = level.find(keys)
        context, seen = below.find(contexts)
        backed = logs + np.where(seen, below.backoffs[context], 0.0)
        return np.where(known, level.logs[places], backed) if len(level.keys) else backed

    def perplexity(self, text: str) -> float:
        """exp of the mean negative ln p of the text's words and its end."""
        return float(np.exp(-self.log_probabilities(self.encode(text)).mean()))

    def save(self, folder: Path, about: dict[str, Any] | None = None) -> None:
        """Write arrays and vocabulary. Raises `E-OUTPUT` where the folder exists."""
        arrays: dict[str, Any] = {}
        for order, level in enumerate(self.levels, 1):
            arrays |= {f"{order}.keys": level.keys, f"{order}.logs": level.logs, f"{order}.backoffs": level.backoffs}
        with committed_folder(folder, {"kind": KIND, "order": ORDER, **(about or {})}) as temporary:
            save_file(arrays, temporary / "model.safetensors")
            write_json(temporary / "words.json", self.words)

    @classmethod
    def load(cls, folder: Path) -> NgramModel:
        """Read what `save` wrote. Raises `E-NO-FILE`, `E-CHECKPOINT` for a damaged folder or one of another kind."""
        arrays, words = open_arrays(folder, KIND, "words.json")
        names = ("keys", "logs", "backoffs")
        return cls(words, tuple(Level(*(arrays[f"{order}.{name}"] for name in names)) for order in (1, 2, 3)))


def open_arrays(folder: Path, kind: str, beside: str) -> tuple[dict[str, Any], Any]:
    """The arrays and the JSON file of a saved folder of this kind, each byte verified.

    Raises `E-NO-FILE` where there is no folder, `E-CHECKPOINT` where it is damaged or of another kind.
    """
    if not folder.is_dir():
        raise ModeledgeError("E-NO-FILE", f"there is no such {kind}", where=str(folder))
    remedy = "train it again"
    try:
        found = verify_folder(folder).get("kind")
        if found != kind:
            raise ModeledgeError("E-CHECKPOINT", f"this is a {found or 'folder'}, not a {kind}", where=str(folder))
        return load_file(folder / "model.safetensors"), read_json(folder / beside)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        what = error.what if isinstance(error, ModeledgeError) else f"it cannot be read ({type(error).__name__})"
        raise ModeledgeError("E-CHECKPOINT", what, where=str(folder), remedy=remedy) from error


def train_ngrams(texts: Iterable[str], *, vocabulary: int = 50_000, min_count: int = 2) -> NgramModel:
    """Count a model from good text: the commonest `vocabulary` words that come `min_count` times or more.

    The result depends on the texts, not on their order. Raises `E-NO-RECORDS` where no word is left, and
    `E-CONFIG-VALUE` for a vocabulary that 21 bits do not hold.
    """
    if not 1 <= vocabulary <= 2**BITS - len(SPECIALS):
        raise ModeledgeError("E-CONFIG-VALUE", f"a vocabulary of {vocabulary}; 1 to {2**BITS - len(SPECIALS):,} fit")
    counted: Counter[str] = Counter()
    tokenized = []
    for text in texts:
        words = WORD.findall(text.lower())
        counted.update(words)
        tokenized.append(words)
    ranked = sorted((word for word, times in counted.items() if times >= min_count), key=lambda w: (-counted[w], w))
    if not ranked:
        what = f"no word of the texts comes {min_count} times" if counted else "the texts hold no word"
        raise ModeledgeError("E-NO-RECORDS", what, remedy="give more text, or lower the count")
    words = [*SPECIALS, *ranked[:vocabulary]]
    numbers = {word: number for number, word in enumerate(words)}
    grams = [np.array([EDGE, *(numbers.get(w, UNKNOWN) for w in row), EDGE], np.int64) for row in tokenized]
    return NgramModel(words, estimate(grams, len(words)))


def estimate(texts: Sequence[IntArray], size: int) -> tuple[Level, ...]:
    """Kneser-Ney over `size` words from texts of ids, an edge on both sides of each."""
    word, pair = (1 << BITS) - 1, (1 << 2 * BITS) - 1
    trigrams, counts = np.unique(_concatenated(text[:-2] << BITS * 2 | text[1:-1] << BITS | text[2:] for text in texts),
                                 return_counts=True)  # fmt: skip
    # How many different words stand before a pair. Before a text's first pair stands nothing: there its count does.
    before = np.concatenate((trigrams & pair, _concatenated(text[:1] << BITS | text[1:2] for text in texts)))
    bigrams, company = np.unique(before, return_counts=True)
    unigrams, alone = np.unique(bigrams & word, return_counts=True)
    d1, d2, d3 = (discount(values) for values in (alone, company, counts))
    low = np.full(size, d1 * len(unigrams) / alone.sum() / size)
    low[unigrams] += (alone - d1) / alone.sum()
    every = np.arange(size, dtype=np.int64)
    middle, left_of_words = _interpolated(bigrams, company, d2, low[bigrams & word], every)
    at = np.searchsorted(bigrams, trigrams & pair)
    high, left_of_pairs = _interpolated(trigrams, counts, d3, middle[at], bigrams)
    return (
        Level(every, np.log(low), left_of_words),
        Level(bigrams, np.log(middle), left_of_pairs),
        Level(trigrams, np.log(high), np.zeros(len(trigrams))),
    )


def _interpolated(keys: IntArray, counts: IntArray, d: float, lower: Floats, contexts: IntArray) -> tuple[Floats, ...]:
    """p of each n-gram, and ln of the weight that each of the `contexts` leaves to the lower order (0: all of it)."""
    found, place, types = np.unique(keys >> BITS, return_inverse=True, return_counts=True)
    totals = np.bincount(place, weights=counts, minlength=len(found))
    left = d * types / np.maximum(totals, 1)
    logs = np.zeros(len(contexts))
    logs[np.searchsorted(contexts, found)] = np.log(left)
    return (counts - d) / totals[place] + left[place] * lower, logs


def _concatenated(parts: Iterable[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def discount(counts: IntArray) -> float:
    """n₁/(n₁ + 2n₂); one half where nothing came once, or nothing twice."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5
