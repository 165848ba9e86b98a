"""The rules of Gopher: is a page prose, and does it repeat itself? (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1.)

`GopherQuality` asks for the shape of running English: enough words, of the length that words have, few hashes and
ellipses, lines that are not a list of links, and at least two of the commonest words. `GopherRepetition` is the paper's
table A1: templates, menus and broken generators repeat lines, paragraphs or n-grams, and models that read much of that
repeat themselves.

Where the paper leaves a choice, the reading is that of the field's common implementation (datatrove), so that keep sets
can be compared: symbols count as words in ratios but not in the length of a document; what "duplicate" means is *said
before*, so that the first of two equal lines is none; duplicate n-grams are found from left to right, and none that
overlaps the last one found is counted; shares are of all characters of the text, white space too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from modeledge.config import Settings
from modeledge.corpus.quality.page import Page, Share, page_of, repeated
from modeledge.records import Document, IntArray

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
ELLIPSES = ("...", "…")
Size = Annotated[int, Field(ge=1, le=100)]  # of an n-gram


class GopherQuality(Settings):
    """Drop what does not look like prose. The numbers are those of appendix A.1.1; `None` leaves a rule out.

    `words` and `word_length` (characters, mean) are the least and the most, symbols not counted; `symbol_ratio` is the
    most hashes, and the most ellipses, for each word; `bullets` and `ellipses` the largest share of lines that begin or
    end so; `lettered` the least share of words that hold a letter; `stop_words` how many different ones must occur.
    """

    words: tuple[int, int] | None = (50, 100_000)
    word_length: tuple[float, float] | None = (3.0, 10.0)
    symbol_ratio: Annotated[float, Field(ge=0)] | None = 0.1
    bullets: Share | None = 0.9
    ellipses: Share | None = 0.3
    lettered: Share | None = 0.8
    stop_words: int | None = 2
    list_of_stop_words: tuple[str, ...] = STOP_WORDS

    def __call__(self, document: Document) -> str | None:
        """The first rule that the page breaks, as `gopher.NAME`."""
        page = page_of(document.text)
        rules = (self._by_words, self._by_symbols, self._by_lines, self._by_letters)
        return next((reason for rule in rules if (reason := rule(page)) is not None), None)

    def _by_words(self, page: Page) -> str | None:
        plain = len(page.words) - page.symbols
        if self.words is not None and plain < self.words[0]:
            return "gopher.too-few-words"
        if self.words is not None and plain > self.words[1]:
            return "gopher.too-many-words"
        if self.word_length is None:
            return None
        mean = (int(page.ends[-1]) - page.symbol_characters) / plain if plain else 0.0
        if mean < self.word_length[0]:
            return "gopher.short-words"
        return "gopher.long-words" if mean > self.word_length[1] else None

    def _by_symbols(self, page: Page) -> str | None:
        if self.symbol_ratio is None:
            return None
        most = self.symbol_ratio * len(page.words)
        if page.text.count("#") > most:
            return "gopher.hashes"
        return "gopher.ellipses" if sum(map(page.text.count, ELLIPSES)) > most else None

    def _by_lines(self, page: Page) -> str | None:
        count = len(page.lines)
        if self.bullets is not None:
            begun = sum(line.lstrip().startswith(("•", "-")) for line in page.lines)
            if begun > self.bullets * count:
                return "gopher.bullets"
        if self.ellipses is not None and any(map(page.text.__contains__, ELLIPSES)):
            ended = sum(line.rstrip().endswith(ELLIPSES) for line in page.lines)
            if ended > self.ellipses * count:
                return "gopher.ellipsis-lines"
        return None

    def _by_letters(self, page: Page) -> str | None:
        if self.lettered is not None and page.lettered < self.lettered * len(page.words):
            return "gopher.few-letters"
        if self.stop_words is not None:
            found = sum(map(page.numbers.__contains__, set(self.list_of_stop_words)))
            return "gopher.few-stop-words" if found < self.stop_words else None
        return None


class GopherRepetition(Settings):
    """Drop what repeats itself: table A1 of the paper. `None`, or an empty table, leaves a rule out.

    `lines` and `paragraphs` are the largest shares of them that came before, `line_characters` and
    `paragraph_characters` the shares of the text that those make up; `top` is the largest share of the text for the
    commonest n-gram of n words, `duplicate` that for all repeated n-grams of n words, [n, share] each.
    """

    lines: Share | None = 0.30
    paragraphs: Share | None = 0.30
    line_characters: Share | None = 0.20
    paragraph_characters: Share | None = 0.20
    top: tuple[tuple[Size, Share], ...] = ((2, 0.20), (3, 0.18), (4, 0.16))
    duplicate: tuple[tuple[Size, Share], ...] = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))

    def __call__(self, document: Document) -> str | None:
        """The first rule that the page breaks, as `gopher.NAME`."""
        page = page_of(document.text)
        if not page.words:
            return None
        return self._by_parts(page) or self._by_grams(page)

    def _by_parts(self, page: Page) -> str | None:
        size = len(page.text)
        lines = list(filter(None, page.lines))
        for parts, share, characters, name in (
            (page.paragraphs, self.paragraphs, self.paragraph_characters, "paragraphs"),
            (lines, self.lines, self.line_characters, "lines"),
        ):
            times, length = repeated(parts)
            if share is not None and times > share * len(parts):
                return f"gopher.duplicate-{name}"
            if characters is not None and length > characters * size:
                return f"gopher.duplicate-{name[:-1]}-characters"
        return None

    def _by_grams(self, page: Page) -> str | None:
        top, duplicate = dict(self.top), dict(self.duplicate)
        size, most = len(page.text), max((*top, *duplicate), default=0)
        for n, places, grams in repeated_grams(page.ids, most):
            if n in top and top_characters(page, places, grams, n) > top[n] * size:
                return f"gopher.top-{n}-gram"
            if n in duplicate and duplicate_characters(page, places, grams, n) > duplicate[n] * size:
                return f"gopher.duplicate-{n}-grams"
        return None


def repeated_grams(ids: IntArray, most: int) -> Iterator[tuple[int, IntArray, IntArray]]:
    """For n = 1 to `most`: n, the places of the n-grams that come more than once, rising, and a number for each, equal
    where the n-grams are; int64 `[places]`.

    An n-gram is the pair of the (n-1)-gram that it begins with and its last word, and comes more than once only where
    that does: so long ones are looked for in few places. The pairs are numbered anew at each length: nothing overflows
    and no two n-grams are ever taken for one, as hashes might be.
    """
    places, grams, words = np.arange(len(ids)), ids, int(ids.max()) + 1 if len(ids) else 0
    for n in range(1, min(most, len(ids)) + 1):
        if n > 1 and len(places):
            fit = int(np.searchsorted(places, len(ids) - n, side="right"))
            places = places[:fit]
            grams = numbered(grams[:fit] * words + ids[places + n - 1])
        if len(places):
            again = np.bincount(grams)[grams] > 1
            places, grams = places[again], grams[again]
        yield n, places, grams


def numbered(values: IntArray) -> IntArray:
    """The values' ranks among the different ones, int64 from 0."""
    order = np.argsort(values)
    sorted_ = values[order]
    ranks = np.empty_like(values)
    ranks[order[:1]] = 0
    ranks[order[1:]] = np.cumsum(sorted_[1:] != sorted_[:-1])
    return ranks


def top_characters(page: Page, places: IntArray, grams: IntArray, n: int) -> int:
    """The characters of the commonest n-gram, its inner spaces too, times its count; of several, the first."""
    first, most = 0, 1
    if len(places):
        times = np.bincount(grams)
        most = int(times.max())
        first = int(places[np.argmax(times[grams] == most)])
    return (int(page.ends[first + n] - page.ends[first]) + n - 1) * most


def duplicate_characters(page: Page, places: IntArray, grams: IntArray, n: int) -> int:
    """The characters (without spaces) of the n-grams that came before, none overlapping the last one counted."""
    seen: set[int] = set()
    total = free = 0
    ends = page.ends
    for place, gram in zip(places.tolist(), grams.tolist(), strict=True):
        if place < free:
            continue
        if gram in seen:
            total += int(ends[place + n] - ends[place])
            free = place + n
        else:
            seen.add(gram)
    return total
