"""Crawls as archives have them: records without an HTTP header or an address; and files in encodings unlike ASCII."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.errors import ModeledgeError
from modeledge.records import Ledger

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nA page."
HTTP = "application/http; msgtype=response"


def record(address: str | None, kind: str, content: bytes) -> bytes:
    head = ["WARC/1.0", "WARC-Type: response", "WARC-Record-ID: <urn:uuid:1>", "WARC-Date: 2020-01-01T00:00:00Z"]
    head += [] if address is None else [f"WARC-Target-URI: {address}"]
    head += [f"Content-Type: {kind}", f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(head).encode() + content + b"\r\n\r\n"


@pytest.mark.parametrize(
    "other",
    [record("dns:a.org", "text/dns", b"a.org. 1 IN A 1.2.3.4\n"), record("http://a.org/", HTTP, b"")],
    ids=["name server", "empty"],
)
def test_a_response_without_an_http_header(tmp_path: Path, other: bytes) -> None:
    pytest.importorskip("warcio", reason="the web extra is not installed")
    page, ledger = record("http://a.org/", HTTP, PAGE), Ledger()
    (tmp_path / "a.warc").write_bytes(page + other + page)
    found = list(read_documents([tmp_path / "a.warc"], ReadConfig(), ledger))
    assert [document.text for document in found] == ["A page."] * 2
    assert ledger.filtered["web.no HTTP header"].records == 1
    assert ledger.read.records == 3


def test_a_record_without_an_address(tmp_path: Path) -> None:
    pytest.importorskip("warcio", reason="the web extra is not installed")
    (tmp_path / "a.warc").write_bytes(record("http://a.org/", HTTP, PAGE) + record(None, HTTP, PAGE))
    with pytest.raises(ModeledgeError, match=r"E-WARC.*after 1 records"):
        list(read_documents([tmp_path / "a.warc"], ReadConfig(on_bad_record="quarantine"), Ledger()))


def test_lines_of_an_encoding_unlike_ascii(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("eins\nzwei é\n".encode("cp037"))
    config = ReadConfig(encoding="cp037", split="line")
    assert [document.text for document in read_documents([tmp_path / "a.txt"], config, Ledger())] == ["eins", "zwei é"]
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        ReadConfig(encoding="punycode")
