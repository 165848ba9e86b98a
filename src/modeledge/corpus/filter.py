"""Which documents stay, and how their text is tidied.

A *filter* looks at one document and gives the reason to drop it, or None. Reasons are counted in the ledger, so a
corpus says of every missing document why it is missing. A *stage* turns documents into documents; the stages here
rewrite text. They run after the counting, because a ledger counts the bytes that were read, not those that were left;
what a stage takes out (a line, an e-mail address) is counted beside, in `Ledger.rewritten`.

The filters of this page take nothing, or a number of words; those of `quality` are rule sets, whose thresholds are
fields: `filters = { gopher_quality = true, c4 = { sentences = 5 } }`. All are rows of `FILTERS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, cast

from modeledge.config import Settings, load_config
from modeledge.corpus.normal import nfc as normal_form
from modeledge.corpus.privacy import Redact
from modeledge.corpus.quality import RULES, C4Lines, LineRules
from modeledge.corpus.quality.lines import LineJudge, without_lines
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import Document, Ledger
from modeledge.seed import Noise

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
FILTERS: dict[str, Filter | Callable[[int], Filter] | type[Settings]] = {**PLAIN, **NUMBERED, **RULES}


def make_filters(settings: Mapping[str, Any]) -> list[Filter]:
    """The filters of a recipe, in its order: `{"empty": True, "c4": {"sentences": 5}}`; `False` leaves one out.

    Raises `E-CONFIG-KEY` for an unknown filter or field, `E-CONFIG-VALUE` for a value that it cannot take, and what a
    rule set says of a file or package that it needs.
    """
    chosen: list[Filter] = []
    for name, value in settings.items():
        if name not in FILTERS:
            raise ModeledgeError("E-CONFIG-KEY", f"unknown filter {name!r}", remedy=nearest(name, FILTERS))
        if value is False:
            continue
        if name in RULES:
            chosen.append(cast(Filter, made(RULES[name], f"filters.{name}", value)))
        elif name in PLAIN and value is True:
            chosen.append(PLAIN[name])
        elif name in NUMBERED and type(value) is int and value >= 0:
            chosen.append(NUMBERED[name](value))
        else:
            wanted = "true or false" if name in PLAIN else "a number of words, or false"
            raise ModeledgeError("E-CONFIG-VALUE", f"filter {name} takes {wanted}, not {value!r}")
    return chosen


def made(kind: type[Settings], where: str, value: Any) -> Settings:
    """A rule set out of a recipe: `True` takes every default, a table changes fields. What it needs is opened now."""
    if value is not True and not isinstance(value, Mapping):
        raise ModeledgeError("E-CONFIG-VALUE", f"it takes true, false or a table, not {value!r}", where=where)
    try:
        rules = load_config(kind, None, values={} if value is True else value)
    except ModeledgeError as error:
        place = f"{where}.{error.where}" if error.where else where
        raise ModeledgeError(error.code, error.what, where=place, why=error.why, remedy=error.remedy) from error
    prepare = getattr(rules, "prepare", None)
    if prepare is not None:
        prepare()
    return rules


def nfc(documents: Iterable[Document]) -> Iterator[Document]:
    """Write each character one way (Unicode normal form C), so that `é` is one token sequence, not two."""
    for document in documents:
        text = normal_form(document.text)
        yield document if text == document.text else replace(document, text=text)


def spaces(documents: Iterable[Document]) -> Iterator[Document]:
    """Keep lines and paragraphs, but only one space between words, one empty line between paragraphs.

    Not for source code, whose indentation it would destroy.
    """
    for document in documents:
        lines = (" ".join(line.split()) for line in document.text.splitlines())
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        yield document if text == document.text else replace(document, text=text)


def shuffled_words(documents: Iterable[Document]) -> Iterator[Document]:
    """Put the words of each text in an order drawn by lot, which is a function of the document's id alone.

    What is left to learn is which words there are, and which come together in a text: how much of what pre-training
    buys is that, Sinha et al. 2021 (arXiv 2104.06644) asked.
    """
    for document in documents:
        words = document.text.split()
        order = Noise(0).at("shuffled words", document.id).generator().permutation(len(words))
        yield replace(document, text=" ".join(words[place] for place in order))


class Rewriter(Protocol):
    """A text without some of its parts, and (reason, part) of each that went."""

    def __call__(self, text: str) -> tuple[str, list[tuple[str, str]]]: ...


def counted(rewrite: Rewriter, ledger: Ledger) -> Stage:
    """A stage that rewrites texts and counts in `ledger.rewritten` what went, by reason, in parts and bytes."""

    def stage(documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            text, gone = rewrite(document.text)
            for reason, part in gone:
                size_of_part = len(part.encode("utf-8", "surrogatepass"))
                ledger.add("rewritten", reason, source=document.source, bytes=size_of_part)
            yield document if text == document.text else replace(document, text=text)

    return stage


def _line_stage(rules: Settings, ledger: Ledger) -> Stage:
    return counted(lambda text: without_lines(cast(LineJudge, rules), text), ledger)


def _redact_stage(rules: Settings, ledger: Ledger) -> Stage:
    return counted(cast(Redact, rules).rewrite, ledger)


#: The stages that take nothing, and those with fields, each with the class of its fields and what makes it.
TIDYING: dict[str, Stage] = {"nfc": nfc, "spaces": spaces, "shuffled_words": shuffled_words}
REWRITING: dict[str, tuple[type[Settings], Callable[[Settings, Ledger], Stage]]] = {
    "c4_lines": (C4Lines, _line_stage),
    "line_rules": (LineRules, _line_stage),
    "redact": (Redact, _redact_stage),
}
STAGES = {**TIDYING, **REWRITING}


def make_stages(settings: Iterable[str] | Mapping[str, Any], ledger: Ledger | None = None) -> list[Stage]:
    """The text-rewriting stages of a recipe, in its order: names, or a table like that of the filters.

    Raises `E-CONFIG-KEY` for an unknown one, and what `make_filters` raises for its fields.
    """
    table = settings if isinstance(settings, Mapping) else dict.fromkeys(settings, True)
    ledger = Ledger() if ledger is None else ledger
    chosen: list[Stage] = []
    for name, value in table.items():
        if name not in STAGES:
            raise ModeledgeError("E-CONFIG-KEY", f"unknown stage {name!r}", remedy=nearest(name, STAGES))
        if value is False:
            continue
        if name in REWRITING:
            kind, make = REWRITING[name]
            chosen.append(make(made(kind, f"stages.{name}", value), ledger))
        elif value is True:
            chosen.append(TIDYING[name])
        else:
            raise ModeledgeError("E-CONFIG-VALUE", f"stage {name} takes true or false, not {value!r}")
    return chosen
