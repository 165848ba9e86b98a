"""JSON without holes (cases 9, 22–32 of the bad inputs)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.read import Quarantined, ReadConfig, read_documents, read_records
from modeledge.errors import ModeledgeError
from modeledge.records import Ledger
from modeledge.strictjson import MAX_DEPTH, Flaw, parse

GOOD = '{"text": "ok"}'


def fields(path: Path, **config: Any) -> list[dict[str, Any]]:
    return [r.fields for r in read_records([path], ReadConfig(**config), Ledger())]


def refusal(path: Path, content: str, **config: Any) -> ModeledgeError:
    path.write_text(content)
    with pytest.raises(ModeledgeError) as caught:
        list(read_documents([path], ReadConfig(**config), Ledger()))
    return caught.value


BAD = {
    r'{"text": "\ud800"}': ("E-SURROGATE", "'text'"),  # 9
    r'{"text": "ok", "\udfff": 1}': ("E-SURROGATE", ""),
    '{"text": "o': ("E-JSON", "column"),  # 22
    "[1, 2]": ("E-JSON-TYPE", "a list"),  # 23
    "17": ("E-JSON-TYPE", "a number"),
    '"x"': ("E-JSON-TYPE", "a string"),
    "null": ("E-JSON-TYPE", "null"),
    '{"text": "a"} {"text": "b"}': ("E-JSON", "two objects stand on one line"),  # 24
    '{"text": "a"} x': ("E-JSON", "something follows"),
    '{"text": "a", "n": 1, "text": "b"}': ("E-DUP-KEY", "'text' occurs twice"),  # 25
    '{"text": "a", "meta": [{"k": 1, "k": 1}]}': ("E-DUP-KEY", "'k'"),
    '{"text": "a", "x": NaN}': ("E-NOT-FINITE", "field 'x' is NaN"),  # 26
    '{"text": "a", "m": {"y": [1.5, -Infinity]}}': ("E-NOT-FINITE", "field 'm.y[1]' is -Infinity"),
    '{"text": "a", "x": 1e400}': ("E-NOT-FINITE", "field 'x' is 1e400"),
    '{"text": "a", "x": ' + "[" * 200_000 + "]" * 200_000 + "}": ("E-JSON-DEPTH", ""),  # 27
    '{"text": "a", "x": ' + "[" * 300 + "]" * 300 + "}": ("E-JSON-DEPTH", ""),
    '{"text": "a", "x": ' + "9" * 5000 + "}": ("E-NUMBER", ""),  # 28
    '{"text": null}': ("E-FIELD-TYPE", "null"),  # 29
    '{"text": 3}': ("E-FIELD-TYPE", "int"),
    '{"text": ["a"]}': ("E-FIELD-TYPE", "list"),
    '{"text": "a\tb"}': ("E-JSON", "control character"),
}


@pytest.mark.parametrize("bad", BAD, ids=lambda text: text[:40])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_cases_9_and_22_to_29(tmp_path: Path, name: str, bad: str) -> None:
    code, words = BAD[bad]
    path = tmp_path / name
    layout = "\n".join([GOOD, bad, GOOD]) if name == "a.jsonl" else f"[{GOOD},\n{bad},\n{GOOD}]"
    error = refusal(path, layout)
    assert error.code == code
    if name == "a.json" and code in ("E-JSON", "E-JSON-DEPTH"):
        return
    assert error.where == f"{path}:2"
    assert words in str(error)
    aside: list[Quarantined] = []
    config = ReadConfig(on_bad_record="quarantine")
    assert [d.text for d in read_documents([path], config, Ledger(), aside.append)] == ["ok", "ok"]
    assert [(q.reason, q.raw) for q in aside] == [(code, bad.encode())]


def test_case_22_a_last_line_without_end_seems_cut(tmp_path: Path) -> None:
    error = refusal(tmp_path / "a.jsonl", GOOD + '\n{"text": "on')
    assert error.code == "E-JSON"
    assert "the file seems cut" in error.why
    assert "the file seems cut" not in refusal(tmp_path / "a.jsonl", '{"text": "on\n' + GOOD).why
    assert "the file seems cut" in refusal(tmp_path / "a.json", f"[{GOOD}, ").why
    assert "the file seems cut" in refusal(tmp_path / "a.json", f"[{GOOD}").why


@pytest.mark.parametrize("mode", ["error", "quarantine"])
def test_cases_30_and_31_missing_field(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jsonl"
    error = refusal(path, '{"txt": "a", "n": 1}\n' * 30, on_bad_record=mode)
    assert error.code == "E-MISSING-FIELD"
    assert "(lines 1, 2, 3, 4, 5, …); they have 'txt', 'n'" in error.what
    assert error.remedy == "did you mean 'txt'?"
    assert mode == "quarantine" or error.what.startswith("30 of 30 records")
    assert refusal(path, '{"txt": "a"}\n', on_bad_record=mode).code == "E-MISSING-FIELD"


def test_case_30_some_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    error = refusal(path, "\n".join([GOOD, '{"body": 1}', GOOD, '{"body": 2}', "{"]))
    assert error.code == "E-MISSING-FIELD"
    assert error.where == f"{path}:2"
    assert "2 of 4 records have no field 'text' (lines 2, 4); they have 'body'" in error.what


def test_missing_id_field(tmp_path: Path) -> None:
    error = refusal(tmp_path / "a.jsonl", '{"text": "a", "ident": 1}', id="idnt")
    assert (error.code, error.remedy) == ("E-MISSING-FIELD", "did you mean 'ident'?")


@pytest.mark.parametrize(
    "content", ['[\n  {"text": "a"}\n]', '[{"text": "a"},\n{"text": "b"}]', '[{"text": "a"}]', "[\n1]"]
)
def test_case_32_array_given_as_jsonl(tmp_path: Path, content: str) -> None:
    error = refusal(tmp_path / "a.jsonl", content)
    assert error.code == "E-FORMAT"
    assert "--format json" in error.remedy
    assert "one object over several lines" in refusal(tmp_path / "a.jsonl", '{\n"text": "a"\n}').what


def test_jsonl_given_as_json(tmp_path: Path) -> None:
    error = refusal(tmp_path / "a.json", f"{GOOD}\n{GOOD}")
    assert error.code == "E-FORMAT"
    assert "jsonl" in error.remedy


@pytest.mark.parametrize("content", [f"[{GOOD} {GOOD}]", f"[{GOOD},]", f"[{GOOD}] x", f"[,{GOOD}]", "3", "["])
def test_arrays_that_are_no_json(tmp_path: Path, content: str) -> None:
    assert refusal(tmp_path / "a.json", content).code in ("E-JSON", "E-FORMAT")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=VALUES, escaped=st.booleans())
def test_what_is_sound_is_read_as_the_standard_library_reads_it(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    if "\\u0000" in text:
        with pytest.raises(Flaw):
            parse(text)
    else:
        assert parse(text) == value


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_characters="\0", codec="utf-8")),
            VALUES.filter(lambda v: "\\u0000" not in json.dumps(v)),
            max_size=3,
        ),
        min_size=1,
    ),
    indent=st.none() | st.just(2),
    ascii=st.booleans(),
)
def test_array_and_lines_agree(
    rows: list[dict[str, Any]], indent: int | None, ascii: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same objects from one array, however it is laid out, and from lines; places point at the first byte."""
    folder = tmp_path_factory.mktemp("r")
    array, lines = folder / "a.json", folder / "a.jsonl"
    array.write_text(json.dumps(rows, indent=indent, ensure_ascii=ascii))
    lines.write_text("\n".join(json.dumps(row, ensure_ascii=ascii) for row in rows))
    assert fields(array) == fields(lines) == rows
    content = array.read_bytes()
    for record in read_records([array], ReadConfig(), Ledger()):
        assert content[record.offset :].startswith(record.raw)
        assert int(record.where.rpartition(":")[2]) == content.count(b"\n", 0, record.offset) + 1


def test_depth_just_allowed_and_brackets_in_text() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse(deep)
    with pytest.raises(Flaw):
        parse(f"[{deep}]")
    assert parse(json.dumps({"text": "[" * 5000}))["text"] == "[" * 5000
    assert math.isclose(parse("[1e308]")[0], 1e308)
    assert parse(r'["\ud83d\ude00"]') == ["\U0001f600"]
