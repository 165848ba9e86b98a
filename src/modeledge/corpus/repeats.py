"""Each line, sentence or run of sentences once: the level below whole documents.

Web pages repeat menus, notices and headlines a thousand times, in documents that are otherwise different. CCNet (Wenzek
et al. 2020, arXiv 1911.00359) takes out repeated paragraphs; C4 (Raffel et al. 2020, arXiv 1910.10683, section 2.2)
"discarded all but one of any three-sentence span occurring more than once in the data set": `Repeats(unit="sentence",
span=3)`. Spans overlap, so a rule is needed where a later copy of one span is part of the first of another: a unit
goes where a later copy covers it, and stays where the first one of some repeated span covers it too. So of each
repeated span the first survives whole, and a later copy only where firsts of others cover all of it.

Units are compared as shingles are: in lower case, without punctuation, white space as one space. What has no letter
or digit left (`* * *`, `}`) is no unit and stays. First means first in the order that the documents come in.
"""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from modeledge.corpus.clusters import KeyFile
from modeledge.corpus.filter import size
from modeledge.corpus.sentences import sentence_starts
from modeledge.corpus.shingles import Hashes, plain
from modeledge.corpus.spool import Spool
from modeledge.corpus.workers import Ordered, batches_of, in_this_process
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import AnyArray, Document, Ledger

Unit = Literal["line", "sentence"]
Scope = Literal["document", "corpus"]
Flags = npt.NDArray[np.uint8]
ONCE, FIRST, LATER = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """What is kept once: spans of `span` lines or sentences with at least `shortest` words, within one document or in
    the whole corpus. A document of fewer units than `span` has no span. Raises `E-CONFIG-VALUE`."""

    unit: Unit = "line"
    span: int = 1
    scope: Scope = "corpus"
    shortest: int = 1

    def __post_init__(self) -> None:
        for name, value, known in (("unit", self.unit, get_args(Unit)), ("scope", self.scope, get_args(Scope))):
            if value not in known:
                raise ModeledgeError("E-CONFIG-VALUE", f"{name} = {value!r}", remedy=nearest(value, known))
        if self.span < 1 or self.shortest < 1:
            raise ModeledgeError("E-CONFIG-VALUE", f"span = {self.span}, shortest = {self.shortest}: at least 1")

    @property
    def reason(self) -> str:
        """How the ledger names what was cut."""
        return f"duplicate {self.unit}" if self.span == 1 else f"duplicate span of {self.span} {self.unit}s"


def without_repeats(
    documents: Iterable[Document],
    config: Repeats,
    *,
    ledger: Ledger,
    folder: Path | None = None,
    memory: int = 1 << 28,
    ordered: Ordered = in_this_process,
    emptied: Callable[[Document, str], None] | None = None,
) -> Iterator[Document]:
    """The documents, in the order of their ids, without the later copies of spans.

    The ledger counts the units and bytes as `cut`; a document of which nothing but white space is left is `filtered`
    under "only …s", and `emptied` is told of it. Raises `E-DUP-ID`.
    """
    if config.scope == "document":
        for document in documents:
            yield from _cut(document, _flags_within(_keys(document.text, config)), config, ledger, emptied)
        return
    with tempfile.TemporaryDirectory(dir=folder) as place, Spool(Path(place), memory) as spool:
        for document in documents:
            spool.add(document)
        file, ends = KeyFile(Path(place) / "spans", 2), array("q", [0])
        pieces = batches_of(spool.ordered())
        for keys, counts in ordered(keys_of, (([d.text for d in held], config) for held in pieces)):
            file.add(keys)
            for count in counts:
                ends.append(ends[-1] + count)
        flags = _flags(file, Path(place) / "flags", memory)
        for document, (start, stop) in zip(spool, pairwise(ends), strict=True):
            yield from _cut(document, flags[start:stop], config, ledger, emptied)


def keys_of(work: tuple[list[str], Repeats]) -> tuple[Hashes, list[int]]:
    """The keys `[spans, 2]` of all spans of some texts, and how many each text has."""
    texts, config = work
    found = [_keys(text, config) for text in texts]
    return np.concatenate([*found, np.zeros((0, 2), np.uint64)]), [len(keys) for keys in found]


def units_of(text: str, unit: Unit) -> list[tuple[int, int, bytes]]:
    """Where the units of a text begin and end, and what they are compared by; those without a word are left out."""
    if unit == "line":
        ends = np.cumsum([len(line) for line in text.splitlines(keepends=True)]).tolist()
        bounds = [0, *ends]
    else:
        starts = sentence_starts(text).tolist()
        bounds = [0, *starts[1:], len(text)]
    named = ((a, b, b" ".join(plain(text[a:b], False).split())) for a, b in pairwise(bounds))
    return [found for found in named if found[2]]


def _keys(text: str, config: Repeats) -> Hashes:
    """128 bits for each span of a text, `[spans, 2]`; a span that is too short has a key of zeros."""
    names = [name for _, _, name in units_of(text, config.unit)]
    keys = []
    for start in range(len(names) - config.span + 1):
        span = b"\n".join(names[start : start + config.span])
        long = len(span.split()) >= config.shortest
        keys.append(hashlib.blake2b(span, digest_size=16).digest() if long else bytes(16))
    return np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)


def _flags_within(keys: Hashes) -> Flags:
    """Which spans of one document come once, first, or later."""
    if not len(keys):
        return np.zeros(0, np.uint8)
    _, first, group, counts = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    flags = np.where(counts[group] > 1, LATER, ONCE).astype(np.uint8)
    flags[first[counts > 1]] = FIRST
    flags[~keys.any(1)] = ONCE
    return flags


def _flags(file: KeyFile, path: Path, memory: int) -> AnyArray:
    """Which spans of the corpus come once, first, or later, as a file: one byte each."""
    if not file.count:
        return np.zeros(0, np.uint8)
    flags = np.memmap(path, np.uint8, "w+", shape=(file.count,))
    for groups in file.groups(memory):
        flags[groups.members] = LATER
        flags[groups.members[groups.starts[:-1]]] = FIRST
    keys = np.memmap(file.path, np.uint64, "r", shape=(file.count, 2))
    for low in range(0, file.count, 1 << 20):
        flags[low : low + (1 << 20)][~keys[low : low + (1 << 20)].any(1)] = ONCE
    return flags


def _cut(
    document: Document,
    flags: AnyArray,
    config: Repeats,
    ledger: Ledger,
    emptied: Callable[[Document, str], None] | None,
) -> Iterator[Document]:
    """The document without its later copies, if anything is left."""
    if not (flags == LATER).any():
        yield document
        return
    units = units_of(document.text, config.unit)
    gone, safe = (np.zeros(len(units), bool) for _ in range(2))
    for shift in range(config.span):
        gone[shift : shift + len(flags)] |= flags == LATER
        safe[shift : shift + len(flags)] |= flags == FIRST
    gone &= ~safe
    parts, place = [], 0
    for (start, stop, _), leaves in zip(units, gone.tolist(), strict=True):
        if leaves:
            parts.append(document.text[place:start])
            place = stop
    left = replace(document, text="".join([*parts, document.text[place:]]))
    if not left.text.strip():
        reason = f"only {config.reason}s"
        ledger.add("filtered", reason, source=document.source, bytes=size(document))
        if emptied is not None:
            emptied(document, reason)
        return
    lost = size(document) - size(left)
    ledger.add("cut", config.reason, source=document.source, records=int(gone.sum()), bytes=lost)
    yield left
