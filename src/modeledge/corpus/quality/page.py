"""A document as filters see it: its words, lines and paragraphs, each found once, whoever asks.

Nearly all of the time of a rule set goes into cutting the text up. Here that is done once a document: `page_of` keeps
the page of the last text, so that a chain of filters, which sees document after document, shares one. What depends on a
word alone (its length, whether it holds a letter) is asked once for each *different* word and weighted by its count.

A *word* is a run of letters, digits and underscores, with the dots and signs that stand inside one (`3.14`, `1,000`,
`IL-3`, `p.m.`); what an apostrophe begins (`'s`) and any other character that is not white space is a word of its own;
a row of full stops is one. That is close to spaCy's English tokenizer, on which datatrove's release of these rules
runs, and made for languages that write spaces. A *symbol* is a word without any letter or digit. A *line* ends where
`str.splitlines` ends it; a *paragraph* at an empty line.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from itertools import count
from typing import Annotated

import numpy as np
from pydantic import Field

from modeledge.records import IntArray

WORD = re.compile(r"(?:\w\.){2,}|\w+(?:\.\w+|[,:/]\d\w*|(?<=[^\W\d_])-\d\w*)*|['’]\w+|\.{2,}|[^\w\s]")
Share = Annotated[float, Field(ge=0, le=1)]  # of a whole, the bound itself allowed
PARAGRAPH = re.compile(r"\n{2,}")


class Page:
    """One text, cut up on demand."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lower(self) -> str:
        """The text in small letters."""
        return self.text.lower()

    @cached_property
    def lines(self) -> list[str]:
        """The lines, without what ended them; empty ones too."""
        return self.text.splitlines()

    @cached_property
    def filled(self) -> list[str]:
        """The lines that hold more than white space."""
        return [line for line in self.lines if line and not line.isspace()]

    @cached_property
    def paragraphs(self) -> list[str]:
        """What empty lines part."""
        text = self.text if "\r" not in self.text else self.text.replace("\r\n", "\n")
        text = text.strip()
        return PARAGRAPH.split(text) if "\n\n" in text else [text]

    @cached_property
    def words(self) -> list[str]:
        """The words in order, symbols among them."""
        return WORD.findall(self.text)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The different words, in the order in which they first come, each with its number."""
        return dict(zip(dict.fromkeys(self.words), count()))

    @cached_property
    def ids(self) -> IntArray:
        """Each word's number, int64 `[words]`."""
        return np.fromiter(map(self.numbers.__getitem__, self.words), np.int64, len(self.words))

    @cached_property
    def times(self) -> IntArray:
        """How often each different word comes, int64 `[different words]`."""
        return np.bincount(self.ids, minlength=len(self.numbers))

    @cached_property
    def lengths(self) -> IntArray:
        """The characters of each different word, int64 `[different words]`."""
        return np.fromiter(map(len, self.numbers), np.int64, len(self.numbers))

    @cached_property
    def ends(self) -> IntArray:
        """The characters of the first 0, 1, … words together, int64 `[words + 1]`."""
        return np.concatenate(([0], np.cumsum(self.lengths[self.ids]))) if self.words else np.zeros(1, np.int64)

    @cached_property
    def mixed(self) -> list[tuple[int, str]]:
        """The words that are not of letters alone, with their numbers: few of all."""
        return [(place, word) for place, word in enumerate(self.numbers) if not word.isalpha()]

    @cached_property
    def bare(self) -> list[int]:
        """The numbers of the words that have no letter and no digit."""
        return [place for place, word in self.mixed if is_symbol(word)]

    @cached_property
    def symbols(self) -> int:
        """How many words have no letter and no digit."""
        return int(self.times[self.bare].sum())

    @cached_property
    def symbol_characters(self) -> int:
        """The characters of the symbols."""
        return int((self.times[self.bare] * self.lengths[self.bare]).sum())

    @cached_property
    def lettered(self) -> int:
        """How many words hold a letter."""
        without = [place for place, word in self.mixed if not has_letter(word)]
        return len(self.words) - int(self.times[without].sum())


def is_symbol(word: str) -> bool:
    """Has the word no letter and no digit?"""
    return not any(map(str.isalnum, word))


def has_letter(word: str) -> bool:
    """Is one of the word's characters a letter?"""
    return any(map(str.isalpha, word))


@lru_cache(maxsize=1)
def page_of(text: str) -> Page:
    """The page of a text; that of the last text is kept, so that the next filter finds what this one has cut up."""
    return Page(text)


def repeated(parts: list[str]) -> tuple[int, int]:
    """How many of the parts came before, and the characters of these."""
    different = set(parts)
    if len(different) == len(parts):
        return 0, 0
    return len(parts) - len(different), sum(map(len, parts)) - sum(map(len, different))
