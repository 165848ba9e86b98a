"""Telephone numbers. Their forms are many and their digits prove nothing, so a form must speak for itself:

- a country code behind a plus (ITU-T E.123): `+41 44 668 18 00`;
- the North American form, with its separators (`(541) 714-1388`) and area and exchange codes that begin with 2 to 9;
- a national number with its trunk zero in groups (`079 044 17 44`, `01.84.17.61.18`);
- any six to fifteen digits behind a word that announces a telephone (`tel.`, `call me at`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

EXTENSION = r"(?:\s?(?:x|ext\.?|extension)\s?\d{1,6})?"
AFTER = r"(?![\w@/]|[-.,]\d)"
FORMS = (
    re.compile(rf"(?<![\w+])\+\d{{1,3}}(?:[ .\-/]?\(?\d{{1,5}}\)?){{2,7}}{EXTENSION}{AFTER}"),
    re.compile(
        rf"(?<![\w+.\-/])(?:\+?1[ .-])?(?:\([2-9]\d\d\)[ .-]?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{{4}}{EXTENSION}{AFTER}"
    ),
    re.compile(rf"(?<![\w+.,\-/])(?<!\d )00[1-9](?:[ .\-/]?\(?\d{{1,5}}\)?){{3,7}}{EXTENSION}{AFTER}"),
    re.compile(rf"(?<![\w+.,\-/])(?<!\d )\(?0[1-9]\d{{0,4}}\)?(?:[ .\-/]\d{{2,8}}){{1,4}}{AFTER}"),
)
ANNOUNCED = re.compile(
    r"(?:\b(?:tele)?phones?\b|\btel\b|\bmobile\b|\bcell\b|\bfax\b|\bwhats\s?app\b|\bsms\b|\bhotline\b|\bdial\b|\bring\b"
    r"|\bcall(?:ed|ing)?\b|\btext\b|\breach(?:ed)?\b|\bcontact\b)(?:[^\d\n+]{0,40}?|:\s{0,3})"
    rf"(\(?\+?\(?\d[\d ().\-/]{{4,20}}\d{EXTENSION}){AFTER}",
    re.IGNORECASE,
)
DATE = re.compile(
    r"(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d\d|(?:19|20)\d\d\s?-\s?(?:19|20)\d\d"
)


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Numbers of seven to fifteen digits (E.164 allows no more), six where a word announces them."""
    for pattern in FORMS:
        for match in pattern.finditer(text):
            if 8 <= digits(match[0]) <= 15 + 6 * ("x" in match[0]) and not DATE.match(match[0]):
                yield match.span()
    for match in ANNOUNCED.finditer(text):
        start, end = match.span(1)
        if 6 <= digits(match[1]) <= 21 and not DATE.match(match[1]):
            yield start, end


def digits(text: str) -> int:
    """How many digits there are."""
    return sum(map(str.isdigit, text))
