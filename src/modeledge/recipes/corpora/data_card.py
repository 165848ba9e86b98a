"""The data card of a corpus: `card.html`, what it is made of and what became of the rest (Gebru et al. 2021).

Everything on it was counted while the corpus was built (`ledger.json`, `survey.json`); nothing is measured again and
nothing is estimated. Names of sources, sites and reasons come from data: the page's blocks escape them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
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
from modeledge.report.blocks import Cell, aligned
from modeledge.report.lengths import length_plot
from modeledge.report.markup import number, size
from modeledge.report.mixture import mixture_plot

CARD, MIXED, PACKED = "card.html", "mixture.json", "packing.json"
ALL = "all files"  # the name of the source that has none
DUPLICATES = ("duplicate", "near duplicate")
ROWS = 25


def write_data_card(folder: Path) -> Path:
    """Write the card of the corpus in `folder` and return its path."""
    path = folder / CARD
    ledger, survey, *more = (_found(folder / name) for name in (LEDGER, SURVEY, MIXED, PACKED))
    files.write_text(path, render_page(data_page(ledger, survey, *more)))
    return path


def _found(path: Path) -> dict[str, Any]:
    return dict(files.read_json(path)) if path.exists() else {}


def data_page(
    ledger: Mapping[str, Any],
    survey: Mapping[str, Any],
    mixed: Mapping[str, Any] = MappingProxyType({}),
    packed: Mapping[str, Any] = MappingProxyType({}),
) -> Page:
    """The card as blocks; `mixed` and `packed` are `mixture.json` and `packing.json`, where there are."""
    unit = str(survey.get("unit", "tokens"))
    sources: dict[str, Any] = {name or ALL: found for name, found in survey["sources"].items()}
    kinds = {name: str(own.get("kind") or "other") for name, own in ledger.get("sources", {}).items()}
    kinds |= {ALL: str(ledger.get("kind") or "other")}
    read, kept = ledger["read"], ledger["kept"]
    copies = sum(count["records"] for reason, count in ledger["filtered"].items() if reason in DUPLICATES)
    private = {k.removeprefix("redact."): v for k, v in ledger.get("rewritten", {}).items() if k.startswith("redact.")}
    headlines = [
        Headline("Documents", number(kept["records"]), f"of {number(read['records'])} read"),
        Headline("Tokens", rounded(kept["tokens"]), f"{size(kept['bytes'])} of text as read")
        if unit == "tokens"
        else Headline("Text", size(kept["bytes"]), "as read; no tokenizer was given"),
        Headline("Sources", number(len(sources)), ", ".join(sorted({kinds.get(name, "other") for name in sources}))),
        Headline("Duplicates", number(copies), "dropped; one copy of each stays"),
        Headline("Personal data", number(sum(v["records"] for v in private.values())), "places replaced"),
    ]
    sections = [
        Section("What it is made of", composition(sources, kinds, unit)),
        *([Section("How it is mixed", mixture(mixed))] if mixed else []),
        *([Section("How full rows are", packing(packed))] if packed else []),
        Section("How long the documents are", lengths(sources, unit)),
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


def composition(sources: Mapping[str, Any], kinds: Mapping[str, str], unit: str) -> list[Block]:
    """The treemap by kind, and the table behind it: in tokens, or in bytes where there are none."""
    parts: dict[str, dict[str, float]] = {}
    for name, found in sources.items():
        parts.setdefault(kinds.get(name, "other"), {})[name] = found[unit]
    total = sum(found[unit] for found in sources.values())
    rows: list[tuple[Cell, ...]] = []
    for name, found in sorted(sources.items(), key=lambda item: (-item[1][unit], item[0])):
        row = (name, kinds.get(name, "other"), found["documents"], size(found["bytes"]))
        tokens = (found["tokens"], f"{found['bytes'] / max(found['tokens'], 1):.2f}") if unit == "tokens" else ()
        rows.append((*row, f"{100 * found[unit] / max(total, 1):.1f} %", *tokens))
    heads = ("Source", "Kind", "Documents", "Text", "Share", *(("Tokens", "Bytes a token") if unit == "tokens" else ()))
    table = Table(heads, rows, align=aligned(len(heads), words=2), caption="What is kept, as it is written.")
    picture = treemap(parts, f"Composition of the corpus: {unit} of each source, grouped by kind")
    return [Figure(picture, f"Areas are {unit}; sources of one kind share a colour."), table]


def mixture(mixed: Mapping[str, Any]) -> list[Block]:
    """What a run of so many tokens reads of each source: a pie, and GPT-3's table."""
    rows = mixed["sources"]
    total = sum(row["planned"] for row in rows)
    cells: list[list[Cell]] = [
        [row["name"], round(row["size"]), f"{100 * row['planned'] / max(total, 1e-9):.1f} %", round(row["planned"]),
         f"{row['epochs']:.2f}"]
        for row in rows
    ]  # fmt: skip
    table = Table(
        ("Source", "Tokens", "Weight in the mix", "Read", "Epochs"),
        cells,
        aligned(5),
        f"The plan of a run that reads {rounded(round(total))} tokens.",
    )
    picture = mixture_plot(rows, beside="size")
    return [Figure(picture, "What the plan reads of each source, beside what is there."), table,
            *(Paragraph(str(note)) for note in mixed["notes"])]  # fmt: skip


def packing(packed: Mapping[str, Any]) -> list[Block]:
    """Examples and rows of each source, and how full these are."""
    ways = {"split": "all documents as one, cut", "fit": "pieces fitted into rows", "alone": "a piece a row"}
    rows: list[list[Cell]] = [
        [name or ALL, part["examples"], part["rows"], f"{100 * part['full']:.2f} %", part["left_out"]]
        for name, part in packed["sources"].items()
    ]
    caption = f"Rows of {number(packed['length'])} tokens: {ways[packed['how']]}."
    return [Table(("Source", "Examples", "Rows", "Full", "Tokens left out"), rows, aligned(5), caption)]


def lengths(sources: Mapping[str, Any], unit: str) -> list[Block]:
    """How many documents fall into each class of length."""
    return [
        Figure(
            length_plot({name: {int(k): v for k, v in s["lengths"].items()} for name, s in sources.items()}, unit),
            f"Share of each source's documents by length in {unit}; a class reaches from half its number to below it.",
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
