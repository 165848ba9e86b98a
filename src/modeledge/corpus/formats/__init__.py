"""The formats in which text is found, one page each: what is read of them, and what is not text in them.

`READERS` of `corpus.read` is made of these rows and of the plain containers (txt, jsonl, csv, parquet). Formats of
`TREES` are read file by file out of a folder that holds other things too: pictures, fonts, empty files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from modeledge.corpus.formats.code import code_records
from modeledge.corpus.formats.latex import latex_records
from modeledge.corpus.formats.page import html_records
from modeledge.corpus.formats.pile import pile_records
from modeledge.corpus.formats.stackexchange import stackexchange_records
from modeledge.corpus.formats.warc import warc_records
from modeledge.corpus.inputs import Source
from modeledge.corpus.intake import Intake, Record
from modeledge.corpus.plain import whole_records

Reader: TypeAlias = Callable[[Source, Intake], Iterator[Record]]

FORMATS: dict[str, Reader] = {
    "warc": warc_records,
    "html": html_records,
    "markdown": whole_records,
    "code": code_records,
    "latex": latex_records,
    "stackexchange": stackexchange_records,
    "pile": pile_records,
}
