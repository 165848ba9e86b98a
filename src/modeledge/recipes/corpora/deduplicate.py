"""`modeledge corpus dedup`: files in, the documents that are left out, with the reason for each that is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from modeledge.corpus.overlap import overlap
from modeledge.corpus.shingles import Shingling
from modeledge.corpus.written import write_documents
from modeledge.errors import printable
from modeledge.files import write_json
from modeledge.recipes.corpora.build import fresh
from modeledge.recipes.corpora.data_card import write_data_card
from modeledge.recipes.corpora.source import QUARANTINE, read, report_ledger
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.recipes.pretraining.continued import building
from modeledge.records import Document, Ledger

OVERLAP = "overlap.json"
Say = Callable[[str], None]


def deduplicate(corpus: CorpusRecipe, out: Path, say: Say) -> Ledger:
    """Write to the folder `out` what is left of the corpus's files, text untouched but for what is cut.

    `documents.jsonl` (id, text, fields), `dropped.jsonl` (id, reason, the id that stands for it, text), `ledger.json`,
    `survey.json`, `card.html`, and of several paths `overlap.json`: the share of each one's 13-grams that another has.
    Nothing is tidied: `stages` are of the way to tokens. Raises `E-OUTPUT`.
    """
    fresh(out)
    ledger, config = Ledger(), building(corpus)
    with TemporaryDirectory(prefix="modeledge-") as aside:

        def finish(folder: Path) -> None:
            shutil.copyfile(Path(aside) / QUARANTINE, folder / QUARANTINE)
            if len(corpus.paths) > 1:
                _write_overlap(corpus, folder / OVERLAP, say)
            write_data_card(folder)

        documents = read(corpus, ledger, Path(aside))
        write_documents(
            documents, out, config=replace(config, stages=()), ledger=ledger, all_dropped=True, finish=finish
        )
    report_ledger(ledger, say)
    return ledger


def _write_overlap(corpus: CorpusRecipe, path: Path, say: Say) -> None:
    """The share of each path's shingles that another one has, in a file and in words."""

    def documents(name: str) -> Iterator[Document]:
        return read(corpus.model_copy(update={"paths": (name,)}), Ledger())

    found = overlap({name: documents(name) for name in corpus.paths}, Shingling(n=13), memory=corpus.memory << 20)
    table = {
        first: {second: round(float(found.containment[i, j]), 6) for j, second in enumerate(found.names)}
        for i, first in enumerate(found.names)
    }
    write_json(
        path,
        {
            "unit": "13-grams of words",
            "contained": table,
            "sampled": dict(zip(found.names, found.sampled, strict=True)),
        },
    )
    for first, row in table.items():
        for second, share in row.items():
            if first != second and share:
                say(f"{100 * share:.2f} % of the 13-grams of {printable(first)} stand in {printable(second)}")
