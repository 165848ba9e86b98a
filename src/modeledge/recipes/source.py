"""Reading a recipe's files, and saying what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.errors import ModeledgeError
from modeledge.recipes.texts import CorpusRecipe
from modeledge.records import Document, Ledger
from modeledge.tokens import Tokenizer

Say = Callable[[str], None]


def read(corpus: CorpusRecipe, ledger: Ledger, folder: Path | None = None) -> Iterator[Document]:
    """The recipe's files as documents. Quarantined records are kept in `quarantine.jsonl` of the folder."""
    if not corpus.paths:
        raise ModeledgeError(
            "E-CONFIG", "no input is named", where="corpus.paths", remedy="name files, folders or globs"
        )
    config = ReadConfig(
        format=corpus.format,
        text=corpus.text,
        id=corpus.id,
        split=corpus.split,
        encoding=corpus.encoding,
        delimiter=corpus.delimiter,
        on_bad_record=corpus.on_bad_record,
        bad_limit=corpus.bad_limit,
        max_record_bytes=corpus.max_record_bytes,
        max_expansion=corpus.max_expansion,
        allow_partial=corpus.allow_partial,
    )
    if folder is None:
        yield from read_documents(corpus.paths, config, ledger)
        refuse_warnings(corpus, ledger)
        return
    with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as file:

        def keep(record: Any) -> None:
            row = {"where": record.where, "reason": record.reason, "raw": record.raw.hex()}
            file.write(json.dumps(row) + "\n")

        yield from read_documents(corpus.paths, config, ledger, keep)
    refuse_warnings(corpus, ledger)


def refuse_warnings(corpus: CorpusRecipe, ledger: Ledger) -> None:
    """Raise `E-WARNING` for the first note of the ledger that is a warning, where the recipe is strict."""
    warnings = [note for note in ledger.notes if "W-" in note] if corpus.strict else []
    if warnings:
        remedy = "mend the texts, or leave out --strict"
        raise ModeledgeError("E-WARNING", warnings[0], why=f"{len(warnings)} warnings are refused", remedy=remedy)


def watch_specials(
    documents: Iterable[Document], tokenizer: Tokenizer, ledger: Ledger, corpus: CorpusRecipe | None = None
) -> Iterator[Document]:
    """The documents; a note says how often special tokens are written out in them, which are read as plain text.

    A strict `corpus` makes an error of it (`E-WARNING`).
    """
    count, first = 0, ""
    for document in documents:
        found = tokenizer.count_specials_in(document.text)
        first = first or (document.where or document.id if found else "")
        count += found
        yield document
    if count:
        what = "a special token written out in the text, encoded as plain text"
        ledger.notes.append(f"{first} (first): {count:,} × W-SPECIAL-IN-TEXT: {what}")
    if corpus is not None:
        refuse_warnings(corpus, ledger)


def report_notes(tokenizer: Tokenizer, say: Say) -> None:
    """What the training of a tokenizer had to say."""
    for note in tokenizer.notes:
        say(f"W-VOCAB-SHORT: {note}")


def report_ledger(ledger: Ledger, say: Say) -> None:
    """The balance of a ledger, and what was accepted though it looks odd."""
    say(balance(ledger))
    if ledger.rewritten:
        say(f"taken out of kept texts: { {k: c.records for k, c in sorted(ledger.rewritten.items())} }")
    for note in ledger.notes:
        say(f"note: {note}")


def balance(ledger: Ledger) -> str:
    """The ledger in one line: read = kept + filtered + quarantined."""
    filtered = {k: c.records for k, c in sorted(ledger.filtered.items())}
    quarantined = {k: c.records for k, c in sorted(ledger.quarantined.items())}
    return (
        f"read {ledger.read.records:,} = kept {ledger.kept.records:,} + filtered {filtered or 0} "
        f"+ quarantined {quarantined or 0}; {ledger.kept.tokens:,} tokens"
    )
