"""Bytes and text: encodings, marks, line ends, caps (cases 1–6, 10, 12, 17, 18, 21 of the bad inputs)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.intake import guess_encoding
from modeledge.corpus.read import Quarantined, ReadConfig, read_documents
from modeledge.errors import ModeledgeError
from modeledge.records import Ledger


def texts(path: Path, ledger: Ledger | None = None, **config: Any) -> list[str]:
    return [d.text for d in read_documents([path], ReadConfig(**config), Ledger() if ledger is None else ledger)]


def refusal(path: Path, content: bytes, **config: Any) -> ModeledgeError:
    path.write_bytes(content)
    with pytest.raises(ModeledgeError) as caught:
        texts(path, **config)
    return caught.value


GOOD = b'{"text": "ok"}\n'


@pytest.mark.parametrize(
    ("bad", "byte", "hint"),
    [
        (b"caf\xe9 au lait", "0xE9", "looks like latin-1"),  # case 1
        (b"it\x92s", "0x92", "looks like cp1252"),
        (b"..\xc0\xaf..", "0xC0", "overlong"),  # case 2
        (b"\xed\xa0\x80", "0xED", "surrogate"),  # case 3
        ("é".encode() + b"\xff", "0xFF", "damaged"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_cases_1_to_3_bad_byte(tmp_path: Path, name: str, bad: bytes, byte: str, hint: str) -> None:
    """The message has the file, the line, the offset in the file, the byte, a hint; only that record is lost."""
    before, after, split = {
        "a.jsonl": (GOOD + b'{"text": "', b'"}\n' + GOOD, "line"),
        "a.json": (b'[{"text": "ok"},\n{"text": "', b'"}, {"text": "ok"}]', "line"),
        "a.csv": (b'text,b\nok,1\n"', b'",2\nok,3\n', "line"),
        "a.txt": (b"ok\n", b"\nok\n", "line"),
    }[name]
    path = tmp_path / name
    error = refusal(path, before + bad + after, split=split)
    assert error.code == "E-UTF8"
    line = before.count(b"\n") + 1
    assert error.where == f"{path}:{line}"
    assert f"byte {(before + bad).index(int(byte, 16)):,}: {byte}" in error.what
    assert hint in error.why
    aside: list[Quarantined] = []
    config = ReadConfig(on_bad_record="quarantine", split=split)  # type: ignore[arg-type]
    assert [d.text for d in read_documents([path], config, Ledger(), aside.append)] == ["ok", "ok"]
    assert [q.reason for q in aside] == ["E-UTF8"]
    assert bad in aside[0].raw


@pytest.mark.parametrize("split", ["file", "paragraph", "line"])
@pytest.mark.parametrize(("bad", "code"), [(b"\xe9", "E-UTF8"), (b"\0", "E-NUL")])
def test_the_line_is_named_where_a_document_has_many(tmp_path: Path, split: str, bad: bytes, code: str) -> None:
    error = refusal(tmp_path / "a.txt", b"a\nb\n\nc\nd " + bad, split=split)
    assert (error.code, error.where) == (code, f"{tmp_path / 'a.txt'}:5")
    assert "byte 9:" in error.what


def test_offsets_are_readable_and_count_the_mark(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + GOOD * 3000 + b'{"text": "\xe9"}\n'
    error = refusal(tmp_path / "a.jsonl", content)
    assert f"byte {content.index(0xE9):,}:" in error.what
    assert "45,013" in error.what
    assert error.where.endswith(":3001")
    assert "latin-1" in error.remedy


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Die Straße ist naß und die Bäume grün", "latin-1"),
        ("l’été dernier nous étions souvent à côté de la rivière, “là-bas”", "cp1252"),
        ("Все счастливые семьи похожи друг на друга", "cp1251"),
        ("Все счастливые семьи похожи друг на друга", "koi8_r"),
        ("吾輩は猫である。名前はまだ無い。", "shift_jis"),
        ("吾輩は猫である。名前はまだ無い。", "euc_jp"),
        ("道可道，非常道。名可名，非常名。", "gb18030"),
        ("모든 인간은 태어날 때부터 자유로우며", "euc_kr"),
    ],
)
def test_guesses(tmp_path: Path, text: str, encoding: str) -> None:
    assert guess_encoding(text.encode(encoding)) == encoding
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert texts(path, encoding=encoding) == [text]


def test_bytes_outside_the_named_encoding(tmp_path: Path) -> None:
    error = refusal(tmp_path / "a.txt", b"a\n\x81\n", encoding="cp1252", split="line")
    assert error.code == "E-ENCODING"
    assert error.where.endswith(":2")
    assert "0x81 is not CP1252" in error.what


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_cases_4_and_5_wide_encodings(tmp_path: Path, encoding: str) -> None:
    content = '{"text": "naïve\u2028"}\r\n{"text": "b"}\r\n'
    path = tmp_path / "a.jsonl"
    error = refusal(path, content.encode(encoding))
    assert error.code == "E-ENCODING"
    assert f"--encoding {encoding}" in error.remedy
    assert texts(path, encoding=encoding) == ["naïve\u2028", "b"]
    assert refusal(path, content.encode(encoding)[:-1], encoding=encoding).code == "E-ENCODING"


def test_case_6_byte_order_marks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + '{"text": "x\ufeffy"}\n'.encode())
    ledger = Ledger()
    assert texts(path, ledger) == ["x\ufeffy"]
    assert sum("at the start, removed" in note for note in ledger.notes) == 1
    assert sum("1 × byte order mark inside" in note for note in ledger.notes) == 1


def test_case_8_mojibake_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("café naïve".encode().decode("latin-1") + " été")
    ledger = Ledger()
    texts(path, ledger)
    assert any("2 × W-MOJIBAKE" in note for note in ledger.notes)
    path.write_text("Ã, São, ÃO, € été")
    ledger = Ledger()
    texts(path, ledger)
    assert not ledger.notes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"a\0b"),
        ("a.jsonl", b'{"text": "a\0b"}'),
        ("a.jsonl", rb'{"text": "a\u0000b"}'),
        ("a.csv", b"text\na\0b\n"),
    ],
)
def test_case_10_nul(tmp_path: Path, name: str, content: bytes) -> None:
    assert refusal(tmp_path / name, content).code == "E-NUL"


def test_case_12_line_above_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeledge.corpus.inputs.CHUNK", 7)
    path = tmp_path / "a.jsonl"
    content = GOOD + b'{"text": "' + b"x" * 1000 + b'"}\n' + GOOD + b"y" * 99
    error = refusal(path, content, max_record_bytes=50)
    assert error.code == "E-LINE-TOO-LONG"
    assert error.where.endswith(":2")
    assert "byte 15:" in error.what
    assert "1,012 bytes, more than 50" in error.what
    ledger, aside = Ledger(), list[Quarantined]()
    config = ReadConfig(on_bad_record="quarantine", max_record_bytes=50)
    assert len(list(read_documents([path], config, ledger, aside.append))) == 2
    assert ledger.quarantined["E-LINE-TOO-LONG"].bytes == 1012 + 99
    assert ledger.read.bytes == 2 * 2 + 1012 + 99
    assert [q.offset for q in aside] == [15, len(content) - 99]


@pytest.mark.parametrize(("name", "split"), [("a.txt", "file"), ("a.txt", "paragraph"), ("a.json", "file")])
def test_cap_of_whole_documents(tmp_path: Path, name: str, split: str) -> None:
    error = refusal(tmp_path / name, b"[x,\n" * 30, max_record_bytes=100, split=split)
    assert error.code == ("E-DOC-TOO-LARGE" if split == "file" else "E-LINE-TOO-LONG")
    assert "100" in error.what


def test_case_17_unicode_line_ends_split_nothing(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c\x0bd\x0ce\x1cf\u2029g"
    path = tmp_path / "a.txt"
    path.write_text(text + "\n", newline="")
    assert texts(path, split="line") == [text]
    path = tmp_path / "a.csv"
    path.write_text(f"text,n\n{text},1\n", newline="")
    assert texts(path) == [text]


@pytest.mark.parametrize(
    ("content", "noted"),
    [
        (b"a\rb\rc", True),
        (b"a\rb\rc\r", True),
        (b"a\r\nb\nc\n", True),
        (b"a\r\nb\r\nc\r\n", False),
        (b"a\nb\nc", False),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_cases_18_and_21_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, noted: bool, chunk: int
) -> None:
    monkeypatch.setattr("modeledge.corpus.inputs.CHUNK", chunk)
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    ledger = Ledger()
    assert texts(path, ledger, split="line") == ["a", "b", "c"]
    assert any("ends lines by" in note for note in ledger.notes) == noted
    assert texts(path)[0].rstrip("\n") == "a\nb\nc"
    assert texts(path, split="paragraph") == ["a\nb\nc"]
    path = tmp_path / "a.csv"
    path.write_bytes(content.replace(b"a", b"text,n").replace(b"b", b"b,1").replace(b"c", b"c,2"))
    assert texts(path) == ["b", "c"]


def test_a_lone_carriage_return_does_not_split_where_lines_end_properly(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\rb\nc\n")
    ledger = Ledger()
    assert texts(path, ledger, split="line") == ["a\rb", "c"]
    assert r"\r and \n" in ledger.notes[0]


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(min_size=1, max_size=60), name=st.sampled_from(["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv"])
)
def test_any_bytes_give_records_or_a_catalogued_error(
    content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("r") / name
    path.write_bytes(content)
    ledger = Ledger()
    try:
        kept = texts(path, ledger, on_bad_record="quarantine", split="line")
    except ModeledgeError:
        return
    ledger.kept.add(len(kept), sum(len(t.encode()) for t in kept))
    assert ledger.balanced()
