"""FineWeb's own rules, found by comparing the histograms of a better and a worse crawl (Penedo et al. 2024, arXiv
2406.17557, section 3.6): lists, menus and templates have lines that end without punctuation, that repeat, or that are
short. Each rule was kept because a model trained on what it left was better."""

from __future__ import annotations

from pydantic import Field

from modeledge.config import Settings
from modeledge.corpus.quality.page import Share, page_of, repeated
from modeledge.records import Document

TERMINAL = tuple(".!?…\"”’'»)]}。！？」』؟۔।॥։።")


class FineWeb(Settings):
    """Drop pages of lists and menus. The shares are the paper's; `None` leaves a rule out. Empty lines do not count.

    `punctuated`: the least share of lines that end with punctuation. `duplicate_characters`: the largest share of
    characters that stand in lines which came before (0.1 in the paper; the code that was released has 0.01). `short`:
    the largest share of lines of at most `short_length` characters. `breaks`: the most line breaks for a word, which
    the code has (0.3) and the paper does not name. `terminal`: what ends a line well.
    """

    punctuated: Share | None = 0.12
    duplicate_characters: Share | None = 0.1
    short: Share | None = 0.67
    short_length: int = Field(default=30, ge=0)
    breaks: float | None = None
    terminal: tuple[str, ...] = TERMINAL

    def __call__(self, document: Document) -> str | None:
        """The first rule that the page breaks, as `fineweb.NAME`."""
        page = page_of(document.text)
        lines = page.filled
        count = len(lines)
        if self.punctuated is not None and sum(line.endswith(self.terminal) for line in lines) < (
            self.punctuated * count
        ):
            return "fineweb.unpunctuated-lines"
        if self.short is not None and sum(len(line) <= self.short_length for line in lines) > self.short * count:
            return "fineweb.short-lines"
        size = len(page.text) - page.text.count("\n")
        if self.duplicate_characters is not None and repeated(lines)[1] > self.duplicate_characters * size:
            return "fineweb.duplicate-lines"
        if self.breaks is not None and page.text.count("\n") > self.breaks * len(page.words):
            return "fineweb.line-breaks"
        return None
