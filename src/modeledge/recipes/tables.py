"""Writing answers and vectors to files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modeledge import files
from modeledge.corpus.rows import read_rows
from modeledge.errors import ModeledgeError
from modeledge.recipes.use import Model


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as csv, or as jsonl where the name says so; a value that a spreadsheet would run is quoted."""
    if path.suffix == ".jsonl":
        files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    if path.suffix != ".csv":
        raise ModeledgeError(
            "E-USAGE", f"cannot write {path.suffix!r}", where=str(path), remedy="name a .csv or .jsonl file"
        )
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _harmless(v) for k, v in row.items()} for row in rows)
    files.write_text(path, buffer.getvalue())


def write_vectors(model: Model, data: str, path: Path, text: str, pool: str) -> tuple[int, int]:
    """One vector a row of `data`, as a .npy file `[rows, width]` float32."""
    if path.suffix != ".npy":
        raise ModeledgeError("E-USAGE", f"cannot write {path.suffix!r}", where=str(path), remedy="name a .npy file")
    if pool not in ("first", "last", "mean", "max"):
        raise ModeledgeError("E-USAGE", f"there is no pooling {pool!r}", remedy="first, last, mean or max")
    vectors = model.embed([str(row[text]) for row in read_rows(data, [text])], pool=pool)  # type: ignore[arg-type]
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    files.write_bytes(path, buffer.getvalue())
    return vectors.shape[0], vectors.shape[1]


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t" else value
