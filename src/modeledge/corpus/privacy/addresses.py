"""Street addresses, where a rule is safe: a house number, one to four names, and a word that only streets end with.

Addresses of most countries have no such word, and a list of places would be needed for what follows the street, so the
recall is low and said so: this finds the English, German and post-box forms, and the town behind them where a US state
and ZIP code, or a UK postcode, close the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SUFFIX = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Boulevard|Blvd|Court|Ct|Place|Pl|Terrace|Square|Sq|Highway|Hwy"
    r"|Parkway|Pkwy|Circle|Cir|Trail|Crescent|Cres|Alley|Row|Mews|Close|Grove|Broadway|Turnpike|Plaza|Creek|Ridge|Way"
    r"|Walk|Hill|Gardens|Crossing|Loop|Pike|Run)"
)
UNIT = r"(?:\.?,?\s+(?:Apt|Apartment|Suite|Ste|Unit|Floor|Fl|#)\.?\s?#?\w{1,6}\b)?"
TOWN = (
    r"(?:\.?[,\s]\s{0,2}(?:[A-Z][\w.'’-]{0,30}\s){0,3}[A-Z][\w.'’-]{0,30},?"
    r"\s(?:[A-Z]{2}\s+\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2})\b)?"
)
ENGLISH = re.compile(
    r"(?<![\w.,$€£-])\d{1,6}[A-Za-z]?,?\s+(?:(?:[NSEW]|North|South|East|West)\.?\s+)?"
    r"(?:(?:[A-Z][\w'’-]*|\d{1,3}(?:st|nd|rd|th))\s+){1,4}"
    rf"{SUFFIX}\b{UNIT}{TOWN}"
)
GERMAN = re.compile(
    r"\b(?:[A-ZÄÖÜ][\wäöüß-]{0,40}(?:straße|strasse|str\.|gasse|allee|platz|weg|ufer|damm)"
    r"|[A-ZÄÖÜ][\wäöüß-]{0,40}(?:er|-)\s(?:Straße|Str\.|Allee|Platz|Weg|Gasse))\s\d{1,4}\s?[a-z]?\b(?:,?\s\d{5}\s[A-ZÄÖÜ][\wäöüß-]+)?"
)
BOX = re.compile(r"\b(?:P\.?\s?O\.?\s?Box|PO Box|Post Office Box)\s\d{1,7}\b" + TOWN)
MILITARY = re.compile(
    r"\b(?:PSC|Unit|CMR|USNV|USNS|USS)\s[\w ]{1,20},?\s(?:Box\s\d+\s)?(?:APO|FPO|DPO)\s(?:AA|AE|AP)\s\d{5}\b"
)


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """Streets with a house number, post-office boxes, military mail."""
    for pattern in (ENGLISH, GERMAN, BOX, MILITARY):
        yield from (match.span() for match in pattern.finditer(text))
