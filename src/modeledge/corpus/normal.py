"""Unicode normal form C in linear time.

Canonical order sorts each run of combining marks by class (UAX #15, Canonical Ordering Algorithm), and Python sorts by
insertion: a run of n marks costs n² steps. Text that is piled up with marks ("zalgo") is found in every crawl, and one
megabyte of it would hold a worker for an hour. A run that is in order already costs n, so long runs are sorted here
first; the result is the same to the byte, because canonical order is a stable sort.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

LONG = 64  # marks in a row; the Stream-Safe Text Format of UAX #15 calls 30 more than any language needs


def nfc(text: str) -> str:
    """The text in normal form C, equal to `unicodedata.normalize("NFC", text)`."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    if len(text) > LONG:
        text = _runs(max(text) > "\uffff").sub(_ordered, text)
    return unicodedata.normalize("NFC", text)


def _ordered(run: re.Match[str]) -> str:
    parts = "".join(unicodedata.normalize("NFD", mark) for mark in run[0])
    return "".join(sorted(parts, key=unicodedata.combining))


@cache
def _runs(far: bool) -> re.Pattern[str]:
    """Long runs of marks: characters with a combining class, and the few that decompose into such.

    Without those beyond U+FFFF (`far`) the class is a table and the search ten times as fast.
    """
    marks = [
        code
        for code in map(chr, range(0x300, sys.maxunicode + 1))
        if unicodedata.combining(code) or (unicodedata.decomposition(code) and _becomes_mark(code))
    ]
    near, beyond = ("".join(m for m in marks if (m > "\uffff") == high) for high in (False, True))
    return re.compile(f"(?:[{near}]|[{beyond}]){{{LONG},}}" if far else f"[{near}]{{{LONG},}}")


def _becomes_mark(character: str) -> bool:
    return unicodedata.combining(unicodedata.normalize("NFD", character)[0]) != 0
