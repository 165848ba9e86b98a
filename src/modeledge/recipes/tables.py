"""Writing answers and vectors to files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modeledge import files
from modeledge.corpus.rows import read_rows
from modeledge.errors import ModeledgeError
from modeledge.recipes.build import fresh
from modeledge.recipes.use import Model


def write_answers(model: Model, data: str, path: Path) -> int:
    """Each row of `data` with the model's answer beside it, as csv or jsonl; returns the number of rows.

    Raises `E-OUTPUT` before any work where the file is there already, `E-USAGE` where a column has an answer's name.
    """
    check_table(path)
    rows = read_rows(data)
    told = model.predict(data)
    if clash := sorted(told[0].keys() & rows[0].keys()):
        what, remedy = f"the file has a column {clash[0]!r} already", "rename it"
        raise ModeledgeError("E-USAGE", what, where=data, remedy=remedy)
    write_rows(path, [{**row, **answer} for row, answer in zip(rows, told, strict=True)])
    return len(told)


def check_table(path: Path) -> None:
    """Refuse a name that is neither .csv nor .jsonl (`E-USAGE`), and a file that is there (`E-OUTPUT`)."""
    if path.suffix not in (".csv", ".jsonl"):
        raise ModeledgeError(
            "E-USAGE", f"cannot write {path.suffix!r}", where=str(path), remedy="name a .csv or .jsonl file"
        )
    fresh(path)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as csv, or as jsonl where the name says so; a value that a spreadsheet would run is quoted."""
    if path.suffix == ".jsonl":
        files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _harmless(v) for k, v in row.items()} for row in rows)
    files.write_text(path, buffer.getvalue())


def write_vectors(
    model: Model, data: str, path: Path, text: str, pool: str, say: Callable[[str], None]
) -> tuple[int, int]:
    """One vector a row of `data`, as a .npy file `[rows, width]` float32."""
    if path.suffix != ".npy":
        raise ModeledgeError("E-USAGE", f"cannot write {path.suffix!r}", where=str(path), remedy="name a .npy file")
    if pool not in ("first", "last", "mean", "max"):
        raise ModeledgeError("E-USAGE", f"there is no pooling {pool!r}", remedy="first, last, mean or max")
    fresh(path)
    vectors = model.embed([row[text] for row in read_rows(data, [text])], pool=pool, say=say)  # type: ignore[arg-type]
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    files.write_bytes(path, buffer.getvalue())
    return vectors.shape[0], vectors.shape[1]


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would run, with a quote before it; numbers stay numbers."""
    if not isinstance(value, str) or value[:1] not in tuple("=+-@\t"):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
