"""The verbs that write a corpus: `modeledge corpus build`, and `corpus dedup`, which needs no tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modeledge.cli.terminal import say

Out = Annotated[Path, typer.Option("--out", "-o", help="Where the result goes; a fresh folder or file.")]
CorpusKeys = Annotated[
    list[str] | None, typer.Option("--set", help="Any key of the corpus table, e.g. split=line, max_record_bytes=…")
]


def build(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders, globs; or a recipe (TOML) of a corpus, and key.path=value.")
    ],
    out: Out,
    tokenizer: Annotated[
        Path | None, typer.Option(help="The tokenizer to encode with; without one the corpus stays text.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Of a recipe: the folder that {data} stands for.")] = None,
    text: Annotated[str | None, typer.Option(help="The field that holds the text.")] = None,
    encoding: str | None = None,
    format: str | None = None,
    on_bad_record: Annotated[str | None, typer.Option(help="error, quarantine or skip")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of a csv file, where it is no comma.")] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Use compressed files as far as they go.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse texts that would only be warned of.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a build that was killed.")] = False,
    keys: CorpusKeys = None,
) -> None:
    """Read, filter, de-duplicate, tokenize and pack files into token shards with a data card; print the ledger."""
    from modeledge.config import load_config
    from modeledge.recipes.corpora.corpus_build import build as build_recipe
    from modeledge.recipes.corpora.corpus_file import CorpusFile

    recipe = Path(paths[0]) if paths[0].endswith(".toml") else None
    said: dict[str, Any] = {"text": text, "encoding": encoding, "format": format, "on_bad_record": on_bad_record}
    said |= {"delimiter": delimiter, "allow_partial": allow_partial or None, "strict": strict or None}
    corpus = {key: value for key, value in said.items() if value is not None}
    values: dict[str, Any] = {"corpus": corpus if recipe else {"paths": list(paths), **corpus}}
    values |= {} if data is None else {"data": data}
    values |= {} if tokenizer is None else {"tokenizer": {"path": str(tokenizer)}}
    overrides = [*(f"corpus.{key}" for key in keys or ()), *(paths[1:] if recipe else ())]
    build_recipe(load_config(CorpusFile, recipe, overrides, values), out, say, resume=resume)


def dedup(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs; several are compared as sources.")],
    out: Out,
    near: Annotated[str | None, typer.Option(help="Near duplicates too: fineweb or strict.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Keep each line of the corpus once.")] = False,
    against: Annotated[list[str] | None, typer.Option(help="A file of an evaluation set to be taken out.")] = None,
    keep: Annotated[str, typer.Option(help="Which copy stays: first, longest or score.")] = "first",
    processes: Annotated[int, typer.Option(min=1, help="They change nothing but the time.")] = 1,
    memory: Annotated[int, typer.Option(min=1, help="In MB.")] = 256,
    text: Annotated[str, typer.Option(help="The field that holds the text.")] = "text",
    format: str = "auto",
    keys: CorpusKeys = None,
) -> None:
    """Keep each text once: exact and near duplicates, repeated lines, evaluation sets; say what stands for what."""
    from modeledge.config import load_config
    from modeledge.recipes.corpora.deduplicate import deduplicate
    from modeledge.recipes.corpora.texts import CorpusRecipe

    values: dict[str, Any] = {"paths": list(paths), "text": text, "format": format, "keep": keep}
    values |= {"processes": processes, "memory": memory}
    values |= {"near": {"preset": near}} if near else {}
    values |= {"repeats": {}} if lines else {}
    values |= {"against": {"paths": list(against)}} if against else {}
    deduplicate(load_config(CorpusRecipe, None, keys or (), values=values), out, say)
