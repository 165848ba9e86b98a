"""Where sentences begin, by plain rules, for the objectives that need them: next sentence, sentence order, permutation.

A sentence ends at `.`, `!`, `?` or `…`, with the quotes and brackets that close behind it, where white space and a word
that can open a sentence follow; at the same signs of Chinese and Japanese, which no white space follows; and at an
empty line, so that titles and verses are sentences too. A full stop ends none behind a title (`Dr. No`), an initial
(`J. Bach`), an abbreviation that a name or number follows (`No. 5`, `Fig. 2`), or a word in dots (`e.g.`, `U.S.`) that
no usual opening follows. These are the cases that Kiss and Strunk (2006, "Unsupervised multilingual sentence boundary
detection") count as the frequent ones; here they are lists, of English, because a corpus must not depend on what else
is in it. A line break alone ends nothing: text may be wrapped.
"""

from __future__ import annotations

import re

import numpy as np

from modeledge.records import IntArray

CLOSING = "\"'”’»)\\]}"
SIGN = r"(?<![.!?…])(?P<sign>[.!?…]++)"  # whole runs alone: a row of a million dots is looked at once, not from each
END = re.compile(rf"{SIGN}[{CLOSING}]*(?=\s)|(?P<wide>[。！？]+)[”’」』）]*|(?P<gap>\n[^\S\n]*\n)")
OPENING = re.compile(r"\s*[\"'“‘«(\[{¿¡—–*-]*\s*")
WORD_BEFORE = re.compile(r"[^\s\"'“‘«(\[{]*$")


def listed(words: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(words.split())


NEVER = listed(
    "adm attys brig capt cmdr col cpl det dr drs ens ext fr gen gov hon insp lt maj messrs mlle mme mr mrs ms mx pfc"
    " pres prof pvt rep reps rev sen sens sgt sr supt st vs viz cf eg ie al"
)
BEFORE_NUMBERS = listed("no nos fig figs p pp vol vols ch chap sec art eq ed nr op ca approx")
MONTHS = listed("jan feb mar apr jun jul aug sep sept oct nov dec")
MAY_END = listed("etc inc ltd co corp jr bros dept est ave blvd rd")
OPENERS = listed(
    "a after all although an and as at but by for from he her his how however i if in it its many most my no on one our"
    " she since so some that the their then there these they this those though to we what when where which while who"
    " why with you your"
)


def sentence_starts(text: str) -> IntArray:
    """The places of the characters that sentences begin with, rising, `[sentences]`; none are white space.

    >>> text = "Dr. No met J. Bond at 5 p.m. sharp. Was it fun? (It was.) The U.S. won."
    >>> starts = sentence_starts(text).tolist()
    >>> [text[a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
    ['Dr. No met J. Bond at 5 p.m. sharp.', 'Was it fun?', '(It was.)', 'The U.S. won.']
    """
    starts = [_skipped(text, 0)]
    low, place = 0, starts[0]  # white space that was passed over: many empty lines may stand in it
    for match in END.finditer(text):
        if not low <= match.end() <= place:
            low, place = match.end(), _skipped(text, match.end())
        if place > starts[-1] and (match["sign"] is None or _ends(text, match, place)):
            starts.append(place)
    return np.array([start for start in starts if start < len(text)], dtype=np.int64)


def _ends(text: str, match: re.Match[str], place: int) -> bool:
    """Does the sentence end at these signs, where the next word begins at or behind `place`?"""
    opening = OPENING.match(text, place)
    assert opening is not None
    word = re.match(r"[^\W_]+", text[opening.end() : opening.end() + 40])
    if word is None:
        return place < len(text)
    if word[0][0].islower():
        return False
    return match["sign"] != "." or _full_stop(text, match.start(), word[0])


def _full_stop(text: str, place: int, following: str) -> bool:
    """Is the dot at `place`, before a word that opens like a sentence, more than the mark of an abbreviation?"""
    before = WORD_BEFORE.search(text[max(place - 40, 0) : place])
    word = before[0] if before else ""
    plain = word.lower().rstrip(".")
    if plain in NEVER:
        return False
    if plain in BEFORE_NUMBERS or plain in MONTHS:
        return not following[0].isdigit()
    if "." in word and word.replace(".", "").isalpha() and all(len(part) < 3 for part in word.split(".")):
        return following.lower() in OPENERS and plain not in ("e.g", "i.e")
    if plain in MAY_END:
        return following.lower() in OPENERS
    return not (len(word) == 1 and word.isupper() and word != "I")


def _skipped(text: str, place: int) -> int:
    """The next place that is not white space."""
    while place < len(text) and text[place].isspace():
        place += 1
    return place
