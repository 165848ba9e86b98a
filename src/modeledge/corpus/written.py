"""A corpus that ends as texts: clean documents, one JSON object a line, in the order in which shards would hold them.

The way is that of shards (`corpus.pipeline`) without its last step, and what lies beside is the same: `ledger.json`,
`survey.json`, `dropped.jsonl`. There are no tokens, so the survey counts lengths in bytes. A build that is killed
leaves nothing and begins anew: what takes long, tokenization, is not part of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from modeledge.corpus.asked import Build
from modeledge.corpus.dropped import DROPPED, DroppedFile, DroppedSample
from modeledge.corpus.pipeline import LEDGER, kept_documents, nothing_kept
from modeledge.corpus.survey import SURVEY, Survey
from modeledge.files import committed_folder, write_json
from modeledge.records import Document, Ledger

DOCUMENTS, OWN = "documents.jsonl", "own_"


def write_documents(
    documents: Iterable[Document],
    folder: Path,
    *,
    config: Build,
    ledger: Ledger,
    all_dropped: bool = False,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Write the clean documents of a corpus to `folder`, which appears whole or not at all: id, text, source,
    other fields (one of these names is told as `own_…`).

    Of what falls `config.dropped` documents for each reason are written, with `all_dropped` every one. `finish` may
    write more, into the folder that it is given. Raises `E-OUTPUT`, `E-DUP-ID`, and `E-NO-RECORDS` when nothing is
    kept.
    """
    survey = Survey(unit="bytes")
    with committed_folder(folder, {"schema": 1}) as temporary:
        sample = DroppedSample(config.dropped)
        dropped = DroppedFile(temporary / DROPPED) if all_dropped else sample
        kept = kept_documents(documents, config, ledger=ledger, folder=temporary, dropped=dropped)
        with (temporary / DOCUMENTS).open("w", encoding="utf-8") as file:
            for document in kept:
                file.write(_row(document) + "\n")
                survey.add(document, None)
        assert ledger.balanced(), f"the source did not fill ledger.read: {ledger.as_dict()}"
        if not survey.sources:
            raise nothing_kept(ledger, folder)
        if not all_dropped:
            sample.write(temporary / DROPPED)
        write_json(temporary / LEDGER, ledger.as_dict())
        write_json(temporary / SURVEY, survey.as_dict())
        if finish is not None:
            finish(temporary)


def _row(document: Document) -> str:
    """A document as JSON. What JSON has no word for is written as text, and a number that is none as null. A field of
    its own that is called as one of ours is told as `own_…`, with one more `own_` where it has a field of that name."""
    named = _named(document)
    row = {name: value for name, value in document.fields.items() if name not in named} | named
    for name in [name for name in named if name in document.fields]:
        told = f"{OWN}{name}"
        while told in row:
            told = f"{OWN}{told}"
        row[told] = document.fields[name]
    try:
        return json.dumps(row, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(row), default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    """A value with None in the places of NaN and infinity."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _named(document: Document) -> dict[str, str]:
    source = {"source": document.source} if document.source else {}
    return {"id": document.id, "text": document.text, **source}
