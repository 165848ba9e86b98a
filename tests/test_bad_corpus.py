"""Cases 1 to 55, 82 and 83 of the catalogue of bad inputs: what a corpus is made of, as a person would give it.

Most are rows of `test_bad_inputs`; those here are bytes in other encodings, warnings that may be refused, what is too
long, archives, tables on disk, and what becomes of bad records under each of the three ways to treat them.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import struct
import tarfile
import time
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import test_bad_inputs as other
from modeledge.corpus.normal import nfc
from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.records import Ledger
from test_bad_inputs import GOOD, PACKED, Does, Done, Ground, Kept, Refused, line, made

assert made  # the fixture: texts, a tokenizer, a trained decoder

CASES = {*range(1, 56), 82, 83}
#: Formats that are read elsewhere (WARC, HTML, XML, LaTeX) bring their cases with them, in tests beside their readers.
ROWS: list[Any] = []


def row(case: int, name: str, does: Does, expected: Any) -> None:
    ROWS.append(pytest.param(does, expected, id=f"{case}-{name.replace(' ', '-')}"))


def keys(*settings: str) -> tuple[str, ...]:
    return tuple(word for setting in settings for word in ("--set", setting))


# ---- encodings

for encoding in ("utf-16", "utf-32"):
    row(
        4,
        f"{encoding} with its mark",
        lambda g, e=encoding: g.corpus(g.file("x.jsonl", GOOD.decode().encode(e))),
        Refused("E-ENCODING", "x.jsonl", encoding.upper(), f"--encoding {encoding}"),
    )
    row(
        4,
        f"{encoding} read as it says",
        lambda g, e=encoding: g.corpus(g.file("x.jsonl", GOOD.decode().encode(e)), options=("--encoding", e)),
        Kept(2),
    )
row(
    5,
    "utf-16 without a mark",
    lambda g: g.corpus(g.file("x.txt", "the quick fox\n".encode("utf-16-le"))),
    Refused("E-ENCODING", "x.txt", "which suggests UTF-16-LE", "--encoding utf-16-le"),
)
MIXED = line("größer") + GOOD + b'{"text": "caf\xe9 noir"}\n' + line("it rains")
row(7, "two encodings", lambda g: g.corpus(g.file("x.jsonl", MIXED)), Kept(4, quarantined="E-MIXED"))
row(
    7,
    "two encodings refused",
    lambda g: g.strict(g.file("x.jsonl", MIXED)),
    Refused("E-MIXED", "x.jsonl:4", "byte 85", "0xE9", "byte 12 is UTF-8", "latin-1"),
)
row(
    7,
    "two encodings in one document",
    lambda g: g.strict(g.file("x.txt", "größer\ncafé\n".encode() + b"caf\xe9 noir\n")),
    Refused("E-MIXED", "x.txt:3", "byte 18", "byte 2 is UTF-8"),
)
TWICE = line("cafÃ© dÃ©jÃ vu") + GOOD
row(8, "mojibake", lambda g: g.corpus(g.file("x.jsonl", TWICE)), Kept(3, "2 × W-MOJIBAKE", "in 1,000 bytes read"))
row(
    8,
    "mojibake refused",
    lambda g: g.corpus(g.file("x.jsonl", TWICE), options=("--strict",)),
    Refused("E-WARNING", "x.jsonl", "W-MOJIBAKE", "in 1,000 bytes", "--strict"),
)
row(
    20,
    "special tokens refused",
    lambda g: g.corpus(g.file("x.jsonl", line("a <|endoftext|> b")), options=("--strict",)),
    Refused("E-WARNING", "x.jsonl:1", "W-SPECIAL-IN-TEXT"),
)
row(8, "nothing to refuse", lambda g: g.corpus(g.file("x.jsonl", GOOD), options=("--strict",)), Kept(2))
STEERING = "a\x1b[2Jb\u202ec\u2066d"
row(11, "control characters kept", lambda g: g.corpus(g.file("x.jsonl", GOOD + line(STEERING))), Kept(3))


def steered(g: Ground) -> list[str]:
    """Field names and a file's name with what would steer a terminal."""
    return g.strict(g.file("x\x1b[2J.jsonl", json.dumps({STEERING: "a"}, ensure_ascii=False) + "\n"))


row(11, "control characters shown", steered, Refused("E-MISSING-FIELD", r"\x1b[2J", r"x\x1b[2J.jsonl:1"))

# ---- sizes

SMALL = keys("max_record_bytes=1000")
LONG = GOOD + line("fox " * 300) + line("it rains")
row(
    12,
    "line above the cap",
    lambda g: g.corpus(g.file("x.jsonl", LONG), options=SMALL),
    Kept(3, quarantined="E-LINE-TOO-LONG"),
)
row(
    12,
    "line above the cap refused",
    lambda g: [*g.strict(g.file("x.jsonl", LONG)), *SMALL],
    Refused("E-LINE-TOO-LONG", "x.jsonl:3", "byte 51", "1,212 bytes", "1,000", "max_record_bytes"),
)
row(
    13,
    "document above the cap",
    lambda g: (g.file("x.txt", "fox " * 300), g.corpus(g.file("y.txt", "fox"), g.here / "x.txt", options=SMALL))[1],
    Kept(1, quarantined="E-DOC-TOO-LARGE"),
)
row(
    13,
    "document above the cap refused",
    lambda g: [*g.strict(g.file("x.txt", "fox " * 300)), *SMALL],
    Refused("E-DOC-TOO-LARGE", "x.txt", "1,200 bytes", "1,000", "split='paragraph'"),
)
row(
    13,
    "array above the cap",
    lambda g: g.corpus(g.file("x.json", json.dumps([{"text": "fox"}] * 99)), options=SMALL),
    Refused("E-DOC-TOO-LARGE", "x.json", "jsonl for json"),
)
for name, text in (
    ("marks in falling order", "a" + "\u0315\u0300" * 250_000),
    ("marks of decomposition", "\u0f73" * 100_000),
    ("joined emoji", "\U0001f468\u200d\U0001f469\u200d" * 25_000),
    ("one letter", "a" * 1_000_000),
):
    row(19, name, lambda g, t=text: g.corpus(g.file("x.jsonl", GOOD + line(t))), Kept(3))

# ---- compressed files and archives

row(
    33,
    "gzip cut and allowed",
    lambda g: g.corpus(g.file("x.jsonl.gz", PACKED[:-200]), options=("--allow-partial",)),
    Done("note: ", "ends too early", "quarantined {'E-GZIP-TRUNCATED': 1}"),
)


def swelling() -> bytes:
    return gzip.compress(GOOD + bytes(110_000_000), 1, mtime=0)


row(
    38,
    "gzip bomb",
    lambda g: g.corpus(g.file("x.jsonl.gz", swelling())),
    Refused("E-BOMB", "x.jsonl.gz", "200-fold", "100,000,000 bytes", "max_expansion"),
)


def zipped(*names: str, links: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK if links else stat.S_IFREG) << 16
            archive.writestr(info, "the fox")
    return file.getvalue()


def tarred(name: str, kind: bytes = tarfile.REGTYPE, mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for each in ("a.txt", name):
            info = tarfile.TarInfo(each)
            info.type = kind if each == name else tarfile.REGTYPE
            info.linkname = "a.txt" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(info)
    return file.getvalue()


def many() -> bytes:
    """The end of a zip file of a million members, as the format of large files says it."""
    wide = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 10**6, 10**6, 1000, 0)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 1)
    return b"PK\x03\x04" + bytes(100) + wide + locator + b"PK\x05\x06" + b"\xff" * 16 + bytes(2)


def swollen() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(120_000_000))
    return file.getvalue()


def zip_row(case: int, name: str, code: str, content: bytes, *words: str) -> None:
    row(case, name, lambda g: g.corpus(g.file("x.zip", content)), Refused(code, "x.zip", *words))


zip_row(36, "zip", "E-FORMAT", zipped("a.txt", "b/c.txt"), "2 members", "unpack it and name the folder")
row(36, "zip by another name", lambda g: g.corpus(g.file("x.txt", zipped("a.txt"))), Refused("E-FORMAT", "zip archive"))
zip_row(36, "zip cut", "E-FORMAT", zipped("a.txt", "b.txt")[:-30], "damaged", "fetch it again")
zip_row(39, "nested zip", "E-ARCHIVE-LIMIT", zipped("a.txt", "b.zip"), "'b.zip' is an archive itself")
zip_row(39, "zip of a million", "E-ARCHIVE-LIMIT", many(), "1,000,000 members")
row(
    39,
    "zip of zeros",
    lambda g: g.corpus(g.file("x.zip", swollen())),
    Refused("E-BOMB", "x.zip", "120,000,000 bytes", "200-fold"),
)
for name in ("../x.txt", "a/../../x.txt", "/etc/passwd", "C:\\x.txt", "..\\x.txt"):
    zip_row(40, f"zip with {name}", "E-UNSAFE-PATH", zipped("a.txt", name), repr(name), "do not unpack it")
zip_row(40, "zip with a link", "E-UNSAFE-PATH", zipped("a.txt", links=True), "'a.txt' is a symbolic link")
for kind, word in (
    (tarfile.SYMTYPE, "a symbolic link"),
    (tarfile.LNKTYPE, "a hard link"),
    (tarfile.FIFOTYPE, "a pipe"),
    (tarfile.CHRTYPE, "a device"),
):
    row(
        40,
        f"tar with {word}",
        lambda g, k=kind: g.corpus(g.file("x.tar", tarred("b", k))),
        Refused("E-UNSAFE-PATH", "x.tar", f"'b' is {word}"),
    )
for end, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz")):
    row(
        40,
        f"{end} out of its folder",
        lambda g, e=end, m=mode: g.corpus(g.file(f"x.{e}", tarred("../b", mode=m))),
        Refused("E-UNSAFE-PATH", f"x.{end}", "'../b' leads out"),
    )
row(36, "tar", lambda g: g.corpus(g.file("x.tar", tarred("b"))), Refused("E-FORMAT", "2 members", "unpack it"))
row(36, "tar cut", lambda g: g.corpus(g.file("x.tar", tarred("b")[:300])), Refused("E-FORMAT", "damaged"))
row(
    41,
    "tar with a name twice",
    lambda g: g.corpus(g.file("x.tar", tarred("a.txt"))),
    Refused("E-DUP-MEMBER", "x.tar", "'a.txt' occurs twice"),
)
zip_row(42, "zip of two cases", "E-UNSAFE-PATH", zipped("A.txt", "a.txt"), "'A.txt' and 'a.txt' differ by case")
zip_row(42, "zip with a device", "E-UNSAFE-PATH", zipped("b/con.txt"), "'con.txt'", "Windows")

# ---- Parquet


def table(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=1)
    return bytes(sink.getvalue())


TEXTS = table(text=["the fox", "the dog"])


def flipped(content: bytes) -> bytes:
    """Damage in the second page's header."""
    at = content.index(b"the dog") - 12
    return content[:at] + bytes(8) + content[at + 8 :]


row(43, "footer cut", lambda g: g.corpus(g.file("x.parquet", TEXTS[:-9])), Refused("E-PARQUET", "x.parquet", "again"))
row(
    43,
    "page damaged",
    lambda g: g.corpus(g.file("x.parquet", flipped(TEXTS))),
    Refused("E-PARQUET", "row group 2 of 2"),
)
row(
    44,
    "columns differ",
    lambda g: (
        g.file("y.parquet", table(text=["a"], n=["1"])),
        g.corpus(g.file("x.parquet", table(text=["a"], n=[1])), g.here / "y.parquet"),
    )[1],
    Refused("E-SCHEMA", "y.parquet", "'n': int64 there, string here"),
)
row(
    45,
    "list as text",
    lambda g: g.strict(g.file("x.parquet", table(text=[["a"], ["b"]]))),
    Refused("E-FIELD-TYPE", "x.parquet:1", "'text'", "list"),
)
row(
    45,
    "dictionary as text",
    lambda g: g.corpus(g.file("x.parquet", table(text=pa.array(["a", "b"]).dictionary_encode()))),
    Kept(2),
)
row(
    50,
    "the remedy works",
    lambda g: g.corpus(g.file("x.csv", "text;n\na;1\nb;2\n"), options=("--delimiter", ";")),
    Kept(2),
)

# ---- paths


def linked(g: Ground) -> list[str]:
    (g.here / "d").mkdir()
    g.file("d/x.jsonl", GOOD)
    (g.here / "d" / "again").symlink_to(g.here / "d", target_is_directory=True)
    return g.corpus(g.here / "d")


def dangling(g: Ground) -> list[str]:
    (g.here / "x.jsonl").symlink_to(g.here / "y.jsonl")
    return g.corpus(g.here / "x.jsonl")


def looping(g: Ground) -> list[str]:
    (g.here / "x.jsonl").symlink_to(g.here / "x.jsonl")
    return g.corpus(g.here / "x.jsonl")


row(51, "links in a circle", linked, Refused("E-DUP-INPUT", "again", "read already", "remove the link"))
row(52, "link to nothing", dangling, Refused("E-NO-FILE", "x.jsonl", "a link to something"))
row(52, "link to itself", looping, Refused("E-NO-FILE", "x.jsonl", "leads back to itself", "remove it"))
row(52, "no file at all", lambda g: g.corpus(g.here / "none.jsonl"), Refused("E-NO-FILE", "none.jsonl"))
row(52, "empty folder", lambda g: ((g.here / "d").mkdir(), g.corpus(g.here / "d"))[1], Refused("E-NO-FILE", "no file"))
row(
    52,
    "folder of other things",
    lambda g: (g.file("d/x.png", b"\x89PNG"), g.corpus(g.here / "d"))[1],
    Refused("E-FORMAT", "x.png", "'.png'", "--format"),
)
row(
    52,
    "pipe in a folder",
    lambda g: (g.file("d/x.txt", "a"), os.mkfifo(g.here / "d" / "y.txt"), g.corpus(g.here / "d"))[2],
    Refused("E-NOT-A-FILE", "y.txt", "a pipe"),
)

# ---- what becomes of bad records

BAD = b"".join(line(f"number {n}") + b"{bad\n" for n in range(20))
row(0, "too many bad", lambda g: g.corpus(g.file("x.jsonl", BAD)), Refused("E-TOO-MANY-BAD", "x.jsonl:22", "E-JSON 11"))
row(
    0,
    "a cap that allows them",
    lambda g: g.corpus(g.file("x.jsonl", BAD), options=keys("bad_limit=0.6")),
    Kept(20, quarantined="E-JSON", count=20),
)
row(
    0,
    "skipped",
    lambda g: g.corpus(g.file("x.jsonl", BAD), options=("--on-bad-record", "skip")),
    Kept(20, quarantined="E-JSON", count=20),
)
row(
    0,
    "no such way",
    lambda g: g.corpus(g.file("x.jsonl", BAD), options=("--on-bad-record", "ignore")),
    Refused("E-CONFIG-VALUE", "on_bad_record", "skip"),
)
row(
    0,
    "nothing kept",
    lambda g: g.corpus(g.file("x.jsonl", line(" ") * 3)),
    Refused("E-NO-RECORDS", "3 records", "empty 3"),
)


@pytest.mark.parametrize(("does", "expected"), ROWS)
def test_a_bad_corpus(
    does: Does, expected: Any, made: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    other.test_a_bad_input(does, expected, made, tmp_path, monkeypatch, capsys)


def test_each_case_has_its_test() -> None:
    named = {int(re.match(r"\d+", param.id)[0]) for param in (*ROWS, *other.ROWS)}  # type: ignore[index]
    assert named >= CASES, sorted(CASES - named)


def test_a_line_of_a_gigabyte_is_never_held(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(GOOD + b'{"text": "' + b"fox " * 2000)
    with path.open("ab") as file:
        file.truncate(1 << 30)  # a hole, which takes no room
    ledger, config = Ledger(), ReadConfig(on_bad_record="quarantine", max_record_bytes=8_000_000)
    tracemalloc.start()
    documents = list(read_documents([path], config, ledger))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(documents) == 2
    assert ledger.quarantined["E-LINE-TOO-LONG"].bytes == (1 << 30) - len(GOOD)
    assert peak < 16_000_000  # the cap of a record and some chunks


MARKS = [chr(code) for code in (0x300, 0x308, 0x301, 0x315, 0x323, 0x344, 0xF73, 0xF75, 0x1D165, 0x1E944)]


@settings(deadline=None, max_examples=40)
@given(st.text(st.sampled_from([*"ae\u00fc\uac00\u1100\u1161\u1ebf", *MARKS]), min_size=60, max_size=300))
def test_normal_form_is_the_standard_one(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text)
    piled = text + "".join(MARKS) * 30
    assert nfc(piled) == unicodedata.normalize("NFC", piled)


def test_normal_form_takes_linear_time() -> None:
    started = time.process_time()
    for marks in ("\u0315\u0300", "\u0f73", "\U0001d165\u0323"):
        nfc("a" + marks * 200_000)
    assert time.process_time() - started < 20  # Python's own: an hour
