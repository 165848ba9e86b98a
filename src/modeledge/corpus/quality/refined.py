"""Line by line, as RefinedWeb corrects what an extractor left over (Penedo et al. 2023, arXiv 2306.01116, appendix
G.2): buttons, counters, captions of menus. `line_rules` as a stage takes such lines out; `LineRules` as a filter drops
a page of whose words more than five percent stand in such lines, which is the paper's bound.
"""

from __future__ import annotations

import re

from pydantic import Field

from modeledge.config import Settings
from modeledge.corpus.quality.page import Share, page_of
from modeledge.records import Document

COUNTER = re.compile(
    r"[\d.,]+\s*[kKmM]?\s+(?:likes?|shares?|comments?|views?|retweets?|followers?|replies|votes?|points?)",
    re.IGNORECASE,
)
BEGINS = ("sign-in", "sign in", "log in", "login", "sign up")
HOLDS = ("items in cart", "skip to content", "add to cart")
ENDS = ("read more...", "read more…", "read more", "continue reading", "share this")


class LineRules(Settings):
    """Which lines are left-overs, and how many of a page may be.

    `capitals`: the share of letters in capitals from which a line is a caption. `short`: the most words of a line that
    is searched for the words of buttons. `flagged`: the largest share of the page's words that may stand in such lines;
    `None` drops no page.
    """

    capitals: Share | None = 0.6
    short: int = Field(default=10, ge=0)
    one_word: bool = True
    flagged: Share | None = 0.05

    def judge(self, line: str) -> tuple[str, str | None]:
        """The line, and the reason why it goes; an empty line is part of the layout and stays."""
        plain = line.strip()
        return line, self._reason(plain) if plain else None

    def _reason(self, line: str) -> str | None:
        words = line.split()
        if not any(map(str.isalpha, line)):
            return "lines.no-letter"
        if COUNTER.fullmatch(line):
            return "lines.counter"
        if self.one_word and len(words) == 1:
            return "lines.one-word"
        if len(words) <= self.short:
            lower = line.lower()
            if lower.startswith(BEGINS) or lower.endswith(ENDS) or any(map(lower.__contains__, HOLDS)):
                return "lines.button"
        if self.capitals is not None and not line.islower():
            letters = sum(map(str.isalpha, line))
            if sum(map(str.isupper, line)) > self.capitals * letters:
                return "lines.capitals"
        return None

    def __call__(self, document: Document) -> str | None:
        """`lines.left-overs` where too many of the page's words stand in such lines."""
        if self.flagged is None:
            return None
        words = wrong = 0
        for line in page_of(document.text).filled:
            count = len(line.split())
            words += count
            wrong += count if self.judge(line)[1] is not None else 0
        return "lines.left-overs" if wrong > self.flagged * words else None
