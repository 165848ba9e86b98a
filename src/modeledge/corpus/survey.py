"""What a corpus is made of, counted while it passes: the figures of its data card (Gebru et al. 2021, "Datasheets").

Of each source: documents, bytes, tokens, how long the documents are, in which languages, from which sites. Without a
tokenizer there are no tokens, and lengths are bytes (`unit` says which). Memory is bounded whatever the corpus holds:
lengths fall into classes that double, and of names (sites, languages) the most frequent are kept by Misra and Gries's
summary (1982): exact while there are at most `NAMES` different ones, else each count is too low by at most `missed`,
which is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from modeledge.corpus.filter import size
from modeledge.records import Document

SURVEY = "survey.json"
NAMES, SHOWN = 20_000, 50


@dataclass
class Frequent:
    """The most frequent of many names; `missed` is how much a count can be too low."""

    counts: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    most: int = NAMES

    def add(self, name: str) -> None:
        """Count a name."""
        self.counts[name] += 1
        if len(self.counts) > self.most:
            self.missed += 1
            self.counts = Counter({key: count - 1 for key, count in self.counts.items() if count > 1})

    def state(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {"counts": dict(self.counts), "missed": self.missed}

    def as_dict(self) -> dict[str, Any]:
        """The most frequent, how many names there were, and the bound of the error."""
        order = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return {"top": dict(order[:SHOWN]), "different": len(self.counts), "missed": self.missed}


@dataclass(frozen=True)
class Brief:
    """What is asked of a document here: it may come from another process, without its text."""

    source: str
    bytes: int
    language: Any = None
    url: Any = None

    @staticmethod
    def of(document: Document) -> Brief:
        """The brief of a document as it is written."""
        fields = document.fields
        return Brief(document.source, size(document), fields.get("language"), fields.get("url"))


@dataclass
class Portrait:
    """What is counted of one source."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)  # n: documents of 2^(n-1) to 2^n - 1 tokens, or bytes
    languages: Frequent = field(default_factory=Frequent)
    domains: Frequent = field(default_factory=Frequent)

    def add(self, brief: Brief, tokens: int | None) -> None:
        self.documents += 1
        self.bytes += brief.bytes
        self.tokens += tokens or 0
        self.lengths[(brief.bytes if tokens is None else tokens).bit_length()] += 1
        language, url = brief.language, brief.url
        if isinstance(language, str) and language:
            self.languages.add(language[:40])
        if isinstance(url, str) and (name := domain(url)):
            self.domains.add(name)

    def as_dict(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "bytes": self.bytes,
            "tokens": self.tokens,
            "lengths": {str(2**n): count for n, count in sorted(self.lengths.items())},
            "languages": self.languages.as_dict(),
            "domains": self.domains.as_dict(),
        }

    def state(self) -> dict[str, Any]:
        counts = {"documents": self.documents, "bytes": self.bytes, "tokens": self.tokens}
        names = {"languages": self.languages.state(), "domains": self.domains.state()}
        return {**counts, "lengths": [list(item) for item in self.lengths.items()], **names}

    @staticmethod
    def restored(state: Mapping[str, Any]) -> Portrait:
        lengths = Counter({int(n): int(count) for n, count in state["lengths"]})
        names = [Frequent(Counter(state[key]["counts"]), state[key]["missed"]) for key in ("languages", "domains")]
        return Portrait(state["documents"], state["bytes"], state["tokens"], lengths, *names)


@dataclass
class Survey:
    """A portrait of each source; documents without one are those of the source "" ."""

    sources: dict[str, Portrait] = field(default_factory=dict)
    unit: Literal["tokens", "bytes"] = "tokens"

    def add(self, document: Document | Brief, tokens: int | None) -> None:
        """Count a document that is kept, as it is written, with its number of tokens where the unit is tokens."""
        assert (tokens is None) == (self.unit == "bytes")
        brief = document if isinstance(document, Brief) else Brief.of(document)
        self.sources.setdefault(brief.source, Portrait()).add(brief, tokens)

    def state(self) -> dict[str, Any]:
        """Everything, as plain values: what a build that is killed goes on with."""
        return {name: portrait.state() for name, portrait in self.sources.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the survey that `state` was taken of."""
        self.sources = {name: Portrait.restored(of_source) for name, of_source in state.items()}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `survey.json`; the keys of `lengths` are the tokens (or bytes) that a class stays below."""
        return {
            "unit": self.unit,
            "sources": {name: portrait.as_dict() for name, portrait in sorted(self.sources.items())},
        }


def domain(url: str) -> str:
    """The host of an address without `www.`; empty where it has none.

    >>> domain("https://www.example.org:80/a?b"), domain("no address")
    ('example.org', '')
    """
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.")[:253]
