"""Personal data replaced: the stage `redact` of a corpus, and a function of the document's text alone.

`placeholder` writes the kind in angle brackets (`<EMAIL>`). `pseudonym` writes a value of the same form that belongs to
nobody, the same for the same value within a document, so that a text in which somebody answers to an address still
reads: mail at `example.org` (RFC 2606), addresses of the documentation nets (RFC 5737, RFC 3849), telephones with
555-01 (kept for fiction), ids with a prefix that is never given, and for accounts, cards and other ids digits drawn
anew until their checksum is wrong. The draw is keyed by the text, the kind and the value: no order, worker or run
changes it, and two documents share no pseudonym by which they could be joined.

Names need a model: `names` is one of spaCy (`en_core_web_sm`), an optional step with the extra `privacy`.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from modeledge.config import Settings
from modeledge.corpus.privacy import checks
from modeledge.corpus.privacy.kinds import KINDS, bare
from modeledge.corpus.privacy.names import PERSON, person_finder
from modeledge.corpus.privacy.spans import Finder, find, pieces
from modeledge.errors import nearest
from modeledge.seed import Noise

#: The kinds whose pseudonym must not be a valid number by chance.
CHECKED = {
    "iban": checks.iban,
    "credit_card": checks.luhn,
    **{k: getattr(checks, k) for k in KINDS if hasattr(checks, k)},
}
FIRST_NAMES = ("Alex", "Chris", "Dana", "Jo", "Kim", "Lee", "Max", "Pat", "Robin", "Sam", "Sasha", "Toni")


class Redact(Settings):
    """What is replaced, and by what. `kinds` are rows of `KINDS` (empty: all); `names` a spaCy model for people."""

    kinds: tuple[str, ...] = ()
    replace: Literal["placeholder", "pseudonym"] = "placeholder"
    names: str | None = Field(default=None, min_length=1)

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"{kind!r} is no kind of personal data; {nearest(kind, KINDS)}")
        return kinds

    @cached_property
    def finders(self) -> Mapping[str, Finder]:
        """The kinds that are looked for, in the table's order."""
        found = {kind: finder for kind, finder in KINDS.items() if not self.kinds or kind in self.kinds}
        return found if self.names is None else {**found, PERSON: person_finder(self.names)}

    def prepare(self) -> None:
        """Load what finds names now, so that a missing package is an error before the first document."""
        assert self.finders

    def rewrite(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """The text with its personal data replaced, and (`redact.KIND`, what stood there) of each."""
        spans = find(text, self.finders)
        if not spans:
            return text, []
        noise = Noise(0).at("redact", hashlib.blake2b(text.encode("utf-8", "surrogatepass")).hexdigest())
        parts, gone = [], []
        for part, span in pieces(text, spans):
            if span is None:
                parts.append(part)
                continue
            gone.append((f"redact.{span.kind}", part))
            if self.replace == "placeholder":
                parts.append(f"<{span.kind.upper()}>")
            else:
                parts.append(pseudonym(part, span.kind, noise.at(span.kind, part).generator()))
        return "".join(parts), gone


def pseudonym(value: str, kind: str, draw: np.random.Generator) -> str:
    """A value of this kind that belongs to nobody, drawn."""

    def number(high: int) -> int:
        return int(draw.integers(high))

    match kind:
        case "email":
            return f"user{number(10**6):06d}@example.org"
        case "ip" if ":" in value:
            return f"2001:db8::{number(2**16):x}:{number(2**16):x}"
        case "ip":
            return f"{('192.0.2', '198.51.100', '203.0.113')[number(3)]}.{1 + number(254)}"
        case "phone":
            return f"+1-{200 + number(700):03d}-555-01{number(100):02d}"
        case "credentials":
            return "user:password" if ":" in value else "secret"
        case "address":
            return f"{1 + number(999)} Example Street"
        case "person":
            return f"{FIRST_NAMES[number(len(FIRST_NAMES))]} {string.ascii_uppercase[number(26)]}."
        case "us_ssn":
            return f"000-{number(100):02d}-{number(10**4):04d}"
        case "uk_nino":
            return f"ZZ {number(100):02d} {number(100):02d} {number(100):02d} A"
        case _:
            return _other_digits(value, CHECKED[kind], draw)


def _other_digits(value: str, check: object, draw: np.random.Generator) -> str:
    """The value with other digits, such that its check fails; its letters and separators stay."""
    assert callable(check)
    while True:
        drawn = "".join(str(draw.integers(10)) if c.isdigit() else c for c in value)
        if drawn != value and not check(bare(drawn).upper()):
            return drawn
