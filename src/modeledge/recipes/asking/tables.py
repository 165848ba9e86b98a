"""Answers and vectors of a file's rows, written to a file."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.recipes.asking.asked import GUESSED, Laid
from modeledge.recipes.asking.use import Model, check_pool
from modeledge.recipes.tuning.rows import located
from modeledge.tasks.columns import text_of

ANSWERS, VECTORS = (".csv", ".jsonl"), (".npy",)


def check_fresh(path: Path, endings: Sequence[str]) -> None:
    """Before any work: refuse an ending that is not written (`E-USAGE`) and a place that is taken (`E-OUTPUT`)."""
    if path.suffix not in endings:
        remedy = f"name a {' or '.join(endings)} file"
        raise ModeledgeError("E-USAGE", f"cannot write {path.suffix!r}", where=str(path), remedy=remedy)
    if os.path.lexists(path):
        raise ModeledgeError("E-OUTPUT", "the file exists already", where=str(path), remedy="name a fresh one")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ModeledgeError("E-OUTPUT", "this is a file, not a folder", where=str(above))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], *, last: Sequence[str] = ()) -> None:
    """Rows as csv, or as jsonl where the name says so; text that a spreadsheet would run gets a quote before it.

    A csv has the columns of all rows in the order in which they are met, those named in `last` behind the others.
    """
    check_fresh(path, ANSWERS)
    if path.suffix == ".jsonl":
        plain = ({k: _finite(v) for k, v in row.items()} for row in rows)
        files.write_text(path, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in plain))
        return
    names = sorted(dict.fromkeys(name for row in rows for name in row), key=lambda name: name in last)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_harmless(name) for name in names])
    writer.writerows([_harmless(row.get(name)) for name in names] for row in rows)
    files.write_text(path, buffer.getvalue())


def write_answers(
    model: Model, data: str, path: Path, say: Callable[[str], None] = print, *, laid: Laid = GUESSED
) -> int:
    """The rows of `data` with the model's answers behind their own columns; returns their number."""
    check_fresh(path, ANSWERS)
    rows = model.predict(data, keep=True, laid=laid, say=say)
    assert model.task is not None
    write_rows(path, rows, last=model.task.answered)
    return len(rows)


def write_vectors(
    model: Model, data: str, path: Path, text: str, pool: str, say: Callable[[str], None] = print
) -> tuple[int, int]:
    """One vector a row of `data`, as a .npy file `[rows, width]` float32."""
    check_fresh(path, VECTORS)
    check_pool(pool)
    texts = [text_of(row, text, n) for n, row in enumerate(located(data, [text]))]
    vectors = model.embed(texts, pool=pool, say=say)  # type: ignore[arg-type]
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    files.write_bytes(path, buffer.getvalue())
    return vectors.shape[0], vectors.shape[1]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _harmless(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    risky = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) and not _number(value)
    return f"'{value}" if risky else value


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
