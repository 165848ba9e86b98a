"""One self-contained HTML file from typed blocks.

The file opens offline and forever: style and pictures are inside, there is no script, and a Content-Security-Policy
forbids the browser to run or load anything. Every piece of text passes `escape`, every picture passes `check_svg`, and
nothing knows the time of day: equal pages are equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, assert_never

from modeledge.config.changed import exact, flat
from modeledge.files import write_text
from modeledge.report.blocks import (
    Align,
    Block,
    Cell,
    Code,
    Details,
    Figure,
    Headline,
    KeyValues,
    LedgerTable,
    Page,
    Paragraph,
    Samples,
    Section,
    Table,
    Verdict,
)
from modeledge.report.markup import DASH, escape, number, plain, size
from modeledge.report.svg import check_svg

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
TONES = {"good": ("✓", "Shown"), "bad": ("✕", "Fell short"), "mixed": ("≈", "Not settled"), "neutral": ("i", "Note")}


def write_report(folder: Path, page: Page) -> Path:
    """Write `folder/report.html` atomically, replacing an older one, and return its path."""
    path = folder / "report.html"
    write_text(path, render_page(page))
    return path


def render_page(page: Page) -> str:
    """The whole document as text; equal pages give equal text."""
    style = package_files("modeledge.report").joinpath("style.css").read_text(encoding="utf-8")
    assert "</" not in style, "the style sheet must not be able to end its own element"
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n',
        f"<title>{escape(page.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n",
        '<header class="masthead">\n<p class="brand">modeledge</p>\n',
        f'<h1 dir="auto">{escape(page.title)}</h1>\n<p class="subtitle" dir="auto">{escape(page.subtitle)}</p>\n',
        "</header>\n",
        render_headlines(page.headlines),
        render_contents(page.sections),
        "<main>\n",
        *(render_section(place, section) for place, section in enumerate(page.sections, 1)),
        "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts)


def render_headlines(headlines: Sequence[Headline]) -> str:
    """The strip of key numbers."""
    if not headlines:
        return ""
    cards = [
        f'<div class="headline"><dt>{escape(h.label)}</dt><dd class="value">{escape(h.value)}</dd>'
        f'<dd class="note">{escape(h.note)}</dd></div>\n'
        for h in headlines
    ]
    return f'<dl class="headlines">\n{"".join(cards)}</dl>\n'


def render_contents(sections: Sequence[Section]) -> str:
    """The table of contents: one link a section."""
    if len(sections) < 2:
        return ""
    links = "".join(f'<li><a href="#s{n}">{escape(s.title)}</a></li>' for n, s in enumerate(sections, 1))
    return f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n'


def render_section(place: int, section: Section) -> str:
    """One section under its heading."""
    body = "".join(render_block(block) for block in section.blocks)
    return f'<section id="s{place}">\n<h2 dir="auto">{escape(section.title)}</h2>\n{body}</section>\n'


def render_block(block: Block) -> str:
    """One block as HTML."""
    match block:
        case Paragraph(text):
            return "".join(f'<p dir="auto">{escape(part)}</p>\n' for part in text.split("\n\n") if part.strip())
        case Verdict(text, tone):
            sign, word = TONES[tone]
            head = f'<span class="sign" aria-hidden="true">{sign}</span><b class="word">{word}</b>'
            return f'<div class="verdict {tone}" role="note">{head}<p dir="auto">{escape(text)}</p></div>\n'
        case Table():
            return render_table(block)
        case Figure(svg, caption):
            return f'<figure><div class="plot" tabindex="0">{check_svg(svg)}</div>{captioned(caption)}</figure>\n'
        case Code(text, caption):
            return f"<figure><pre><code>{escape(text)}</code></pre>{captioned(caption)}</figure>\n"
        case Samples():
            return render_samples(block)
        case KeyValues(values):
            return render_values(values)
        case LedgerTable(ledger):
            return render_ledger(ledger)
        case Details(summary, blocks):
            inner = "".join(render_block(inner) for inner in blocks)
            return f'<details><summary>{escape(summary)}</summary><div class="folded">\n{inner}</div></details>\n'
        case _:
            assert_never(block)


def captioned(caption: str) -> str:
    """A caption, where there is one."""
    return f'<figcaption dir="auto">{escape(caption)}</figcaption>' if caption else ""


def render_table(table: Table) -> str:
    """A table that scrolls sideways by itself where the window is narrow."""
    width = len(table.columns)
    assert all(len(row) == width for row in table.rows), "each row has one cell for each column"
    assert not table.align or len(table.align) == width, "align has one entry for each column"
    align = list(table.align) or [column_align([row[c] for row in table.rows]) for c in range(width)]
    head = "".join(
        f'<th scope="col" class="{a}">{escape(name)}</th>' for a, name in zip(align, table.columns, strict=True)
    )
    body = []
    for r, row in enumerate(table.rows):
        cells = "".join(
            f'<td class="{align[c]}{" best" if (r, c) in table.highlight else ""}">{escape(plain(cell))}</td>'
            for c, cell in enumerate(row)
        )
        marked = ' class="marked"' if r in table.highlight else ""
        body.append(f"<tr{marked}>{cells}</tr>\n")
    inner = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(body)}</tbody>\n</table>"
    return f'<figure><div class="scroll" tabindex="0">{inner}</div>{captioned(table.caption)}</figure>\n'


def column_align(cells: Sequence[Cell]) -> Align:
    """Right for columns of numbers, left for words."""
    filled = [cell for cell in cells if cell is not None]
    numbers = all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in filled)
    return "right" if filled and numbers else "left"


def render_samples(block: Samples) -> str:
    """Prompts in the ink's full weight, continuations in the reading face; answers stand below what was asked."""
    tag, name = ("div", "answer") if block.apart else ("span", "continuation")
    items = "".join(
        f'<blockquote dir="auto"><{tag} class="prompt">{escape(prompt)}</{tag}>'
        f'<{tag} class="{name}">{escape(told)}</{tag}></blockquote>\n'
        for prompt, told in block.samples
    )
    return f'<figure class="samples">{items}{captioned(block.caption)}</figure>\n'


def render_values(values: Mapping[str, Any]) -> str:
    """Names and values in two columns."""
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(exact(v))}</dd></div>\n" for k, v in flat(values).items())
    return f'<dl class="values">\n{rows}</dl>\n'


def render_ledger(ledger: Mapping[str, Any]) -> str:
    """The ledger as a table with a bar for each share, and its balance in words."""
    read, kept = ledger["read"], ledger["kept"]
    filtered, quarantined = dict(ledger.get("filtered", {})), dict(ledger.get("quarantined", {}))
    total = read["records"]
    rows = [ledger_row("Read", read, total, "total"), ledger_row("Kept", kept, total, "kept")]
    rows += [ledger_row(f"Filtered: {k}", v, total, "out") for k, v in sorted(filtered.items())]
    rows += [ledger_row(f"Quarantined: {k}", v, total, "out") for k, v in sorted(quarantined.items())]
    cut, rewritten = dict(ledger.get("cut", {})), dict(ledger.get("rewritten", {}))
    rows += [ledger_row(f"Cut out of documents: {k}", v, None, "out") for k, v in sorted(cut.items())]
    rows += [ledger_row(f"Rewritten in kept texts: {k}", v, None, "out") for k, v in sorted(rewritten.items())]
    outs = [kept, *filtered.values(), *quarantined.values()]
    missing = {unit: read[unit] - sum(out[unit] for out in outs) for unit in ("records", "bytes")}
    missing["bytes"] -= sum(out["bytes"] for out in cut.values())
    if any(missing.values()):
        gap = ", ".join(f"{number(value)} {unit}" for unit, value in missing.items())
        balance = render_block(Verdict(f"The ledger does not balance: {gap} are unaccounted for.", "bad"))
    else:
        rule = "Read = kept + filtered + quarantined, in records and in bytes: it balances."
        rule += " Parts cut out of documents count in bytes alone." if cut else ""
        rule += " What is rewritten was counted as kept." if rewritten else ""
        balance = f'<p class="balance">{rule}</p>\n'
    notes = "".join(f'<li dir="auto">{escape(note)}</li>' for note in ledger.get("notes", []))
    heads = ("", "left"), ("Records", "right"), ("Share", "left"), ("Bytes", "right"), ("Tokens", "right")
    head = "".join(f'<th scope="col" class="{align}">{name}</th>' for name, align in heads)
    table = f'<table class="ledger"><thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody></table>'
    notes = f'<ul class="notes">{notes}</ul>\n' if notes else ""
    return f'<div class="scroll" tabindex="0">{table}</div>\n{balance}{notes}'


def ledger_row(name: str, count: Mapping[str, int], total: int | None, kind: str) -> str:
    """One line of the ledger; without a `total` its records are no share of anything (parts of documents)."""
    share = 100 * count["records"] / total if total else 0.0
    shown = ("<0.1" if 0 < share < 0.05 else f"{share:.1f}") + " %" if total is not None else "parts"
    bar = f'<span class="bar"><span style="width:{min(max(share, 0.0), 100.0):.2f}%"></span></span>'
    bar = bar if total is not None else ""
    tokens = number(count["tokens"]) if count.get("tokens") else DASH
    return (
        f'<tr class="{kind}"><th scope="row" dir="auto">{escape(name)}</th>'
        f'<td class="right">{number(count["records"])}</td><td class="share">{bar}{escape(shown)}</td>'
        f'<td class="right">{escape(size(count["bytes"]))}</td><td class="right">{tokens}</td></tr>\n'
    )
