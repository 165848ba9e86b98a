"""Rows that stand on both sides of a split: equal ones, and near copies with the same answer.

A model that has seen a test row is asked what it remembers. The benchmarks themselves are not clean: CoLA's dev set has
1.2 % of its sentences in its training file, STS-B's 0.4 %, UD English's 5 % (nearly all of them "Thank you." and its
like). So a few are said, and more than a benchmark has ever had are refused; docs/decisions/0013 has the measurements.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modeledge.preflight.data import said, texts_of
from modeledge.preflight.finding import Finding
from modeledge.preflight.view import Split, View, spread

ASKED, LEARNED = 400, 4_000_000  # rows of an evaluation, characters of a training split, compared for near copies
WORDS, NEAR = 8, 0.8  # texts of so many words are near from this Jaccard similarity of their word trigrams
SHORT = 4  # rows of fewer words are said by many ("thank you very much")
EQUAL_SHARE, SHORT_SHARE = 0.02, 0.10  # shares of equal rows, short ones left out and counted in, that are refused
NEAR_SHARE, NEAR_LEAST = 0.02, 2  # the same for near copies; one alone is chance


@dataclass(frozen=True)
class Told:
    """What a row says: the texts that are read, what is to be answered (`None` where nothing is), and where it is."""

    texts: tuple[str, ...]
    target: Any
    where: str


def shared_rows(view: View) -> Iterator[Finding]:
    """No evaluation row stands among the training rows, up to case, white space and punctuation."""
    known: dict[tuple[str, ...], str] = {}
    for row in told(view, view.train) if view.others else ():
        known.setdefault(tuple(map(plain, row.texts)), row.where)
    for name, split in view.others.items():
        rows = list(told(view, split))
        keys = [tuple(map(plain, row.texts)) for row in rows]
        found = [n for n, key in enumerate(keys) if key in known]
        long = [n for n in found if words(keys[n]) >= SHORT]
        if not found:
            continue
        first = (long or found)[0]
        what = f"{len(found)} of {len(rows)} {name} rows are training rows too, but for case and spaces"
        short = f" ({len(found) - len(long)} of fewer than {SHORT} words)" if len(long) < len(found) else ""
        refused = len(long) > EQUAL_SHARE * len(rows) or len(found) > SHORT_SHARE * len(rows)
        where, remedy = f"{rows[first].where} = {known[keys[first]]}", "drop them from one side"
        if refused or long:
            yield Finding("E-LEAK" if refused else "W-LEAK", what + short, where, remedy, said(rows[first].texts))


def near_rows(view: View) -> Iterator[Finding]:
    """Few evaluation rows nearly equal a training row of the same answer: each of its texts shares `NEAR` of its word
    trigrams, and so does an answer that is a text."""
    every = list(told(view, view.train)) if view.others else []
    size = sum(len(text) for row in every for text in row.texts)
    learned = [every[i] for i in spread(len(every), len(every) * LEARNED // max(LEARNED, size))]
    for name, split in view.others.items():
        rows = list(told(view, split))
        asked = [rows[i] for i in spread(len(rows), ASKED)]
        found = [pair for pair in near_pairs(asked, learned) if pair[2] < 1.0]  # 1: `shared_rows`
        if found:
            row, where, similarity = found[0]
            what = f"{len(found)} of {len(asked)} {name} rows looked at nearly equal a training row ({similarity:.2f})"
            refused = len(found) >= NEAR_LEAST and len(found) > NEAR_SHARE * len(asked)
            told_where, remedy = f"{asked[row].where} ~ {where}", "put near copies on one side"
            yield Finding("E-LEAK" if refused else "W-LEAK", what, told_where, remedy, said(asked[row].texts))


def told(view: View, split: Split) -> Iterator[Told]:
    """The rows of a split; of examples without rows their decoded tokens."""
    targets: Iterable[Any] = (row.get(view.target) for row in split.rows) if view.target is not None else ()
    answers = list(targets) if split.rows and view.target is not None else None
    for number, (texts, where) in enumerate(texts_of(view, split)):
        yield Told(texts, None if answers is None else answers[number], where)


def near_pairs(asked: Sequence[Told], learned: Iterable[Told]) -> list[tuple[int, str, float]]:
    """(asked row, where its likest training row is, similarity of the least like text) of each near pair, exactly.

    Jaccard similarity of word trigrams (Broder 1997), counted through an index of the asked rows' trigrams, so that the
    training rows are read once and no signature is drawn.
    """
    mine = [tuple(trigrams(text) for text in row.texts) for row in asked]
    index = defaultdict[int, set[int]](set)
    for row, sets in enumerate(mine):
        for one in max(sets, key=len, default=frozenset()):
            index[one].add(row)
    best: dict[int, tuple[float, str]] = {}
    for other in learned:
        theirs = tuple(trigrams(text) for text in other.texts)
        hits = Counter(row for one in set[int]().union(*theirs) for row in index.get(one, ()))
        for row, count in hits.items():
            if count >= NEAR / 2 * max(map(len, mine[row])):
                likeness = min(jaccard(a, b) for a, b in zip(mine[row], theirs, strict=True))
                better = likeness >= NEAR and likeness > best.get(row, (0.0, ""))[0]
                if better and alike(asked[row].target, other.target):
                    best[row] = (likeness, other.where)
    return [(row, where, likeness) for row, (likeness, where) in sorted(best.items())]


def alike(one: Any, other: Any) -> bool:
    """Are two answers the same as far as a leak goes? Names are compared, and texts as rows are; a number or a list
    says little, so it does not part two rows."""
    if not (isinstance(one, str) and isinstance(other, str)):
        return True
    return jaccard(trigrams(one), trigrams(other)) >= NEAR


def trigrams(text: str) -> frozenset[int]:
    """The hashed word trigrams of a text; of one that is too short, itself alone."""
    words = plain(text).split()
    if len(words) < WORDS:
        return frozenset([hash(tuple(words))])
    return frozenset(hash(tuple(words[i : i + 3])) for i in range(len(words) - 2))


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """|a ∩ b| / |a ∪ b|."""
    return len(a & b) / max(1, len(a | b))


def plain(text: str) -> str:
    """A text without case, punctuation and surplus white space (NFKC)."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())) or text.strip()


def words(texts: Sequence[str]) -> int:
    """How many words a row has."""
    return sum(len(text.split()) for text in texts)
