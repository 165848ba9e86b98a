"""A file that changes, or is taken away, while it is read is no bad record: nothing is set aside for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.errors import ModeledgeError
from modeledge.records import Ledger


@pytest.mark.parametrize("name", ["b.html", "b.tex", "b.txt", "b.py", "b.jsonl"])
def test_a_file_that_was_written_again(tmp_path: Path, name: str) -> None:
    if name == "b.html":
        pytest.importorskip("resiliparse", reason="the web extra is not installed")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / name).write_text("<html><body><p>A page of text.</p></body></html>")
    found = read_documents([tmp_path / "a.txt", tmp_path / name], ReadConfig(on_bad_record="quarantine"), Ledger())
    assert next(found).text == "first"
    (tmp_path / name).write_text("something else altogether")
    with pytest.raises(ModeledgeError, match="E-INPUT-CHANGED"):
        list(found)
