"""Names, dates and numbers in a text, by plain rules: the spans that are worth guessing.

Salient span masking (Guu et al. 2020, REALM, arXiv 2002.08909, section 3.4) hides spans "such as United Kingdom or
July 1969" that ask for knowledge of the world, where a span drawn at random mostly asks for grammar. The authors find
names with a tagger trained on CoNLL-2003 and dates with a regular expression. Here both are rules, so that a corpus
needs no model and is the same everywhere:

- a *date* is a month with its day or year, a day of the week, a date in figures, a year 1000-2099 or a decade;
- a *number* is a run of figures with its separators, its currency before it and its unit or scale behind it;
- a *name* is a run of capitalised words, with the particles that stand inside names (`Bank of England`). A single
  capitalised word that opens a sentence is a name only where the document writes it with a capital elsewhere too,
  where grammar does not ask for it, and never without; words that are always written so and name nothing (`I`) are
  none. The rules are made for English and for scripts that have capitals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from modeledge.corpus.sentences import listed, sentence_starts
from modeledge.records import IntArray

MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Jan\.|Feb\.|Mar\.|Apr\.|Jun\.|Jul\.|Aug\.|Sept?\.|Oct\.|Nov\.|Dec\.)"
)
DAY = r"(?:[0-3]?\d)(?:st|nd|rd|th)?"
YEAR = r"(?:1\d|20)\d\d"
DATE = re.compile(
    rf"\b{DAY}\s+(?:of\s+)?{MONTH}(?:,?\s+{YEAR}\b)?"
    rf"|\b{MONTH}\s+{DAY}\b(?:,?\s+{YEAR}\b)?"
    rf"|\b{MONTH},?\s+{YEAR}\b"
    r"|\b(?:January|February|April|June|July|August|September|October|November|December)\b"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
    r"|\b\d{4}-\d\d-\d\d\b|\b\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)\b"
    rf"|\b{YEAR}(?:[-–]\d\d(?:\d\d)?)?\b(?![.,]\d)|\b{YEAR}s\b"
)
NUMBER = re.compile(
    r"[$€£¥]?(?<![\w.])\d+(?:[.,]\d+)*(?:\s*%|(?:st|nd|rd|th)\b|\s+(?:hundred|thousand|million|billion|trillion|percent)\b)?"
)
WORD = re.compile(r"[^\W\d_]+(?:[-'’.&][^\W\d_]+)*")
PARTICLES = listed("of the de la le du von van der den di da bin")
NO_NAMES = listed(
    "i i'm i've i'd i'll mr mrs ms dr sir a an the this that these those he she it we you they his her its our your"
    " their my and or but if in on at by for from with of to as so no not yes when where what who why how there here"
    " then however"
)


def salient_spans(text: str) -> IntArray:
    """From which to which character each span reaches, `[spans, 2]`, rising, none inside another.

    >>> text = "In July 1969 the crew of Apollo 11 met Queen Elizabeth. They stayed 3 days."
    >>> [text[a:b] for a, b in salient_spans(text)]
    ['July 1969', 'Apollo', '11', 'Queen Elizabeth', '3']
    """
    taken = np.zeros(len(text) + 1, dtype=bool)
    spans = []
    for found in (DATE.finditer(text), NUMBER.finditer(text), _names(text)):
        for match in found:
            start, stop = match if isinstance(match, tuple) else match.span()
            if not taken[start:stop].any():
                taken[start:stop] = True
                spans.append((start, stop))
    return np.array(sorted(spans), dtype=np.int64).reshape(-1, 2)


def _names(text: str) -> Iterator[tuple[int, int]]:
    """Runs of capitalised words, particles inside them, single openings of sentences only where they must be names."""
    words = list(WORD.finditer(text))
    opens = _openings(text, words)
    small = {word[0].lower() for word in words if not word[0][0].isupper()}
    great = {word[0] for place, word in enumerate(words) if word[0][0].isupper() and place not in opens}
    run: list[int] = []
    for place in range(len(words) + 1):
        if place < len(words) and _continues(text, words, run, place):
            run.append(place)
            continue
        yield from _trimmed(words, run, opens, small, great)
        starts = place < len(words) and words[place][0][0].isupper()
        run = [place] if starts else []


def _continues(text: str, words: list[re.Match[str]], run: list[int], place: int) -> bool:
    """Does a word go on with the run before it: one space between them, capitalised or a particle?"""
    if not run:
        return False
    gap = text[words[run[-1]].end() : words[place].start()]
    initial = len(words[run[-1]][0]) == 1 and gap == ". "
    return (gap == " " or initial) and (words[place][0][0].isupper() or words[place][0] in PARTICLES)


def _trimmed(
    words: list[re.Match[str]], run: list[int], opens: set[int], small: set[str], great: set[str]
) -> Iterator[tuple[int, int]]:
    """The run without what no name begins or ends with; nothing where no name is left."""
    while run and (words[run[-1]][0] in PARTICLES or words[run[-1]][0].lower() in NO_NAMES):
        run = run[:-1]
    while run and words[run[0]][0].lower() in NO_NAMES:
        run = run[1:]
    if not run:
        return
    first = words[run[0]][0]
    doubtful = run[0] in opens and (first.lower() in small or first not in great)
    if doubtful and (len(run) == 1 or first.lower() in small):
        run = run[1:]
    while run and words[run[0]][0] in PARTICLES:
        run = run[1:]
    if run:
        yield words[run[0]].start(), words[run[-1]].end()


def _openings(text: str, words: list[re.Match[str]]) -> set[int]:
    """Which words are the first of their sentence."""
    places = np.array([word.start() for word in words], dtype=np.int64)
    return set(np.searchsorted(places, sentence_starts(text)).tolist())
