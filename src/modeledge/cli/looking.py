"""The verbs that read a corpus: `modeledge corpus inspect` and `modeledge corpus search`.

What they show was written by strangers: control characters are escaped, and nothing of it is read as markup.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modeledge.cli.terminal import say
from modeledge.errors import printable

if TYPE_CHECKING:
    from rich.text import Text

COLOURS = {"filtered": "yellow", "quarantined": "red", "cut": "cyan", "rewritten": "magenta"}


def inspect(
    folder: Annotated[Path, typer.Argument(help="What corpus build or dedup wrote, or a run.")],
    reason: Annotated[str | None, typer.Option(help="One reason, or the rule set that it begins with.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many of each reason are shown.")] = 3,
    characters: Annotated[int, typer.Option(min=1, max=2000, help="Of each sample.")] = 300,
) -> None:
    """Show what a corpus left out: how much for which reason, and samples of it."""
    from rich.console import Console
    from rich.text import Text

    from modeledge.recipes.corpora.fallen import inspect_corpus

    found, console = inspect_corpus(folder, reason, samples), Console(highlight=False, soft_wrap=True)
    for ledger, name in [(found.ledger, ""), *((part, name) for name, part in found.ledger.get("sources", {}).items())]:
        _balance(console, ledger, name)
    for name, held in found.samples.items():
        console.print(Text.assemble("\n", (printable(name, 120), "bold yellow")))
        for sample in held:
            console.print(
                Text.assemble("  ", (printable(sample.where), "cyan"), "  ", (printable(sample.note, 300), "dim"))
            )
            console.print(Text("    " + _shown(sample.text, characters)))


def _balance(console: Any, ledger: dict[str, Any], name: str) -> None:
    """Read = kept + what fell, a line a reason."""
    from rich.text import Text

    def line(word: str, count: dict[str, int], style: str) -> Text:
        numbers = f"{count['records']:>12,}  {count['bytes']:>15,} bytes  {count['tokens']:>14,} tokens  "
        return Text.assemble(numbers, (printable(word, 120), style))

    if name:
        console.print(Text.assemble("\n", (printable(name, 80), "bold"), f"  {ledger.get('kind', '')}"))
    console.print(line("read", ledger["read"], "bold"))
    console.print(line("kept", ledger["kept"], "bold green"))
    for group, colour in COLOURS.items():
        for reason, count in ledger.get(group, {}).items():
            console.print(line(f"{group}: {reason}", count, colour))


def search(
    pattern: Annotated[str, typer.Argument(help="A regular expression, or @translation, @summary, @question-answer …")],
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs; or a folder of corpus dedup.")],
    limit: Annotated[int, typer.Option(min=0, help="How many finds are shown.")] = 10,
    context: Annotated[int, typer.Option(min=0, max=1000, help="Characters on both sides.")] = 80,
    seconds: Annotated[float, typer.Option(min=0.001, help="Time for one document.")] = 1.0,
    text: Annotated[str, typer.Option(help="The field that holds the text.")] = "text",
    format: str = "auto",
    keys: Annotated[list[str] | None, typer.Option("--set", help="Any key of the corpus recipe")] = None,
) -> None:
    """Count a pattern in a corpus and show where it stands: naturally occurring demonstrations of a task."""
    from rich.console import Console
    from rich.text import Text

    from modeledge.config import load_config
    from modeledge.recipes.corpora.fallen import search_corpus
    from modeledge.recipes.corpora.texts import CorpusRecipe
    from modeledge.records import Ledger

    ledger, console = Ledger(), Console(highlight=False, soft_wrap=True)
    corpus = load_config(CorpusRecipe, None, keys or (), values={"paths": list(paths), "text": text, "format": format})
    found = search_corpus(pattern, corpus, ledger, limit=limit, context=context, seconds=seconds)
    for find in found.sample:
        console.print(Text.assemble((f"{printable(find.id)} @ {find.start:,}", "cyan")))
        parts = [" ".join(part.split()) for part in (find.before, find.text, find.after)]
        console.print(
            Text.assemble("  …", _plain(parts[0]), " ", (_plain(parts[1]), "bold green"), " ", _plain(parts[2]), "…")
        )
    console.print(f"{found.finds:,} finds in {found.matching:,} of {found.documents:,} documents")
    for count in ledger.quarantined.values():
        say(f"{count.records:,} records were set aside and not searched")
    if found.unfinished:
        named = ", ".join(map(printable, found.given_up[:5]))
        say(f"{found.unfinished:,} documents took longer than {seconds:g} s and were given up: {named}")


def _shown(text: str, characters: int) -> str:
    return _plain(text[:characters]) + ("…" if len(text) > characters else "")


def _plain(text: str) -> str:
    return printable(" ".join(text.split()), 2000)
