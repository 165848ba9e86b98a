"""Spans of personal data: digits of every script, and a time that grows with the text and not with its square."""

from __future__ import annotations

from modeledge.corpus.privacy import Redact, find


def test_digits_of_any_script_are_looked_at() -> None:
    """`\\d` matches them, so a check must know them: an Italian tax code with Arabic digits."""
    text, gone = Redact().rewrite("codice RSSMRA٨٥T١٠A٥٦٢S fine")
    assert (text, [kind for kind, _ in gone]) == ("codice <IT_CF> fine", ["redact.it_cf"])


def test_time_grows_with_the_text() -> None:
    """Twenty thousand places: each is compared with its neighbours, not with all that were found."""
    spans = [(10 * n, 10 * n + 5) for n in range(20_000)]
    looked = [0]

    class Counted(int):
        def __le__(self, other: int) -> bool:
            looked[0] += 1
            return int(self) <= other

        def __ge__(self, other: int) -> bool:
            looked[0] += 1
            return int(self) >= other

    counted = [(Counted(start), Counted(end)) for start, end in spans]
    found = find(" " * 200_000, {"email": lambda text: counted})
    assert [(span.start, span.end) for span in found] == spans
    assert looked[0] < 5 * len(spans)
