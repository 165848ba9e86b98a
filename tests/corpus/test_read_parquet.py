"""Parquet files whose values Python cannot hold, or whose columns share a name; and what is written of such fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modeledge.corpus.asked import Build
from modeledge.corpus.pipeline import reading
from modeledge.corpus.read import Quarantined, ReadConfig, read_documents
from modeledge.corpus.written import DOCUMENTS, write_documents
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger

BEYOND = {"timestamp": pa.array([0, 2**52], pa.timestamp("ms")), "date": pa.array([0, 2**30], pa.date32())}


@pytest.mark.parametrize("name", BEYOND)
def test_a_date_that_cannot_be_held_makes_its_row_bad(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({"text": ["good", "bad"], "when": BEYOND[name]}), tmp_path / "a.parquet")
    aside = list[Quarantined]()
    config = ReadConfig(on_bad_record="quarantine")
    found = list(read_documents([tmp_path / "a.parquet"], config, Ledger(), aside.append))
    assert [document.text for document in found] == ["good"]
    assert [(one.where.rpartition(":")[2], one.reason) for one in aside] == [("2", "E-FIELD-TYPE")]


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["first"]), pa.array(["second"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ModeledgeError, match=r"E-DUP-KEY.*two columns are named 'text'"):
        list(read_documents([tmp_path / "a.parquet"], ReadConfig(), Ledger()))


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    """A missing number of a table is NaN, which JSON has no word for and our reader refuses."""
    fields: dict[str, Any] = {"score": float("nan"), "more": [{"a": float("inf")}, 1.5]}
    ledger = Ledger()
    documents = reading([Document("a text", "1", "", fields)], ledger=ledger)
    write_documents(documents, tmp_path / "out", config=Build(), ledger=ledger)
    (found,) = read_documents([tmp_path / "out" / DOCUMENTS], ReadConfig(id="id"), Ledger())
    assert (found.text, found.fields) == ("a text", {"score": None, "more": [{"a": None}, 1.5]})
