"""Compressed inputs: what is damaged is told apart, before one record is used (cases 33–38 of the bad inputs)."""

from __future__ import annotations

import contextlib
import gzip
import random
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.read import Quarantined, ReadConfig, read_documents
from modeledge.errors import ModeledgeError
from modeledge.records import Ledger

zstandard = pytest.importorskip("zstandard")

ROWS = [f'{{"text": "row {i} {"xyzzy" * (i % 7)}"}}' for i in range(3000)]
CONTENT = ("\n".join(ROWS) + "\n").encode()
PACK = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
BOTH = pytest.mark.parametrize("suffix", list(PACK))


def texts(path: Path, ledger: Ledger | None = None, **config: Any) -> list[str]:
    return [d.text for d in read_documents([path], ReadConfig(**config), Ledger() if ledger is None else ledger)]


def refusal(path: Path, content: bytes, **config: Any) -> ModeledgeError:
    """The error, and that no record came before it."""
    path.write_bytes(content)
    with pytest.raises(ModeledgeError) as caught:
        next(read_documents([path], ReadConfig(**config), Ledger()))
    return caught.value


@BOTH
def test_good_files_members_and_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    half = CONTENT.index(b"\n", len(CONTENT) // 2) - 5
    path.write_bytes(PACK[suffix](CONTENT[:half]) + PACK[suffix](b"") + PACK[suffix](CONTENT[half:]))
    assert len(texts(path)) == len(ROWS)


@BOTH
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json"])
def test_other_formats(tmp_path: Path, suffix: str, name: str) -> None:
    content = {"a.txt": b"x", "a.csv": b"text,n\nx,1\n", "a.json": b'[{"text": "x"}]'}[name]
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(PACK[suffix](content))
    assert texts(path) == ["x"]


@BOTH
def test_case_33_truncated(tmp_path: Path, suffix: str) -> None:
    packed = PACK[suffix](CONTENT)
    for cut in (1, 3, 12, len(packed) // 2, len(packed) - 5, len(packed) - 1):
        error = refusal(tmp_path / f"a.jsonl{suffix}", packed[:cut])
        assert error.code == "E-GZIP-TRUNCATED", cut
        assert "whole lines" in error.what
        assert "none of its records was used" in error.why
        assert "--allow-partial" in error.remedy


def test_case_33_allow_partial_uses_whole_records_and_sets_the_cut_one_aside(tmp_path: Path) -> None:
    path, aside, ledger = tmp_path / "a.jsonl.gz", list[Quarantined](), Ledger()
    packed = gzip.compress(CONTENT)[: len(gzip.compress(CONTENT)) // 2]
    path.write_bytes(packed)
    there = zlib.decompressobj(31).decompress(packed)
    kept = list(read_documents([path], ReadConfig(allow_partial=True), ledger, aside.append))
    assert len(kept) == there.count(b"\n") > 100
    assert [(q.reason, q.raw) for q in aside] == [("E-GZIP-TRUNCATED", there.rpartition(b"\n")[2])]
    assert ledger.read.records == len(kept) + 1
    assert any("allow_partial" in note for note in ledger.notes)


def test_allow_partial_zstd(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [f'{{"text": "{rng.getrandbits(400):x}"}}' for _ in range(6000)]
    packed = zstandard.ZstdCompressor().compress("\n".join(rows).encode())
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    kept = texts(path, allow_partial=True)
    assert len(kept) > 1000
    assert [f'{{"text": "{text}"}}' for text in kept] == rows[: len(kept)]


@BOTH
def test_case_34_any_flipped_byte_is_an_error_or_harmless(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    content = b"\n".join(b"line %d" % (i * i) for i in range(40))
    packed = PACK[suffix](content)
    codes = []
    for position in range(len(packed)):
        damaged = bytearray(packed)
        damaged[position] ^= 0x40
        path.write_bytes(damaged)
        try:
            assert texts(path)[0].encode() == content
        except ModeledgeError as error:
            codes.append(error.code)
    assert len(codes) > len(packed) - 12  # the time and the operating system in gzip's header do not matter
    assert codes.count("E-GZIP-CRC") > len(codes) * 0.5
    assert set(codes) <= {"E-GZIP-CRC", "E-GZIP-TRUNCATED", "E-GZIP-TRAILING", "E-FORMAT"}


def test_case_34_wrong_checksum(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(CONTENT))
    packed[-6] ^= 1
    assert refusal(tmp_path / "a.jsonl.gz", bytes(packed)).code == "E-GZIP-CRC"


@BOTH
def test_case_35_trailing_bytes(tmp_path: Path, suffix: str) -> None:
    packed = PACK[suffix](CONTENT)
    error = refusal(tmp_path / f"a.jsonl{suffix}", packed + b"more")
    assert error.code == "E-GZIP-TRAILING"
    assert f"at byte {len(packed):,}" in error.what


def test_case_35_trailing_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(CONTENT) + bytes(3_000_000))
    assert len(texts(path)) == len(ROWS)
    assert refusal(path, gzip.compress(CONTENT) + bytes(99) + b"x").code == "E-GZIP-TRAILING"
    assert refusal(path, gzip.compress(CONTENT) + b"\x1f").code == "E-GZIP-TRAILING"


def test_case_36_names_and_magic_bytes(tmp_path: Path) -> None:
    for name, content, actual in (
        ("a.jsonl.gz", b'{"text": "x"}', "plain"),
        ("a.jsonl", gzip.compress(b"x"), "gzip"),
        ("a.jsonl.gz", PACK[".zst"](b"x"), "zstd"),
        ("a.csv", PACK[".zst"](b"x"), "zstd"),
        ("a.jsonl", b"PAR1....", "Parquet"),
        ("a.parquet", b"text", "plain"),
        ("a.txt", b"PK\x03\x04....", "zip"),
    ):
        error = refusal(tmp_path / name, content)
        assert error.code == "E-FORMAT"
        assert f"the first bytes say {actual}" in error.what


@BOTH
def test_case_37_nothing_inside(tmp_path: Path, suffix: str) -> None:
    assert refusal(tmp_path / f"a.txt{suffix}", b"").code == "E-EMPTY-FILE"
    assert refusal(tmp_path / f"a.txt{suffix}", PACK[suffix](b"")).code == "E-EMPTY-FILE"


@BOTH
def test_case_38_bomb(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeledge.corpus.inputs.FREE_EXPANSION", 1_000_000)
    bomb = PACK[suffix](bytes(20_000_000))
    error = refusal(tmp_path / f"a.txt{suffix}", bomb)
    assert error.code == "E-BOMB"
    assert "200-fold" in error.what
    path = tmp_path / f"b.txt{suffix}"
    path.write_bytes(PACK[suffix](b"a line\n" * 100_000))
    assert len(texts(path, split="line")) == 100_000  # below the free size, whatever the ratio


@settings(max_examples=100, deadline=None)
@given(
    content=st.binary(max_size=80),
    head=st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\3", b"\x28\xb5\x2f\xfd"]),
    suffix=st.sampled_from([".gz", ".zst"]),
)
def test_any_bytes_end_in_a_catalogued_error_or_text(
    content: bytes, head: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("r") / f"a.txt{suffix}"
    path.write_bytes(head + content)
    with contextlib.suppress(ModeledgeError):
        assert texts(path)
