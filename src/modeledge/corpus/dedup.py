"""One copy of each text, in an order that the inputs' order cannot change.

Repeated documents waste training and leak from training into evaluation (Lee et al. 2022, arXiv 2107.06499). Two
levels are here. *Exact* duplicates agree after Unicode normalisation (NFC) and after every run of white space became
one space; 128 bits of BLAKE2b stand for the text, so a chance collision among 10⁹ documents has a probability near
10⁻²¹. *Near* duplicates share most of their shingles: MinHash proposes pairs (see `corpus.minhash`), their exact
Jaccard similarity may verify them, and what is joined is a cluster, also where its ends are unlike.

Which document stays of a cluster? "The first one read" would depend on the order in which files were listed. Here it is
the one with the smallest id (or the longest, or the best by a score, the smallest id among equals), and documents
leave in the order of their ids, numbers inside ids counting as numbers (`a.txt:9` before `a.txt:10`). So the corpus is
a function of the *set* of documents. The price is that the whole input is seen before the first document leaves:
it waits on disk (`corpus.spool`) once it no longer fits into memory, beside eight bytes a document and band.

A digest reads a whole text once more. Texts that agree have the same shingles, and so the same key in each band: where
near duplicates are looked for, digests are taken only of documents that share all keys.

Memory: half of `memory` is for documents or keys at a time, the other half for a batch at work (below 10 MB), about
50 bytes a document, and a few times the largest document, whatever `memory` says.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from modeledge.corpus.clusters import Clusters, Groups, KeyFile, equal
from modeledge.corpus.minhash import Near, band_keys, signatures
from modeledge.corpus.normal import nfc
from modeledge.corpus.shingles import Hashes, shingle
from modeledge.corpus.spool import Spool
from modeledge.corpus.verify import Verifier
from modeledge.corpus.workers import MOST, Ordered, batches_of, in_this_process
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import AnyArray, Document, IntArray, Ledger

DUPLICATE, NEAR = "duplicate", "near duplicate"
Keep = Literal["first", "longest", "score"]
SPACES = bytes(0x20 if chr(c).isspace() and c < 128 else c for c in range(256))  # white space as `str.split` knows it


@dataclass(frozen=True)
class Drop:
    """A document that left, why, and which one stands for it. `similarity` is the exact Jaccard of the two."""

    document: Document
    reason: str
    stays: str
    similarity: float | None = None


@dataclass(frozen=True, kw_only=True)
class Dedup:
    """What is joined, which document stays, and what it may cost.

    `keep` is "first" (the smallest id), "longest" (most bytes) or "score" (the largest number in the field `score`).
    `memory` is in bytes. Raises `E-CONFIG-VALUE`.
    """

    exact: bool = True
    near: Near | None = None
    keep: Keep = "first"
    score: str = "score"
    memory: int = 1 << 28

    def __post_init__(self) -> None:
        if self.keep not in get_args(Keep):
            raise ModeledgeError("E-CONFIG-VALUE", f"keep = {self.keep!r}", remedy=nearest(self.keep, get_args(Keep)))
        if self.memory < 1:
            raise ModeledgeError("E-CONFIG-VALUE", f"memory = {self.memory}: a number of bytes above 0")


def digest(text: str) -> bytes:
    """16 bytes that name a text up to normal form and white space."""
    if text.isascii():  # the same in a fifth of the time
        plain = text.encode().translate(SPACES)
        while b"  " in plain:
            plain = plain.replace(b"  ", b" ")
        return hashlib.blake2b(plain.strip(b" "), digest_size=16).digest()
    words = nfc(text).split()
    return hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def exact_duplicates(
    documents: Iterable[Document], *, ledger: Ledger, folder: Path | None = None
) -> Iterator[Document]:
    """Each text once, the copy with the smallest id, in the order of ids; the others are `filtered["duplicate"]`.

    `folder` holds the temporary files (default: the system's). Raises `E-DUP-ID` when two records share an id.
    """
    return deduplicated(documents, Dedup(), ledger=ledger, folder=folder)


def deduplicated(
    documents: Iterable[Document],
    config: Dedup,
    *,
    ledger: Ledger,
    folder: Path | None = None,
    dropped: Callable[[Drop], None] | None = None,
    ordered: Ordered = in_this_process,
) -> Iterator[Document]:
    """One document of each cluster, in the order of ids; the others are `filtered` as duplicates or near duplicates.

    A document is a "duplicate" where its text is that of the one that stays, else a "near duplicate"; `dropped` is
    told of each, in order. `ordered` does the work on texts, in other processes if it likes: what comes out is the
    same. Raises `E-DUP-ID` when two records share an id, `E-MISSING-FIELD` for a document without a score.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place, Spool(Path(place), config.memory // 2) as spool:
        for document in documents:
            spool.add(document)
        if not config.exact and config.near is None:  # nothing is joined: they are put in order, and that is all
            yield from spool.ordered()
            return
        scores, texts, bands = _keyed(spool, config, Path(place), ordered)
        copies = Clusters(len(spool))
        copies.join_all(_copies(spool, texts.groups(config.memory // 2), config.near))
        clusters = copies.copy() if config.exact else Clusters(len(spool))
        verifier = Verifier(spool, config.near, config.memory // 4) if config.near and config.near.threshold else None
        for band in bands:
            for groups in band.groups(config.memory // 2):
                verifier.join(clusters, groups) if verifier else clusters.join_all([groups])
            band.remove()
        yield from _told(spool, _stays(clusters.roots, scores), copies.roots, ledger, dropped)


def _keyed(spool: Spool, config: Dedup, place: Path, ordered: Ordered) -> tuple[AnyArray, KeyFile, list[KeyFile]]:
    """Number all documents, and write the merit of each, a key that copies share, and the keys of its bands."""
    near = config.near
    whole = KeyFile(place / "texts", 1 if near else 2)
    bands = [KeyFile(place / f"band-{band}") for band in range(near.bands if near else 0)]
    merits: list[AnyArray] = []

    def texts() -> Iterator[tuple[list[str], Near | None]]:
        for held in batches_of(spool.ordered()):
            if config.keep == "score":
                merits.append(np.array([_score(document, config.score) for document in held]))
            yield [document.text for document in held], near

    for shared, keys, empty in ordered(keys_of, texts()):
        if len(empty) and not config.exact:  # no shingle, no neighbour: a key of its own
            keys = keys.copy()  # what comes from a cluster may be read-only
            keys[:, empty] = whole.count + empty
        whole.add(shared)
        for band, row in zip(bands, keys, strict=True):
            band.add(row)
    if config.keep == "longest":
        merits = [np.frombuffer(spool.sizes, np.int64)] if len(spool) else []
    return np.concatenate(merits) if merits else np.zeros(len(spool), np.int8), whole, bands


def keys_of(work: tuple[Sequence[str], Near | None]) -> tuple[Hashes, Hashes, IntArray]:
    """What is to be known of texts: a key that copies share, `[n, words]`, band keys `[bands, n]`, and which texts
    have no shingle at all.

    The first is the digest, or, where there are bands, the sum of their keys. A text without a shingle has its digest's
    first word in each band.
    """
    texts, near = work
    _keep_pages()
    if near is None:
        return digests(texts), np.zeros((0, len(texts)), np.uint64), np.zeros(0, np.int64)
    shingles = shingle(texts, near.shingling)
    keys = band_keys(signatures(shingles, near), near)
    empty = np.flatnonzero(np.diff(shingles.offsets) == 0)
    if len(empty):
        keys[:, empty] = digests(texts[number] for number in empty.tolist())[:, 0]
    return keys.sum(0)[:, None], keys, empty


@cache
def _keep_pages() -> None:
    """Let this process keep the memory that one batch gives back for the next.

    The C library returns freed memory to the system beyond twice the largest block that it has seen freed, and each
    page costs a microsecond to get again: nearly half of the time of a batch. A block that nobody touches costs none.
    """
    np.empty(1 << 22, np.uint8)


def digests(texts: Iterable[str]) -> Hashes:
    """The digests of texts, `[n, 2]`."""
    return np.frombuffer(b"".join(map(digest, texts)), "<u8").reshape(-1, 2)


def _copies(spool: Spool, found: Iterable[Groups], near: Near | None) -> Iterator[Groups]:
    """Groups of one text. Such texts have the same shingles, so where there are bands only what agrees is read."""
    for groups in found:
        members = np.sort(groups.members) if near else groups.members[:0]
        words = np.empty((len(members), 2), np.uint64)
        for low in range(0, len(members), MOST):
            here = members[low : low + MOST].tolist()
            words[low : low + MOST] = digests(spool.read(number).text for number in here)
        yield equal(words, members) if near else groups


def _score(document: Document, field: str) -> float:
    value = document.fields.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        what = f"the field {field!r} that decides which copy stays holds no number"
        raise ModeledgeError("E-MISSING-FIELD", what, where=document.where, remedy="score every document")
    return float(value)


def _stays(roots: IntArray, merits: AnyArray) -> IntArray:
    """The number of the document that stands for each: of a cluster the best by merit, the first among equals."""
    order = np.lexsort((np.arange(len(roots)), -merits, roots)) if merits.any() else np.argsort(roots, kind="stable")
    sorted_roots = roots[order]
    first = np.ones(len(order), bool)
    first[1:] = sorted_roots[1:] != sorted_roots[:-1]
    best = np.zeros(len(order), np.int64)
    best[sorted_roots[first]] = order[first]
    return best[roots]


def _told(
    spool: Spool,
    stays: IntArray,
    copies: IntArray,
    ledger: Ledger,
    dropped: Callable[[Drop], None] | None,
) -> Iterator[Document]:
    """The documents that stay; of the others the ledger and `dropped` are told."""
    for number, best in enumerate(stays.tolist()):
        if number == best:
            yield spool.read(number)
            continue
        reason = DUPLICATE if copies[number] == copies[best] else NEAR
        ledger.add("filtered", reason, source=spool.source(number), bytes=spool.sizes[number])
        if dropped is not None:
            dropped(Drop(spool.read(number), reason, spool.id(best)))
