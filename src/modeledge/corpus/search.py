"""Looking for a pattern in a corpus: how often does running text show a task being done?

GPT-2 was never taught to translate, and did: its authors looked for the reason in the training text and found people
quoting a phrase with its translation, in passing (Radford et al. 2019, table 1, "naturally occurring demonstrations").
What a model can do without training is often in its corpus; a search of it says how often, and shows where.

`DEMONSTRATIONS` has patterns for a few such tasks. They find *candidates*: a count is an upper bound until somebody has
read a sample, which is why a sample is shown. It is drawn by the smallest BLAKE2b of document and place, so it depends
on the documents alone, and holds `limit` finds whatever the corpus's size.

A pattern can take exponential time on an unlucky document (`(a+)+$`). Python's matcher asks for signals while it
works, so a timer ends it: after `seconds` a document is given up, counted and named, and the search goes on.
"""

from __future__ import annotations

import hashlib
import heapq
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.records import Document

_LANGUAGES = "English|French|German|Spanish|Italian|Latin|Dutch|Portuguese|Russian|Chinese|Japanese|Greek|Arabic"
_QUOTED = "[\"“‘«'][^\"”’»'\\n]{2,200}[\"”’»']"
DEMONSTRATIONS = {
    "translation": rf"{_QUOTED}[^.!?\n]{{0,60}}\b(?:in (?:{_LANGUAGES})|translat\w+|which means|meaning)\b"
    rf"[^.!?\n]{{0,60}}{_QUOTED}"
    rf"|\b(?:{_LANGUAGES})\b[^.!?\n]{{0,40}}{_QUOTED}[^.!?\n]{{0,80}}\b(?:{_LANGUAGES})\b[^.!?\n]{{0,40}}{_QUOTED}",
    "summary": r"\b(?:TL;?DR|In short|To sum up|In summary)\b:?[^\n]{10,300}",
    "question-answer": r"(?m)^\s*(?:Q|Question)\s*[:.][^\n]{3,300}\n+\s*(?:A|Answer)\s*[:.][^\n]{1,300}",
    "definition": r"\b(?:is defined as|which is short for|stands for)\b[^.!?\n]{3,200}",
    "arithmetic": r"\b\d+(?:\.\d+)?\s*[-+×x*/]\s*\d+(?:\.\d+)?\s*=\s*\d+(?:\.\d+)?\b",
}


@dataclass(frozen=True, order=True)
class Find:
    """One place where the pattern stands, with the text around it."""

    id: str
    start: int
    before: str
    text: str
    after: str
    source: str = ""


@dataclass
class Found:
    """What a search came to: counts in all and by source, a sample, and the documents that were given up."""

    documents: int = 0
    matching: int = 0
    finds: int = 0
    sources: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # documents, matching, finds
    sample: list[Find] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    unfinished: int = 0


class _TimeIsUp(Exception):
    pass


def search(
    pattern: str, documents: Iterable[Document], *, limit: int = 10, context: int = 80, seconds: float = 1.0
) -> Found:
    """Look for a regular expression, or for a name of `DEMONSTRATIONS` after `@`, in each document.

    `limit` finds are shown, with `context` characters on both sides. Raises `E-CONFIG-VALUE` for a pattern that is none
    or that matches nothing at all, and `E-USAGE` outside the main thread, where no timer can end a match.
    """
    compiled, found, heap = compile_pattern(pattern), Found(), list[tuple[int, Find]]()
    if threading.current_thread() is not threading.main_thread():
        raise ModeledgeError("E-USAGE", "a search needs the main thread: its time limit is a signal")
    for document in documents:
        count = 0
        try:
            with _at_most(seconds):
                for match in compiled.finditer(document.text):
                    if match.end() > match.start():
                        count += 1
                        _keep(heap, limit, document, match, context)
        except _TimeIsUp:
            found.unfinished += 1
            if len(found.given_up) < 20:
                found.given_up.append(document.where or document.id)
        _count(found, document.source, count)
    found.sample = [find for _, find in sorted(heap, key=lambda entry: -entry[0])]
    return found


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern or of a name after `@`."""
    if pattern.startswith("@"):
        if pattern[1:] not in DEMONSTRATIONS:
            what = f"{printable(pattern, 40)!r} is no demonstration"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy=nearest(pattern[1:], DEMONSTRATIONS))
        pattern = DEMONSTRATIONS[pattern[1:]]
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        what = f"{printable(pattern, 80)!r} is no regular expression ({error})"
        raise ModeledgeError("E-CONFIG-VALUE", what, remedy="see Python's re; quote it for the shell") from error


def _count(found: Found, source: str, count: int) -> None:
    found.documents, found.matching, found.finds = (
        found.documents + 1,
        found.matching + bool(count),
        found.finds + count,
    )
    documents, matching, finds = found.sources.get(source, (0, 0, 0))
    found.sources[source] = (documents + 1, matching + bool(count), finds + count)


def _keep(heap: list[tuple[int, Find]], limit: int, document: Document, match: re.Match[str], context: int) -> None:
    """Put a find into the sample if it is among the first."""
    start, end = match.span()
    name = hashlib.blake2b(f"{start}:{document.id}".encode("utf-8", "surrogatepass"), digest_size=8)
    rank = -int.from_bytes(name.digest(), "big")
    if not limit or (len(heap) == limit and rank <= heap[0][0]):
        return
    text, stop = document.text, min(end, start + 1000)
    around = text[max(0, start - context) : start], text[start:stop], text[end : end + context]
    entry = (rank, Find(document.id, start, *around, document.source))
    (heapq.heappush if len(heap) < limit else heapq.heapreplace)(heap, entry)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise `_TimeIsUp` in the block when the time is over."""

    def over(number: int, frame: FrameType | None) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
