"""Source code: one file, one document, nothing of it changed; indentation and licence header stay.

The language is told by the file's name, as GitHub's linguist does at first (and The Stack, Kocetkov et al. 2022, arXiv
2211.15533, after it). A tree holds other things than code: a binary file is set aside under `E-BINARY` and does not
count against `bad_limit`, for pictures in a tree are no sign that it is being read in the wrong way; empty files
(`__init__.py`) are filtered as `code.empty file`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modeledge.corpus.inputs import Source, open_file
from modeledge.corpus.intake import Intake, Record
from modeledge.corpus.languages import language_of
from modeledge.corpus.plain import whole_records
from modeledge.errors import ModeledgeError

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*)")
_HEAD = 4096  # bytes that are looked at for a NUL, characters for a licence
_REFUSED_ALONE = ("E-ENCODING", "E-LINE-TOO-LONG")


def code_records(source: Source, intake: Intake) -> Iterator[Record]:
    """The file as one record with `language` and, where an SPDX line says it, `licence`."""
    if not source.stamp[0]:
        intake.passed_over("code.empty file", 0)
        return
    where, size = f"{source.name}:1", source.stamp[0]
    with open_file(source.path, source.name) as file:
        head = file.read(_HEAD)
    if b"\0" in head:
        what = f"byte {head.index(0):,} is NUL: a binary file, no source code"
        intake.bad(ModeledgeError("E-BINARY", what, where=where), head, size=size, forced=True)
        return
    language = language_of(source.path)
    if language is None:
        intake.note("file whose name tells no programming language, kept without one", source.name)
    field = intake.config.text or "text"
    try:
        for record in whole_records(source, intake):
            found = _SPDX.search(record.fields[field][:_HEAD])
            told = {"language": language, "licence": found[1] if found else None}
            record.fields |= {name: value for name, value in told.items() if value}
            yield record
    except ModeledgeError as error:
        if error.code not in _REFUSED_ALONE:
            raise
        intake.bad(error, head, size=size)
        return
    if intake.blank:
        intake.blank = 0
        intake.passed_over("code.empty file", size)
