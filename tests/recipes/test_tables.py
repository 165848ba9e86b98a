"""Files of answers and vectors: nothing altered that need not be, nothing written over, nothing embedded that is no
text."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.recipes.asking.tables import ANSWERS, check_fresh, write_answers, write_rows, write_vectors


def read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("text", ["-1", "+2.5", "-1e-3", "-inf", "plain", "", "1-2"])
def test_numbers_and_plain_text_stay(tmp_path: Path, text: str) -> None:
    write_rows(tmp_path / "a.csv", [{"prediction": text, "more": "x"}])
    assert read(tmp_path / "a.csv")[1][0] == text


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "-", "--1"])
def test_what_a_spreadsheet_would_run_is_quoted(tmp_path: Path, text: str) -> None:
    write_rows(tmp_path / "a.csv", [{"prediction": text, text: 1}])
    assert read(tmp_path / "a.csv") == [["prediction", "'" + text], ["'" + text, "1"]]


def test_columns_that_come_later_still_stand_before_the_answers(tmp_path: Path) -> None:
    rows = [{"a": "x", "prediction": 1}, {"a": "y", "b": ["z"], "prediction": 2}, {"a": None, "prediction": 3}]
    write_rows(tmp_path / "a.csv", rows, last=["prediction"])
    assert read(tmp_path / "a.csv") == [["a", "b", "prediction"], ["x", "", "1"], ["y", '["z"]', "2"], ["", "", "3"]]
    write_rows(tmp_path / "a.jsonl", [*rows, {"a": math.nan}])
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines == [*rows, {"a": None}]


def test_only_fresh_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    for path, code in (
        (tmp_path / "a.csv", "E-OUTPUT"),
        (tmp_path / "link.csv", "E-OUTPUT"),
        (tmp_path / "a.csv" / "b" / "c.csv", "E-OUTPUT"),
        (tmp_path / "a.xls", "E-USAGE"),
    ):
        with pytest.raises(ModeledgeError) as caught:
            check_fresh(path, ANSWERS)
        assert caught.value.code == code
    check_fresh(tmp_path / "new" / "b.csv", ANSWERS)


class Deaf:
    """A model that must not be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the model was asked for {name}")


def test_a_model_is_not_asked_where_the_file_is_there(tmp_path: Path) -> None:
    for name, call in (
        ("a.csv", lambda path: write_answers(Deaf(), "x.csv", path)),  # type: ignore[arg-type]
        ("v.npy", lambda path: write_vectors(Deaf(), "x.csv", path, "text", "mean")),  # type: ignore[arg-type]
    ):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ModeledgeError) as caught:
            call(tmp_path / name)
        assert caught.value.code == "E-OUTPUT"


@pytest.mark.parametrize("value", ["null", "3", '" "', '["a"]'])
def test_only_text_is_embedded(tmp_path: Path, value: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "a"}}\n{{"text": {value}}}\n')
    with pytest.raises(ModeledgeError) as caught:
        write_vectors(Deaf(), str(path), tmp_path / "v.npy", "text", "mean")  # type: ignore[arg-type]
    assert caught.value.code in ("E-MISSING-FIELD", "E-FIELD-TYPE")
    assert caught.value.where.endswith("rows.jsonl:2")


def test_vectors_of_a_file(tmp_path: Path) -> None:
    class Counts:
        def embed(self, texts: list[str], **_: Any) -> Any:
            return np.array([[len(text), 1] for text in texts], dtype=np.float32)

    (tmp_path / "rows.csv").write_text("text\nNone\nbb\n")
    assert write_vectors(Counts(), str(tmp_path / "rows.csv"), tmp_path / "v.npy", "text", "mean") == (2, 2)  # type: ignore[arg-type]
    assert np.load(tmp_path / "v.npy", allow_pickle=False).tolist() == [[4, 1], [2, 1]]
