"""The field's files: `LAYOUTS` is the table of the benchmarks that can be read as they are given out.

    read_layout("rte", "glue/RTE", "dev")      rows with sentence1, sentence2, label and __where__
    guess_layout("glue/SST-2")                 "sst2"
    render(LAYOUTS["rte"].template, row, …)    the row as a request to a prompted model

A layout says how files become rows and what their columns mean; what is learned from the rows is a task's business.
"""

from __future__ import annotations

import os
from pathlib import Path

from modeledge.corpus.layouts.answers import ANSWERS
from modeledge.corpus.layouts.columns import COLUMNS
from modeledge.corpus.layouts.conllu import TREEBANKS
from modeledge.corpus.layouts.glue import GLUE
from modeledge.corpus.layouts.guess import guess_among
from modeledge.corpus.layouts.inference import INFERENCE
from modeledge.corpus.layouts.layout import Kind, Layout, Row
from modeledge.corpus.layouts.parallel import PARALLELS
from modeledge.corpus.layouts.questions import QUESTIONS
from modeledge.corpus.layouts.ratings import RATINGS
from modeledge.corpus.layouts.read import Place, layout_named, read_with, splits_in
from modeledge.corpus.layouts.relations import RELATIONS
from modeledge.corpus.layouts.schemes import find_scheme
from modeledge.corpus.layouts.superglue import SUPERGLUE
from modeledge.corpus.layouts.talk import TALK
from modeledge.corpus.layouts.template import Template, candidates, render
from modeledge.corpus.layouts.writing import WRITING
from modeledge.records import Ledger

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *GLUE,
        *SUPERGLUE,
        *INFERENCE,
        *ANSWERS,
        *COLUMNS,
        *TREEBANKS,
        *PARALLELS,
        *WRITING,
        *QUESTIONS,
        *TALK,
        *RELATIONS,
        *RATINGS,
    )
}


def read_layout(name: str, path: Place, split: str = "train", *, ledger: Ledger | None = None) -> list[Row]:
    """The rows of one split of a benchmark; `read_with` says what `path` may be and what is raised.

    Raises `E-CONFIG-VALUE` for a name that is not in the table.
    """
    return read_with(layout_named(name, LAYOUTS), path, split, ledger=ledger)


def guess_layout(path: str | os.PathLike[str]) -> str | None:
    """The name of the one layout that fits a file or a folder best; None where none does, or two do equally well."""
    return guess_among(Path(path), LAYOUTS)


__all__ = [
    "LAYOUTS",
    "Kind",
    "Layout",
    "Place",
    "Row",
    "Template",
    "candidates",
    "find_scheme",
    "guess_layout",
    "read_layout",
    "render",
    "splits_in",
]
