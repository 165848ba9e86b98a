"""Tables: csv, tsv, Parquet, and labelled rows from memory (cases 43–50 and 30–31 of the bad inputs)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.read import Quarantined, ReadConfig, read_documents, read_records
from modeledge.corpus.rows import read_rows, read_table
from modeledge.errors import ModeledgeError
from modeledge.records import Ledger


def rows(path: Path, **config: Any) -> list[dict[str, Any]]:
    return [r.fields for r in read_records([path], ReadConfig(**config), Ledger())]


def refusal(path: Path, content: str | bytes, **config: Any) -> ModeledgeError:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ModeledgeError) as caught:
        list(read_documents([path], ReadConfig(**config), Ledger()))
    return caught.value


def set_aside(path: Path, content: str, **config: Any) -> tuple[list[str], list[Quarantined]]:
    path.write_text(content, newline="")
    aside: list[Quarantined] = []
    config = {"on_bad_record": "quarantine", **config}
    return [d.text for d in read_documents([path], ReadConfig(**config), Ledger(), aside.append)], aside


# --- csv


@pytest.mark.parametrize(("row", "count"), [("b", 1), ("b,1,2", 3), ("b,1,", 3)])
def test_cases_46_and_47_ragged_rows(tmp_path: Path, row: str, count: int) -> None:
    path, content = tmp_path / "a.csv", f'text,label\n"a\nA",1\n{row}\nc,2\n'
    error = refusal(path, content)
    assert error.code == "E-CSV-COLUMNS"
    assert error.where == f"{path}:4"  # the row before runs over two lines
    assert f"{count} columns, the header has 2 ('text', 'label')" in error.what
    kept, aside = set_aside(path, content)
    assert kept == ["a\nA", "c"]
    assert [(q.reason, q.raw) for q in aside] == [("E-CSV-COLUMNS", row.encode())]


@pytest.mark.parametrize("below", ["b,1\nc,2\n", 'b,"1"\nc,2\n', 'b,1\n"c",2\n'])
def test_case_48_unclosed_quote_names_its_line_and_swallows_nothing(tmp_path: Path, below: str) -> None:
    path, content = tmp_path / "a.csv", f'text,label\na,0\n"open,1\n{below}'
    error = refusal(path, content)
    assert error.code == "E-CSV-QUOTE"
    assert error.where == f"{path}:3"
    kept, aside = set_aside(path, content)
    assert kept == ["a", "b", "c"]
    assert [(q.reason, q.raw) for q in aside] == [("E-CSV-QUOTE", b'"open,1')]


def test_case_48_the_row_may_not_outgrow_the_cap(tmp_path: Path) -> None:
    error = refusal(tmp_path / "a.csv", 'text,n\n"open,1\n' + "b,1\n" * 100, max_record_bytes=60)
    assert error.code == "E-CSV-QUOTE"
    assert "longer than 60 bytes" in error.what


def test_case_49_long_fields(tmp_path: Path) -> None:
    path, limit = tmp_path / "a.csv", csv.field_size_limit(131_072)
    try:
        path.write_text("text,n\n" + "x" * 200_000 + ",1\n")
        assert len(rows(path)[0]["text"]) == 200_000
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_case_50_wrong_delimiter(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    content = f"review{delimiter}stars\ngood, very good{delimiter}5\nbad{delimiter}1\n"
    error = refusal(path, content, text="review")
    assert error.code == "E-CSV-DELIMITER"
    assert error.where == f"{path}:1"
    assert f"delimiter={delimiter!r}" in error.remedy
    assert rows(path, delimiter=delimiter)[0] == {"review": "good, very good", "stars": "5"}
    error = refusal(tmp_path / "a.tsv", "review,stars\ngood,5\n", text="review")
    assert (error.code, "delimiter=','" in error.remedy) == ("E-CSV-DELIMITER", True)


def test_one_column_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\na;b\nc;d\n")
    assert rows(path) == [{"text": "a;b"}, {"text": "c;d"}]


def test_header_in_the_config_and_repeated_names(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    assert refusal(path, "text\tn\ttext\n1\t2\t3\n").code == "E-DUP-KEY"
    assert rows(path, columns=("a", "b", "c"))[0] == {"a": "text", "b": "n", "c": "text"}


@settings(max_examples=100, deadline=None)
@given(
    table=st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8), min_size=2, max_size=2),
        min_size=1,
    ),
    terminator=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_is_read(
    table: list[list[str]], terminator: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, out = tmp_path_factory.mktemp("r") / "a.csv", io.StringIO()
    csv.writer(out, lineterminator=terminator).writerows([["text", "n"], *table])
    path.write_bytes(out.getvalue().encode())
    records = list(read_records([path], ReadConfig(), Ledger()))
    assert [list(r.fields.values()) for r in records] == table
    assert all(path.read_bytes()[r.offset :].startswith(r.raw) for r in records)


# --- Parquet


def test_parquet_rows_and_documents(tmp_path: Path) -> None:
    path, ledger = tmp_path / "a.parquet", Ledger()
    table = pa.table({"text": pa.array(["é", "b"]).dictionary_encode(), "n": [1, 2]})
    pq.write_table(table, path, row_group_size=1)
    documents = list(read_documents([path], ReadConfig(), ledger))
    assert [(d.text, d.where, dict(d.fields)) for d in documents] == [
        ("é", f"{path}:1", {"n": 1}),
        ("b", f"{path}:2", {"n": 2}),
    ]
    assert (ledger.read.records, ledger.read.bytes) == (2, 3)


def test_case_43_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"row {i}" for i in range(1000)]}), path, compression="zstd", row_group_size=500)
    whole = path.read_bytes()
    assert refusal(path, whole[:-20]).code == "E-PARQUET"
    offset = pq.ParquetFile(pa.BufferReader(whole)).metadata.row_group(1).column(0).data_page_offset
    error = refusal(path, whole[: offset + 30] + bytes(60) + whole[offset + 90 :])
    assert error.code == "E-PARQUET"
    assert "row group 2 of 2" in error.what


def test_case_44_schemas_differ(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"], "n": ["1"]}), tmp_path / "b.parquet")
    with pytest.raises(ModeledgeError) as caught:
        read_documents([tmp_path], ReadConfig(), Ledger())
    assert caught.value.code == "E-SCHEMA"
    assert "'n': int64 there, string here" in caught.value.what


@pytest.mark.parametrize("value", [None, ["a"], {"k": "v"}, 3])
def test_case_45_text_column_of_another_type(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [value, value]}), path)
    error = refusal(path, path.read_bytes())
    assert error.code == "E-FIELD-TYPE"
    assert error.where == f"{path}:1"


def test_parquet_bad_rows_are_set_aside_alone(tmp_path: Path) -> None:
    path, aside = tmp_path / "a.parquet", list[Quarantined]()
    column = pa.array([b"ok", b"caf\xe9", b"a\0b", b"ok"])
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 4, column.buffers())}), path)
    config = ReadConfig(on_bad_record="quarantine")
    assert [d.text for d in read_documents([path], config, Ledger(), aside.append)] == ["ok", "ok"]
    assert [(q.reason, q.where) for q in aside] == [("E-UTF8", f"{path}:2"), ("E-NUL", f"{path}:3")]


def test_parquet_empty_and_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    assert refusal(path, path.read_bytes()).code == "E-NO-RECORDS"
    pq.write_table(pa.table({"txt": ["a"]}), path)
    assert "did you mean 'txt'?" in str(refusal(path, path.read_bytes()))


# --- labelled rows


DATA = [{"review": "good", "stars": 5}, {"review": "bad", "stars": 1}]


def test_rows_from_everywhere(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "a.jsonl"
    path.write_text('{"review": "good", "stars": 5}\n{"review": "bad", "stars": 1}\n')

    def generator() -> Iterator[dict[str, Any]]:
        yield from DATA

    for source in (DATA, tuple(DATA), generator(), pandas.DataFrame(DATA), path, str(path)):
        ledger = Ledger()
        assert read_rows(source, ["review", "stars"], ledger=ledger) == DATA
        assert ledger.read.records == 2
    assert [r.where for r in read_table(DATA)] == ["row 1", "row 2"]
    assert [r.where for r in read_table(path)] == [f"{path}:1", f"{path}:2"]


def test_rows_missing_column_is_told_for_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("reviews,stars\ngood,5\nbad,1\n")
    for source in (path, [{"reviews": "x"}] * 2):
        with pytest.raises(ModeledgeError) as caught:
            read_rows(source, ["review"])
        assert caught.value.code == "E-MISSING-FIELD"
        assert "2 of 2 records have no field 'review'" in caught.value.what
        assert caught.value.remedy == "did you mean 'reviews'?"


def test_rows_missing_values_of_a_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", None], "label": [1.0, float("nan")], "when": [pandas.NaT, pandas.NaT]})
    got = read_rows(frame)
    assert got[1]["text"] is None
    assert got[1]["label"] != got[1]["label"]
    assert got[0]["when"] is None
    with pytest.raises(ModeledgeError) as caught:
        read_rows(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    assert caught.value.code == "E-DUP-KEY"


@pytest.mark.parametrize(
    ("source", "code"),
    [(7, "E-FIELD-TYPE"), ([("a", 1)], "E-FIELD-TYPE"), ({"text": ["a"]}, "E-FIELD-TYPE"), ([], "E-NO-RECORDS")],
)
def test_rows_that_are_none(source: Any, code: str) -> None:
    with pytest.raises(ModeledgeError) as caught:
        read_rows(source)
    assert caught.value.code == code


def test_rows_read_one_file_and_set_nothing_aside(tmp_path: Path) -> None:
    for path, code in ((tmp_path, "E-NOT-A-FILE"), (tmp_path / "none.csv", "E-NO-FILE")):
        with pytest.raises(ModeledgeError) as caught:
            read_rows(path)
        assert caught.value.code == code
    path = tmp_path / "a.csv"
    path.write_text("text,label\na\n")
    with pytest.raises(ModeledgeError) as caught:
        read_rows(path, config=ReadConfig(on_bad_record="quarantine"))
    assert caught.value.code == "E-CSV-COLUMNS"
