"""Readers: the good path, conservation, quarantine and its cap, inputs and their refusal."""

from __future__ import annotations

import builtins
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.formats import FORMATS
from modeledge.corpus.read import READERS, Quarantined, ReadConfig, expand, read_documents, read_records
from modeledge.errors import CATALOGUE, ModeledgeError
from modeledge.records import Document, Ledger


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def documents(*paths: Path | str, ledger: Ledger | None = None, **config: Any) -> list[Document]:
    return list(read_documents(paths, ReadConfig(**config), Ledger() if ledger is None else ledger))


def refusal(*paths: Path | str, **config: Any) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        documents(*paths, **config)
    assert caught.value.code in CATALOGUE
    return caught.value


def quarantine(*paths: Path, **config: Any) -> tuple[list[Document], list[Quarantined], Ledger]:
    aside: list[Quarantined] = []
    ledger = Ledger()
    config = {"on_bad_record": "quarantine", **config}
    kept = list(read_documents(paths, ReadConfig(**config), ledger, aside.append))
    ledger.kept.add(len(kept), sum(len(d.text.encode("utf-8", "surrogatepass")) for d in kept))
    assert ledger.balanced(), ledger.as_dict()
    assert sum(c.records for c in ledger.quarantined.values()) == len(aside)
    return kept, aside, ledger


# --- the good path


CONTENTS = {
    "a.txt": "one\n",
    "a.jsonl": '{"text": "one", "n": 1}\n{"text": "two"}',
    "a.json": '[{"text": "one"},\n {"text": "two"}]\n',
    "a.csv": 'text,label\n"one, ""1""",x\ntwo,y\n',
    "a.tsv": 'text\tlabel\n"one\tx\ntwo"\ty\n',
}
EXPECTED = {
    "a.txt": [("one\n", "a.txt:1", {})],
    "a.jsonl": [("one", "a.jsonl:1", {"n": 1}), ("two", "a.jsonl:2", {})],
    "a.json": [("one", "a.json:1", {}), ("two", "a.json:2", {})],
    "a.csv": [('one, "1"', "a.csv:2", {"label": "x"}), ("two", "a.csv:3", {"label": "y"})],
    "a.tsv": [('"one', "a.tsv:2", {"label": "x"}), ('two"', "a.tsv:3", {"label": "y"})],
}


@pytest.mark.parametrize("name", CONTENTS)
def test_each_format_gives_texts_places_and_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    put(Path(name), CONTENTS[name])
    got = documents(name)
    assert [(d.text, d.where, dict(d.fields)) for d in got] == EXPECTED[name]
    assert [d.id for d in got] == [d.where for d in got]


def test_ids_stay_where_the_files_are_moved(tmp_path: Path) -> None:
    seen = []
    for place in ("here", "there/deeper"):
        for name in ("en/a.txt", "fr/a.txt"):
            put(tmp_path / place / name, f"{name}\n")
        seen.append([d.id for d in documents(tmp_path / place / "en", tmp_path / place / "fr")])
    assert seen == [["en/a.txt:1", "fr/a.txt:1"]] * 2


def test_every_reader_is_covered() -> None:
    assert {Path(name).suffix[1:] for name in CONTENTS} | {"parquet"} == set(READERS) - set(FORMATS)


def test_text_splits(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", "one\ntwo\n\n \nthree\n")
    name = str(path)
    assert [d.text for d in documents(path)] == ["one\ntwo\n\n \nthree\n"]
    assert [(d.text, d.where) for d in documents(path, split="paragraph")] == [
        ("one\ntwo", f"{name}:1"),
        ("three", f"{name}:5"),
    ]
    assert [(d.text, d.where) for d in documents(path, split="line")] == [
        ("one", f"{name}:1"),
        ("two", f"{name}:2"),
        ("three", f"{name}:5"),
    ]


def test_id_field_and_its_type(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"text": "x", "key": 7}\n{"text": "y", "key": null}\n')
    error = refusal(path, id="key")
    assert error.code == "E-FIELD-TYPE"
    assert error.where.endswith(":2")
    put(path, '{"text": "x", "key": 7}\n')
    assert documents(path, id="key")[0].id == "7"


def test_records_are_counted_by_their_bytes_in_the_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"text": "é"}\n\n{"text": "y"}\n')
    ledger = Ledger()
    records = list(read_records([path], ReadConfig(), ledger))
    assert [(r.offset, r.bytes) for r in records] == [(0, 14), (16, 13)]
    assert (ledger.read.records, ledger.read.bytes) == (2, 27)
    assert any("blank line" in note for note in ledger.notes)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), min_size=1),
    cap=st.integers(1, 9),
)
def test_jsonl_round_trip_whatever_the_text_and_the_chunks(
    texts: list[str], cap: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """U+2028, U+0085 and vertical tabs split nothing; chunk borders anywhere change nothing."""
    path = tmp_path_factory.mktemp("r") / "a.jsonl"
    put(path, "\n".join(json.dumps({"text": t}, ensure_ascii=False) for t in texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modeledge.corpus.inputs.CHUNK", cap)
        assert [d.text for d in documents(path)] == texts


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from([b"a", b"\xe9", b"\r\n", b"\n", b"\r", b" ", b"\xef\xbb\xbf", b"bcd"]), max_size=30
    ),
    chunk=st.integers(1, 7),
)
def test_lines_are_found_with_their_offsets(
    pieces: list[bytes], chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Oracle: bytes.split; the offset of each line points at its bytes in the file."""
    content = b"x" + b"".join(pieces)
    path = put(tmp_path_factory.mktemp("r") / "a.txt", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modeledge.corpus.inputs.CHUNK", chunk)
        config = ReadConfig(encoding="latin-1", split="line")
        got = list(read_records([path], config, Ledger()))
    end = b"\n" if b"\n" in content else b"\r"
    lines = [line.removesuffix(b"\r") for line in content.split(end)]
    assert [r.raw for r in got] == [line for line in lines if line.strip()]
    assert all(content[r.offset :].startswith(r.raw) for r in got)
    assert [int(r.where.rpartition(":")[2]) for r in got] == [i for i, line in enumerate(lines, 1) if line.strip()]


# --- quarantine


def test_quarantine_takes_only_the_bad_record_and_keeps_its_bytes(tmp_path: Path) -> None:
    lines = [b'{"text": "a"}', b'{"text": "caf\xe9"}', b'{"text": "\xc0\xaf"}', b"[1]", b'{"no": 1}', b'{"text": "z"}']
    path = put(tmp_path / "a.jsonl", b"\n".join(lines))
    kept, aside, ledger = quarantine(path)
    assert [d.text for d in kept] == ["a", "z"]
    assert [(q.reason, q.raw) for q in aside] == [
        ("E-UTF8", lines[1]),
        ("E-UTF8", lines[2]),
        ("E-JSON-TYPE", lines[3]),
        ("E-MISSING-FIELD", lines[4]),
    ]
    assert all(path.read_bytes()[q.offset :].startswith(q.raw) for q in aside)
    assert ledger.quarantined["E-UTF8"].records == 2


def test_ten_bad_records_are_allowed_and_the_eleventh_needs_a_share(tmp_path: Path) -> None:
    good, bad = '{"text": "a"}\n', "{\n"
    assert len(quarantine(put(tmp_path / "a.jsonl", good + bad * 10 + good))[1]) == 10
    path = put(tmp_path / "b.jsonl", good * 99 + bad * 11)
    error = refusal(path, on_bad_record="quarantine")
    assert error.code == "E-TOO-MANY-BAD"
    assert "11 of 110" in error.what
    assert "E-JSON 11" in error.what
    assert f"{path}:100" in error.why
    assert len(quarantine(path, bad_limit=0.1)[1]) == 11


def test_error_mode_is_the_default_and_stops_at_the_first(tmp_path: Path) -> None:
    assert refusal(put(tmp_path / "a.jsonl", '{"text": "a"}\n{\n')).where.endswith(":2")


@pytest.mark.parametrize(
    "config",
    [
        {"format": "xml"},
        {"split": "word"},
        {"encoding": "klingon"},
        {"encoding": "rot13"},
        {"delimiter": ";;"},
        {"bad_limit": 2.0},
        {"bad_limit": float("nan")},
        {"max_record_bytes": 0},
    ],
)
def test_config_values(config: dict[str, Any]) -> None:
    with pytest.raises(ModeledgeError) as caught:
        ReadConfig(**config)
    assert caught.value.code == "E-CONFIG-VALUE"


# --- inputs


def test_expand_folders_globs_and_order(tmp_path: Path) -> None:
    for name in ("d/b.txt", "d/a.txt", "d/sub/c.txt", "d/.hidden", "e.txt"):
        put(tmp_path / name, "x")
    ledger = Ledger()
    got = expand([tmp_path / "e.txt", tmp_path / "d"], ledger)
    assert [p.relative_to(tmp_path).as_posix() for p in got] == ["e.txt", "d/a.txt", "d/b.txt", "d/sub/c.txt"]
    assert "1 hidden" in ledger.notes[0]
    assert expand([str(tmp_path / "d" / "*.txt")]) == [tmp_path / "d" / "a.txt", tmp_path / "d" / "b.txt"]
    put(tmp_path / "odd[1].txt", "x")
    assert expand([str(tmp_path / "odd[1].txt")]) == [tmp_path / "odd[1].txt"]


def test_case_51_one_file_named_twice(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", "x")
    (tmp_path / "link.txt").symlink_to(path)
    for again in (path, tmp_path / "link.txt", tmp_path / "*.txt", tmp_path):
        error = refusal(path, str(again))
        assert error.code == "E-DUP-INPUT"
        assert error.exit_status == 64
    (tmp_path / "loop").symlink_to(tmp_path)
    assert refusal(tmp_path).code == "E-DUP-INPUT"


def test_case_52_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            server.bind("sock.txt")
        finally:
            os.chdir(here)
        for path, kind in (
            (tmp_path / "pipe.txt", "a pipe"),
            (tmp_path / "sock.txt", "a socket"),
            ("/dev/zero", "device"),
        ):
            error = refusal(path)
            assert error.code == "E-NOT-A-FILE"
            assert error.exit_status == 66
            assert kind in error.what


def test_case_53_missing_and_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gone.txt", "*.none"):
        assert refusal(tmp_path / name).code == "E-NO-FILE"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").code == "E-NO-FILE"
    path = put(tmp_path / "a.txt", "x")

    def forbid(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(builtins, "open", forbid)
    with pytest.raises(ModeledgeError) as caught:
        read_documents([path], ReadConfig(), Ledger())
    assert (caught.value.code, caught.value.exit_status) == ("E-PERMISSION", 77)


@pytest.mark.parametrize("change", ["grow", "shrink", "touch", "vanish"])
@pytest.mark.parametrize("when", ["before", "during"])
def test_cases_53_and_54_input_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, when: str) -> None:
    monkeypatch.setattr("modeledge.corpus.inputs.CHUNK", 5000)
    path = put(tmp_path / "a.jsonl", '{"text": "x"}\n' * 1000)
    reading = read_documents([path], ReadConfig(), Ledger())
    if when == "during":
        next(reading)
    if change == "grow":
        with path.open("ab") as file:
            file.write(b'{"text": "more"}\n')
    elif change == "shrink":
        os.truncate(path, 14)
    elif change == "touch":
        os.utime(path, ns=(0, 0))
    else:
        path.unlink()
    with pytest.raises(ModeledgeError) as caught:
        next(reading) if when == "before" else list(reading)
    assert caught.value.code == "E-INPUT-CHANGED"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz", "a.parquet"])
def test_cases_14_and_37_empty_file(tmp_path: Path, name: str) -> None:
    assert refusal(put(tmp_path / name, b"")).code == "E-EMPTY-FILE"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", " \n\r\n\n"), ("a.txt", "\n\n\n"), ("a.csv", "\n\n\n")],
)
def test_case_15_blank_lines_only(tmp_path: Path, name: str, content: str) -> None:
    error = refusal(put(tmp_path / name, content))
    assert error.code == "E-NO-RECORDS"
    assert "3 blank lines" in error.what
    for split in ("paragraph", "line"):
        assert refusal(put(tmp_path / "b.txt", "\n \n\n"), split=split).code == "E-NO-RECORDS"


def test_headers_and_arrays_without_records(tmp_path: Path) -> None:
    assert refusal(put(tmp_path / "a.csv", "text,label\n")).code == "E-NO-RECORDS"
    assert refusal(put(tmp_path / "a.json", "[ ]")).code == "E-NO-RECORDS"


def test_unknown_ending_asks_for_the_format(tmp_path: Path) -> None:
    path = put(tmp_path / "a.raw", "x")
    error = refusal(path)
    assert error.code == "E-FORMAT"
    assert "--format" in error.remedy
    assert documents(path, format="txt")[0].text == "x"


@pytest.mark.shared_data
def test_real_files() -> None:
    data = Path(__file__).parents[3] / "shared" / "data"
    if not data.is_dir():
        pytest.skip("the data folder beside the checkout is missing")
    assert len(documents(data / "sotu" / "sotu.jsonl.gz")) > 10
    names = ("source", "label", "star", "text")
    assert len(documents(data / "cola" / "dev.tsv", columns=names)) > 100
    assert len(documents(data / "gutenberg" / "austen-emma.txt", encoding="latin-1", split="paragraph")) > 1000
