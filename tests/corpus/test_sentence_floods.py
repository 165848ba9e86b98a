"""Sentences of texts that are nothing but signs or empty lines: the same, in a time that grows with the text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledge.corpus import sentences
from modeledge.corpus.sentences import CLOSING, sentence_starts

PLAIN = re.compile(rf"(?P<sign>[.!?…]+)[{CLOSING}]*(?=\s)|(?P<wide>[。！？]+)[”’」』）]*|(?P<gap>\n[^\S\n]*\n)")


@given(st.text(alphabet='aB .!?…)"\n\t。」', max_size=60))
def test_the_quick_pattern_finds_what_the_plain_one_does(text: str) -> None:
    def found(pattern: re.Pattern[str]) -> list[tuple[tuple[int, int], dict[str, str | None]]]:
        return [(match.span(), match.groupdict()) for match in pattern.finditer(text)]

    assert found(sentences.END) == found(PLAIN)
    starts = []
    for match in PLAIN.finditer(text):
        place = sentences._skipped(text, match.end())
        before = (starts or [sentences._skipped(text, 0)])[-1]
        if place > before and (match["sign"] is None or sentences._ends(text, match, place)):
            starts.append(place)
    wanted = [start for start in [sentences._skipped(text, 0), *starts] if start < len(text)]
    assert sentence_starts(text).tolist() == wanted


@pytest.mark.parametrize("sign", [".", "!", "\n", "\n ", ".)"])
def test_a_flood_takes_no_minutes(sign: str) -> None:
    """At 200,000 characters the square took twenty minutes; a hundredth of that is far beyond what it takes now."""
    text, start = sign * (200_000 // len(sign)) + "x", time.process_time()
    sentence_starts(text)
    assert time.process_time() - start < 12
