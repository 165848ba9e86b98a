"""The data card of a corpus: `card.html`, what it is made of and what became of the rest (Gebru et al. 2021).

Everything on it was counted while the corpus was built (`ledger.json`, `survey.json`); nothing is measured again and
nothing is estimated. Names of sources, sites and reasons come from data: the page's blocks escape them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.corpus.pipeline import LEDGER
from modeledge.corpus.survey import SURVEY
from modeledge.report import (
    Block,
    Details,
    Figure,
    Headline,
    LedgerTable,
    Page,
    Paragraph,
    Section,
    Table,
    render_page,
    treemap,
)
from modeledge.report.blocks import Align
from modeledge.report.lengths import length_plot
from modeledge.report.markup import number, size

CARD = "card.html"
ALL = "all files"  # the name of the source that has none
DUPLICATES = ("duplicate", "near duplicate")
ROWS = 25


def write_data_card(folder: Path) -> Path:
    """Write the card of the corpus in `folder` and return its path."""
    path = folder / CARD
    files.write_text(path, render_page(data_page(files.read_json(folder / LEDGER), files.read_json(folder / SURVEY))))
    return path


def data_page(ledger: Mapping[str, Any], survey: Mapping[str, Any]) -> Page:
    """The card as blocks."""
    sources: dict[str, Any] = {name or ALL: found for name, found in survey["sources"].items()}
    kinds = {name: str(own.get("kind") or "other") for name, own in ledger.get("sources", {}).items()}
    read, kept = ledger["read"], ledger["kept"]
    copies = sum(count["records"] for reason, count in ledger["filtered"].items() if reason in DUPLICATES)
    private = {k.removeprefix("redact."): v for k, v in ledger.get("rewritten", {}).items() if k.startswith("redact.")}
    headlines = [
        Headline("Documents", number(kept["records"]), f"of {number(read['records'])} read"),
        Headline("Tokens", rounded(kept["tokens"]), f"{size(kept['bytes'])} of text as read"),
        Headline("Sources", number(len(sources)), ", ".join(sorted(set(kinds.values())))),
        Headline("Duplicates", number(copies), "dropped; one copy of each stays"),
        Headline("Personal data", number(sum(v["records"] for v in private.values())), "places replaced"),
    ]
    sections = [
        Section("What it is made of", composition(sources, kinds)),
        Section("How long the documents are", lengths(sources)),
        Section("Languages and sites", names(sources)),
        Section("Duplicates and personal data", removed(ledger, private)),
        Section("Where every record went", accounts(ledger)),
    ]
    subtitle = "Counted while the corpus was built: what it holds, where that came from, and what was left out and why."
    return Page("Data card", subtitle, sections, headlines)


def rounded(count: int) -> str:
    """A large number in the width of a headline.

    >>> rounded(950), rounded(5_764_738)
    ('950', '5.76 M')
    """
    for unit, size_of in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= size_of:
            return f"{count / size_of:.3g} {unit}"
    return number(count)


def composition(sources: Mapping[str, Any], kinds: Mapping[str, str]) -> list[Block]:
    """The treemap by kind, and the table behind it."""
    parts: dict[str, dict[str, float]] = {}
    for name, found in sources.items():
        parts.setdefault(kinds.get(name, "other"), {})[name] = found["tokens"]
    total = sum(found["tokens"] for found in sources.values())
    rows = [
        (
            name, kinds.get(name, "other"), found["documents"], size(found["bytes"]), found["tokens"],
            f"{100 * found['tokens'] / max(total, 1):.1f} %",
            f"{found['bytes'] / max(found['tokens'], 1):.2f}",
        )
        for name, found in sorted(sources.items(), key=lambda item: (-item[1]["tokens"], item[0]))
    ]  # fmt: skip
    heads = ("Source", "Kind", "Documents", "Text", "Tokens", "Share", "Bytes a token")
    align: tuple[Align, ...] = ("left", "left", "right", "right", "right", "right", "right")
    table = Table(heads, rows, align=align, caption="What is kept, as it is written.")
    picture = treemap(parts, "Composition of the corpus: tokens of each source, grouped by kind")
    return [Figure(picture, "Areas are tokens; sources of one kind share a colour."), table]


def lengths(sources: Mapping[str, Any]) -> list[Block]:
    """How many documents fall into each class of length."""
    return [
        Figure(
            length_plot({name: {int(k): v for k, v in s["lengths"].items()} for name, s in sources.items()}),
            "Share of each source's documents by length in tokens; a class reaches from half its number to below it.",
        )
    ]


def names(sources: Mapping[str, Any]) -> list[Block]:
    """Languages and sites, where records told them."""
    blocks: list[Block] = []
    for key, title in (("languages", "Language"), ("domains", "Site")):
        rows = [
            (name, word, count, f"{100 * count / found['documents']:.1f} %")
            for name, found in sources.items()
            for word, count in list(found[key]["top"].items())[:ROWS]
        ]
        if not rows:
            blocks.append(Paragraph(f"No record told its {title.lower()}."))
            continue
        missed = {name: found[key]["missed"] for name, found in sources.items() if found[key]["missed"]}
        caption = "As the records told it; at most 25 a source."
        caption += "".join(f" Of {name} each count may be too low by {number(by)}." for name, by in missed.items())
        table = Table(("Source", title, "Documents", "Share"), rows, ("left", "left", "right", "right"), caption)
        blocks.append(table if len(rows) <= ROWS else Details(f"{title}s: {number(len(rows))} rows", [table]))
    return blocks


def removed(ledger: Mapping[str, Any], private: Mapping[str, Any]) -> list[Block]:
    """Copies that were dropped, parts that were cut, personal data that were replaced."""
    rows: list[tuple[str, int, str]] = []
    rows += [
        (f"document: {k}", v["records"], size(v["bytes"])) for k, v in ledger["filtered"].items() if k in DUPLICATES
    ]
    rows += [(f"part of a document: {k}", v["records"], size(v["bytes"])) for k, v in ledger.get("cut", {}).items()]
    rows += [(f"personal data: {k}", v["records"], size(v["bytes"])) for k, v in sorted(private.items())]
    if not rows:
        return [Paragraph("No duplicate was found and nothing was replaced, as far as the recipe looked for either.")]
    return [Table(("What", "Count", "Text"), rows, ("left", "right", "right"))]


def accounts(ledger: Mapping[str, Any]) -> list[Block]:
    """The ledger, and folded below it that of each source."""
    own = [
        Details(f"{name} ({part.get('kind') or 'no kind'})", [LedgerTable(part)])
        for name, part in ledger.get("sources", {}).items()
    ]
    return [LedgerTable(ledger), *own]
