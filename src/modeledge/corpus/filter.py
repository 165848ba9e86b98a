"""Which documents stay, and how their text is tidied.

A *filter* looks at one document and gives the reason to drop it, or None. Reasons are counted in the ledger, so a
corpus says of every missing document why it is missing. A *stage* turns documents into documents; the stages here
rewrite text. They run after the counting, because a ledger counts the bytes that were read, not those that were left.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from modeledge.errors import ModeledgeError, nearest
from modeledge.records import Document

Filter: TypeAlias = Callable[[Document], str | None]
Stage: TypeAlias = Callable[[Iterable[Document]], Iterator[Document]]


def size(document: Document) -> int:
    """The bytes that a ledger counts for a document: its text, as read, in UTF-8."""
    return len(document.text.encode("utf-8", "surrogatepass"))


def empty(document: Document) -> str | None:
    """Drop a document that holds nothing but white space."""
    return None if document.text.strip() else "empty"


def shorter_than(words: int) -> Filter:
    """A filter that drops documents of fewer than `words` words (runs of anything but white space)."""
    reason = f"shorter than {words} words"

    def judge(document: Document) -> str | None:
        return reason if len(document.text.split()) < words else None

    return judge


def longer_than(words: int) -> Filter:
    """A filter that drops documents of more than `words` words."""
    reason = f"longer than {words} words"

    def judge(document: Document) -> str | None:
        return reason if len(document.text.split()) > words else None

    return judge


#: The filters that take no number, and those that a number makes.
PLAIN: dict[str, Filter] = {"empty": empty}
NUMBERED: dict[str, Callable[[int], Filter]] = {"shorter_than": shorter_than, "longer_than": longer_than}
FILTERS: dict[str, Filter | Callable[[int], Filter]] = {**PLAIN, **NUMBERED}


def make_filters(settings: Mapping[str, Any]) -> list[Filter]:
    """The filters of a recipe, in its order: `{"empty": True, "shorter_than": 5}`; `False` leaves one out.

    Raises `E-CONFIG-KEY` for an unknown filter and `E-CONFIG-VALUE` for a value that it cannot take.
    """
    chosen: list[Filter] = []
    for name, value in settings.items():
        if name not in FILTERS:
            raise ModeledgeError("E-CONFIG-KEY", f"unknown filter {name!r}", remedy=nearest(name, FILTERS))
        if value is False:
            continue
        if name in PLAIN and value is True:
            chosen.append(PLAIN[name])
        elif name in NUMBERED and type(value) is int and value >= 0:
            chosen.append(NUMBERED[name](value))
        else:
            wanted = "true or false" if name in PLAIN else "a number of words, or false"
            raise ModeledgeError("E-CONFIG-VALUE", f"filter {name} takes {wanted}, not {value!r}")
    return chosen


def nfc(documents: Iterable[Document]) -> Iterator[Document]:
    """Write each character one way (Unicode normal form C), so that `é` is one token sequence, not two."""
    for document in documents:
        text = unicodedata.normalize("NFC", document.text)
        yield document if text == document.text else replace(document, text=text)


def spaces(documents: Iterable[Document]) -> Iterator[Document]:
    """Keep lines and paragraphs, but only one space between words, one empty line between paragraphs.

    Not for source code, whose indentation it would destroy.
    """
    for document in documents:
        lines = (" ".join(line.split()) for line in document.text.splitlines())
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        yield document if text == document.text else replace(document, text=text)


STAGES: dict[str, Stage] = {"nfc": nfc, "spaces": spaces}


def make_stages(names: Iterable[str]) -> list[Stage]:
    """The text-rewriting stages of a recipe, in its order. Raises `E-CONFIG-KEY` for an unknown one."""
    chosen = []
    for name in names:
        if name not in STAGES:
            raise ModeledgeError("E-CONFIG-KEY", f"unknown stage {name!r}", remedy=nearest(name, STAGES))
        chosen.append(STAGES[name])
    return chosen
