"""Porter's stemmer: walking, walked and walks become one word.

Porter's algorithm (1980, Program 14(3), 130–137) strips English suffixes in five steps. Letters are vowels (a, e, i,
o, u, and y after a consonant) or consonants, a word reads [C](VC)^m[V], and its measure m, the number of turns from
vowel to consonant, says whether enough of a word would be left. Within a step the first suffix of the list that fits
decides: if its condition fails, the step changes nothing.

There are several Porters. ROUGE is computed with the variant of NLTK ("NLTK_EXTENSIONS": a dozen irregular words, -ied
and four-letter -ies kept readable, y turned to i after any consonant, -alli before the other suffixes of step two,
-fulli, a shorter stem for -logi, a vowel and a consonant alone counted as a short syllable), so that is the variant
here, equal to it word by word; Porter's own page and the Snowball libraries stem otherwise.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

VOWELS = frozenset("aeiou")
IRREGULAR = {
    "skies": "sky",
    "sky": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}
PLURALS = (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", ""))
DOUBLE = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
)
SINGLE = (("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""))
ENDINGS = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment"),
    *("ent", "ion", "ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


@lru_cache(maxsize=1 << 16)
def porter(word: str) -> str:
    """The stem of one word, which is put in lower case first.

    >>> [porter(word) for word in ("walking", "walked", "relational", "dying", "happy")]
    ['walk', 'walk', 'relat', 'die', 'happi']
    """
    word = word.lower()
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (plural, past, final_y, double_suffix, single_suffix, last_suffix, final_e):
        word = step(word)
    return word[:-1] if word.endswith("ll") and measure(word[:-1]) > 1 else word


def plural(word: str) -> str:
    """Step 1a: -sses, -ies, -s."""
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return replaced(word, PLURALS, least=-1)


def past(word: str) -> str:
    """Step 1b: -eed, -ed, -ing, and what the cut left is mended (hopping → hopp → hop, filing → fil → file)."""
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        stem = word.removesuffix(suffix)
        if stem != word and not all(consonants(stem)):
            return mended(stem)
    return word


def mended(stem: str) -> str:
    """What -ed or -ing was cut from, with its e put back or its doubled consonant made single."""
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if len(stem) > 1 and stem[-1] == stem[-2] and consonants(stem)[-1]:
        return stem if stem[-1] in "lsz" else stem[:-1]
    return stem + "e" if measure(stem) == 1 and short(stem) else stem


def final_y(word: str) -> str:
    """Step 1c: y after a consonant becomes i, unless only that consonant stands before it."""
    return word[:-1] + "i" if word.endswith("y") and len(word) > 2 and consonants(word[:-1])[-1] else word


def double_suffix(word: str) -> str:
    """Step 2: a double suffix becomes a single one."""
    if word.endswith("alli") and measure(word[:-4]) > 0:
        return double_suffix(word[:-2])
    if word.endswith("logi"):
        return word[:-1] if measure(word[:-3]) > 0 else word
    return replaced(word, DOUBLE, least=0)


def single_suffix(word: str) -> str:
    """Step 3: -ic-, -full, -ness and their like."""
    return replaced(word, SINGLE, least=0)


def last_suffix(word: str) -> str:
    """Step 4: what suffix remains is cut where much stands before it."""
    for suffix in ENDINGS:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            return stem if measure(stem) > 1 and (suffix != "ion" or stem[-1] in "st") else word
    return word


def final_e(word: str) -> str:
    """Step 5a: a final e goes, unless it keeps a short syllable long."""
    stem = word[:-1]
    if word.endswith("e") and (measure(stem) > 1 or (measure(stem) == 1 and not short(stem))):
        return stem
    return word


def replaced(word: str, rules: tuple[tuple[str, str], ...], least: int) -> str:
    """The first suffix that fits is replaced where the measure before it is above `least`."""
    for suffix, other in rules:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            return stem + other if measure(stem) > least else word
    return word


def consonants(word: str) -> list[bool]:
    """For each letter: is it a consonant?"""
    flags: list[bool] = []
    for letter in word:
        flags.append(not (flags and flags[-1]) if letter == "y" else letter not in VOWELS)
    return flags


def measure(word: str) -> int:
    """m: how often a vowel is followed by a consonant."""
    flags = consonants(word)
    return sum(second and not first for first, second in pairwise(flags))


def short(word: str) -> bool:
    """Does the word end consonant, vowel, consonant other than w, x, y; or is it a vowel and a consonant alone?"""
    flags = consonants(word)
    if len(flags) == 2:
        return flags == [False, True]
    return flags[-3:] == [True, False, True] and word[-1] not in "wxy"
