"""Training text that holds the answers: n-grams of evaluation sets found in documents, and taken out.

A model that has read a test set is not measured by it. GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C) looked
for runs of n words, in lower case and without punctuation, that an evaluation example and a training document share;
n is 13, or for sets of shorter examples the 5th percentile of their lengths, at least 8. It cut them out with 200
characters on either side, threw pieces below 200 characters away, and dropped a document that fell into more than ten.
An n-gram in more than ten training documents was taken for a common phrase, and left. These are the defaults of
`how="cut"`; `how="drop"` drops the document, as the first version of their rule did.

Where a text was cut its pieces stay one document, with an empty line between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from modeledge.corpus.filter import size
from modeledge.corpus.shingles import Hashes, Shingles, Shingling, plain, shingle
from modeledge.corpus.spool import Spool
from modeledge.corpus.workers import batches_of
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import AnyArray, Document, IntArray, Ledger

How = Literal["cut", "drop"]
CONTAMINATED, CUT = "contaminated", "contaminated span"
SIEVE = 22  # bits of a table that says of most n-grams at once that no evaluation set has them
WORD = re.compile(r"[^\s\x00-\x20]+")
Hits = tuple[IntArray, IntArray, IntArray]  # first word, number of words, and which n-gram of the evaluation


@dataclass(frozen=True, kw_only=True)
class Decontamination:
    """What counts as contaminated, and what becomes of it; the defaults are GPT-3's (lengths in characters).

    `n` words, or None for the rule by set: the 5th percentile of its lengths, from 8 to 13. A document is touched where
    at least `hits` of its n-grams are found that stand in at most `common` documents (None: whatever their number).
    Raises `E-CONFIG-VALUE`.
    """

    n: int | None = 13
    how: How = "cut"
    hits: int = 1
    common: int | None = 10
    margin: int = 200
    shortest: int = 200
    pieces: int = 10

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ModeledgeError("E-CONFIG-VALUE", f"how = {self.how!r}", remedy=nearest(self.how, get_args(How)))
        if self.n is not None:
            Shingling(n=self.n)
        for name, least in (("hits", 1), ("common", 1), ("margin", 0), ("shortest", 0), ("pieces", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ModeledgeError("E-CONFIG-VALUE", f"{name} = {value}: at least {least}")


@dataclass(frozen=True)
class Contaminated:
    """A document that was cut or dropped: which evaluation sets it met, and in how many n-grams."""

    document: Document
    reason: str
    sets: tuple[str, ...]
    grams: int


def gram_length(words: Iterable[int]) -> int:
    """GPT-3's n for a set of examples with these numbers of words: their 5th percentile, from 8 to 13."""
    lengths = list(words)
    return int(np.clip(np.percentile(lengths, 5), 8, 13)) if lengths else 13


class EvaluationGrams:
    """The n-grams of evaluation sets by name. `short` counts the examples of fewer than n words: not looked for."""

    def __init__(self, sets: Mapping[str, Iterable[str]], n: int | None = 13) -> None:
        self.names, self.short = tuple(sets), dict.fromkeys(sets, 0)
        found: list[tuple[int, Hashes, int]] = []
        for number, (name, examples) in enumerate(sets.items()):
            texts = list(examples)
            lengths = np.diff(shingle(texts, Shingling(n=1)).offsets)
            length = n or gram_length(lengths.tolist())
            long = [text for text, words in zip(texts, lengths, strict=True) if words >= length]
            self.short[name] = len(texts) - len(long)
            found.append((length, np.unique(shingle(long, Shingling(n=length)).values), number))
        self.lengths = sorted({length for length, _, _ in found})
        values = np.concatenate([np.zeros(0, np.uint64), *(grams for _, grams, _ in found)])
        owners = np.concatenate([np.zeros(0, np.int64), *(np.full(len(g), number) for _, g, number in found)])
        order = np.lexsort((owners, values))
        self._values, first = np.unique(values[order], return_index=True)
        self.owners = owners[order][first]  # the first set that has the n-gram
        self._sieve = np.zeros(1 << SIEVE, bool)
        self._sieve[self._values >> np.uint64(64 - SIEVE)] = True

    def __len__(self) -> int:
        return len(self._values)

    def hits(self, texts: list[str]) -> Iterator[Hits | None]:
        """Where n-grams stand in each text; None where there is none."""
        found = [(length, shingle(texts, Shingling(n=length))) for length in self.lengths]
        marks = [self._looked_up(shingles) for _, shingles in found]
        for number in range(len(texts)):
            parts = []
            for (length, shingles), (places, grams) in zip(found, marks, strict=True):
                low, high = np.searchsorted(places, shingles.offsets[number : number + 2])
                if high > low:
                    first = places[low:high] - shingles.offsets[number]
                    parts.append((first, np.full(len(first), length), grams[low:high]))
            if not parts:
                yield None
                continue
            first, words, which = (np.concatenate(column) for column in zip(*parts, strict=True))
            yield first, words, which

    def _looked_up(self, shingles: Shingles) -> tuple[IntArray, IntArray]:
        """The places of shingles that are n-grams of the evaluation, rising, and which ones."""
        places = np.flatnonzero(self._sieve[shingles.values >> np.uint64(64 - SIEVE)])
        if not len(places):
            return places, places
        which = np.minimum(np.searchsorted(self._values, shingles.values[places]), len(self._values) - 1)
        right = self._values[which] == shingles.values[places]
        return places[right], which[right]


def decontaminated(
    documents: Iterable[Document],
    grams: EvaluationGrams,
    config: Decontamination,
    *,
    ledger: Ledger,
    folder: Path | None = None,
    memory: int = 1 << 28,
    found: Callable[[Contaminated], None] | None = None,
) -> Iterator[Document]:
    """The documents, in the order of their ids, without what they share with the evaluation sets.

    Dropped ones are `filtered` as "contaminated", spans are `cut`; `found` is told of each document that was touched.
    Raises `E-DUP-ID`.
    """
    for name, count in grams.short.items():
        if count:
            ledger.notes.append(f"{name}: {count:,} × an example shorter than the n-gram, not looked for in the corpus")
    with Spool(folder, memory) as spool:
        for document in documents:
            spool.add(document)
        hits: dict[int, Hits] = {}
        often, number = np.zeros(len(grams), np.int64), 0
        for held in batches_of(spool.ordered()):
            for hit in grams.hits([document.text for document in held]):
                if hit is not None:
                    hits[number] = hit
                    often[np.unique(hit[2])] += 1
                number += 1
        rare = np.ones(len(grams), bool) if config.common is None else often <= config.common
        for number, document in enumerate(spool):
            hit = _kept_hits(hits.get(number), rare)
            if hit is None or len(np.unique(hit[2])) < config.hits:
                yield document
                continue
            left, reason = _treated(document, hit, config)
            if found is not None:
                sets = tuple(grams.names[i] for i in np.unique(grams.owners[hit[2]]))
                found(Contaminated(document, reason, sets, len(np.unique(hit[2]))))
            if left is None:
                ledger.add("filtered", reason, source=document.source, bytes=size(document))
            else:
                ledger.add("cut", CUT, source=document.source, bytes=size(document) - size(left))
                yield left


def _kept_hits(hit: Hits | None, rare: AnyArray) -> Hits | None:
    """The hits that are no common phrases."""
    if hit is None or not rare[hit[2]].any():
        return None
    first, words, which = (column[rare[hit[2]]] for column in hit)
    return first, words, which


def _treated(document: Document, hit: Hits, config: Decontamination) -> tuple[Document | None, str]:
    """What is left of a contaminated document, and the reason."""
    if config.how == "drop":
        return None, CONTAMINATED
    text, places = document.text, word_places(document.text)
    spans = sorted(
        (max(0, places[first][0] - config.margin), min(len(text), places[first + words - 1][1] + config.margin))
        for first, words in zip(hit[0].tolist(), hit[1].tolist(), strict=True)
    )
    pieces, place = [], 0
    for start, stop in spans:
        if start > place:
            pieces.append(text[place:start])
        place = max(place, stop)
    pieces.append(text[place:])
    if len([piece for piece in pieces if piece]) > config.pieces:
        return None, f"{CONTAMINATED} in more than {config.pieces} pieces"
    left = [piece.strip() for piece in pieces if len(piece) >= max(1, config.shortest)]
    if not any(left):
        return None, CONTAMINATED
    return replace(document, text="\n\n".join(left)), CUT


def word_places(text: str) -> list[tuple[int, int]]:
    """Where the words of `shingle` stand in a text: beginning and end of each."""
    return [match.span() for match in WORD.finditer(text) if plain(match[0], False).strip()]
