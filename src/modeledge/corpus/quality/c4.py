"""The rules of the Colossal Clean Crawled Corpus (Raffel et al. 2020, arXiv 1910.10683, section 2.2).

C4 works on lines first: a line stays if it ends like a sentence, has at least five words, and does not speak of
JavaScript, cookies or policies. Of the page the lines that stay must hold at least three sentences; a curly bracket
(code), "lorem ipsum" (a template) or a word of a list drops it whole. So there are two parts here that share the rules:
`C4` judges the page as a filter, and `c4_lines` as a stage leaves only the lines that stay. A page is judged by the
lines that would stay whether the stage runs or not.

The paper speaks of "any page that contained" a bracket or "lorem ipsum"; the code that made the corpus looks at the
lines that passed the rules for end, length and number of words only. `anywhere` chooses the paper's words.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import Field

from modeledge.config import Settings
from modeledge.corpus.quality.page import page_of
from modeledge.corpus.sentences import sentence_starts
from modeledge.errors import ModeledgeError
from modeledge.records import Document

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
ENDS = (".", "?", "!", '"', "'", "”", "’")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
#: A placeholder: the list of the paper is long, and not ours to copy. `bad_words_file` names one of your own.
BAD_WORDS = ("porn", "xxx", "hardcore sex", "escort service")


class C4Lines(Settings):
    """Which lines stay. `words`: the fewest of a line, parted by white space (five in the paper). `terminal`: must it
    end with a sign that ends a sentence, not an ellipsis? `longest_word`: characters, beyond which a line goes."""

    words: int = Field(default=5, ge=0)
    terminal: bool = True
    longest_word: int = Field(default=1000, ge=1)
    javascript: bool = True
    policies: bool = True
    citations: bool = True

    def shaped(self, line: str) -> tuple[str, str | None]:
        """The line without margins and citation marks, and the rule of shape that it breaks."""
        line = line.strip()
        words = line.split()
        if len(line) > self.longest_word and max(map(len, words)) > self.longest_word:
            return line, "c4.long-word"
        if self.citations and "[" in line:
            line = CITATION.sub("", line)
        if self.terminal and (not line.endswith(ENDS) or line.endswith(("...", "…"))):
            return line, "c4.no-terminal-punctuation"
        return line, "c4.few-words-a-line" if len(words) < self.words else None

    def wording(self, lower: str) -> str | None:
        """The rule of wording that a line, in small letters, breaks."""
        if self.javascript and "javascript" in lower:
            return "c4.javascript"
        return "c4.policy" if self.policies and any(map(lower.__contains__, POLICIES)) else None

    def judge(self, line: str) -> tuple[str, str | None]:
        """The line as it would stay, and the reason why it does not."""
        line, reason = self.shaped(line)
        return line, reason or self.wording(line.lower())


class C4(C4Lines):
    """Drop whole pages. `sentences`: the fewest in the lines that stay (three in the paper, five in its first version).

    `bad_words_file`: one word or phrase a line, in UTF-8; without it a short placeholder. `bad_words` False: no list.
    """

    sentences: int = Field(default=3, ge=0)
    lorem_ipsum: bool = True
    curly_bracket: bool = True
    anywhere: bool = False
    bad_words: bool = True
    bad_words_file: str | None = None

    @cached_property
    def _listed(self) -> re.Pattern[str]:
        return pattern_of(BAD_WORDS if self.bad_words_file is None else read_list(self.bad_words_file))

    def prepare(self) -> None:
        """Read the list now, so that a missing file is an error before the first document."""
        assert self._listed is not None

    def __call__(self, document: Document) -> str | None:
        """The first rule that the page breaks, as `c4.NAME`."""
        page = page_of(document.text)
        if self.anywhere and (reason := self._template(page.text, page.lower)) is not None:
            return reason
        if self.bad_words and self._listed.search(page.lower):
            return "c4.bad-words"
        sentences = 0
        for raw in page.lines:
            line, reason = self.shaped(raw)
            if reason is not None:
                continue
            lower = line.lower()
            if self.lorem_ipsum and "lorem ipsum" in lower:
                return "c4.lorem-ipsum"
            if self.javascript and "javascript" in lower:
                continue
            if self.curly_bracket and "{" in line:
                return "c4.curly-bracket"
            if self.policies and any(map(lower.__contains__, POLICIES)):
                continue
            if sentences < self.sentences:
                sentences += len(sentence_starts(line))
        return "c4.too-few-sentences" if sentences < self.sentences else None

    def _template(self, text: str, lower: str) -> str | None:
        if self.lorem_ipsum and "lorem ipsum" in lower:
            return "c4.lorem-ipsum"
        return "c4.curly-bracket" if self.curly_bracket and "{" in text else None


def pattern_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words, in small letters, no letter or digit beside it."""
    listed = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w)" if words else r"(?!)")


@lru_cache(maxsize=8)
def read_list(path: str) -> tuple[str, ...]:
    """The words of a file, one a line. Raises `E-NO-FILE`, `E-NO-RECORDS` for an empty one, `E-UTF8`, `E-READ`."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise ModeledgeError("E-NO-FILE", "there is no such list of words", where=path) from error
    except UnicodeDecodeError as error:
        raise ModeledgeError("E-UTF8", f"byte {error.start} is not UTF-8", where=path) from error
    except OSError as error:
        raise ModeledgeError("E-READ", error.strerror or str(error), where=path) from error
    words = tuple(dict.fromkeys(word for line in lines if (word := line.strip().lower())))
    if not words:
        raise ModeledgeError("E-NO-RECORDS", "the list holds no word", where=path)
    return words
