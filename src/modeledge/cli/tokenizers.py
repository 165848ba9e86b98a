"""The verbs of tokenizers: `modeledge tokenizer train` and `tokenizer measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modeledge.cli.corpus import CorpusKeys, Out
from modeledge.cli.terminal import say


def train(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs.")],
    out: Out,
    kind: Annotated[str, typer.Option(help="bpe, wordpiece or unigram")] = "bpe",
    vocab_size: int = 8192,
    min_frequency: int = 2,
    lowercase: bool = False,
    sentinels: Annotated[int, typer.Option(help="Tokens <extra_id_0> … to reserve (T5: 100)")] = 0,
    text: str = "text",
    encoding: str = "utf-8",
    format: str = "auto",
    keys: CorpusKeys = None,
) -> None:
    """Train a tokenizer on raw files; the same input gives the same bytes."""
    from modeledge.config import load_config
    from modeledge.recipes.corpora.build import build_tokenizer
    from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe

    corpus = load_config(
        CorpusRecipe,
        None,
        keys or (),
        values={"paths": list(paths), "text": text, "encoding": encoding, "format": format},
    )
    values = {"kind": kind, "vocab_size": vocab_size, "min_frequency": min_frequency, "lowercase": lowercase}
    values |= {"sentinels": sentinels}
    build_tokenizer(corpus, load_config(TokenizerRecipe, None, values=values), out, say)


def measure(
    tokenizers: Annotated[list[Path], typer.Argument(help="Tokenizers: their folders or files, side by side.")],
    source: Annotated[list[str], typer.Option("--source", "-s", help="NAME=PATH: texts to encode; may be repeated.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A fresh folder for JSON, CSV and the page.")] = None,
    text: Annotated[str, typer.Option(help="The field that holds the text.")] = "text",
    format: str = "auto",
    keys: CorpusKeys = None,
) -> None:
    """Bytes a token, tokens a word and coverage of tokenizers on texts, source by source."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from modeledge.config import load_config
    from modeledge.errors import printable
    from modeledge.recipes.corpora.build import fresh
    from modeledge.recipes.corpora.measured import HEADS, measure_tokenizers, sources_of, write_measures
    from modeledge.recipes.corpora.texts import CorpusRecipe

    if out is not None:
        fresh(out)
    corpus = load_config(CorpusRecipe, None, keys or (), values={"text": text, "format": format})
    rows = measure_tokenizers(tokenizers, sources_of(source), corpus, say)
    table: Any = Table(title="How tokenizers fit texts")
    for number, head in enumerate(HEADS):
        table.add_column(head, justify="left" if number < 2 else "right")
    for row in rows:
        *words, tokens = row.cells
        table.add_row(*(Text(printable(word, 60)) for word in words), f"{tokens:,}")
    Console(highlight=False).print(table)
    if out is not None:
        write_measures(rows, out)
        say(f"figures and page: {out}")
