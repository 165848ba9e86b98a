"""Formats of text in the world, each with its bad twin: web pages, crawls, code, LaTeX, dumps, the Pile's layout."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from near_small import shared_folder

from modeledge.corpus.formats import FORMATS
from modeledge.corpus.formats.latex import parted, uncommented
from modeledge.corpus.formats.pile import PILE_KINDS
from modeledge.corpus.formats.stackexchange import plain_of
from modeledge.corpus.intake import Format, Quarantined
from modeledge.corpus.read import READERS, ReadConfig, read_documents
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger

BODY = "<p>The quick brown fox jumps over the lazy dog, and then it rests for a while in the warm afternoon sun.</p>"
PAGE = f"<html><head><title>Fox</title></head><body><main><article>{BODY * 3}</article></main></body></html>"


def read(path: Path, **config: Any) -> tuple[list[Document], Ledger, list[Quarantined]]:
    """All documents of a path in quarantine mode; what was read must balance once the documents count as kept."""
    ledger, aside = Ledger(), list[Quarantined]()
    found = list(read_documents([path], ReadConfig(on_bad_record="quarantine", **config), ledger, aside.append))
    for document in found:
        ledger.add("kept", source=document.source, bytes=len(document.text.encode()))
    assert ledger.balanced(), ledger.as_dict()
    return found, ledger, aside


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_every_format_has_a_reader() -> None:
    from typing import get_args

    assert set(READERS) == set(get_args(Format)) - {"auto"}
    assert set(FORMATS) <= set(READERS)


# --- the Pile's layout


def test_pile_sets_become_sources(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "meta": {"pile_set_name": name}} for n, name in enumerate(["ArXiv", "Github", "ArXiv"])]
    lines = [json.dumps(row).encode() for row in rows]
    lines[1:1] = [b'{"text": "none", "meta": {}}', b'{"text": "\xff", "meta": {"pile_set_name": "ArXiv"}}']
    found, ledger, aside = read(put(tmp_path / "a.jsonl", b"\n".join(lines)), format="pile")
    assert [(d.text, d.source) for d in found] == [("t0", "ArXiv"), ("t1", "Github"), ("t2", "ArXiv")]
    assert {name: (one.kind, one.kept.records) for name, one in ledger.sources.items()} == {
        "ArXiv": ("scientific", 2),
        "Github": ("code", 1),
    }
    assert [a.reason for a in aside] == ["E-MISSING-FIELD", "E-UTF8"]
    assert aside[1].offset == len(lines[0]) + len(lines[1]) + 2
    assert len(PILE_KINDS) == 22


# --- StackExchange


ROWS = [
    '<row Id="1" PostTypeId="1" Score="5" Tags="&lt;c&gt;&lt;gcc&gt;" Title="Why &amp;&amp;?" CreationDate="2020" '
    'Body="&lt;p&gt;Short  of&#xA;it.&lt;/p&gt;'
    '&lt;pre&gt;&lt;code&gt;a  &amp;lt; b;&#xA;  c&lt;/code&gt;&lt;/pre&gt;" />',
    '<row Id="2" PostTypeId="2" ParentId="1" Score="-3" Body="&lt;p&gt;Because.&lt;/p&gt;" />',
    '<row Id="3" PostTypeId="5" Body="wiki" />',
]


def dump(*rows: str | bytes) -> bytes:
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<posts>", *rows, "</posts>"]
    return b"\n".join(line if isinstance(line, bytes) else b"  " + line.encode() for line in lines)


def test_stackexchange_posts(tmp_path: Path) -> None:
    found, ledger, _ = read(put(tmp_path / "Posts.xml", dump(*ROWS)), format="stackexchange")
    assert [d.text for d in found] == ["Why &&?\n\nShort of it.\n\na  < b;\n  c", "Because."]
    assert dict(found[0].fields) == {
        "post_type": "question", "post": 1, "score": 5, "tags": ["c", "gcc"], "date": "2020",
    }  # fmt: skip
    assert dict(found[1].fields) == {"post_type": "answer", "post": 2, "parent": 1, "score": -3}
    assert ledger.filtered["stackexchange.post type 5"].records == 1


def test_stackexchange_bad_rows_cost_only_themselves(tmp_path: Path) -> None:
    bad = [
        b'<row Id="4" PostTypeId="2" Body="\xff" />',
        '<row Id="5" PostTypeId="2" Body="&unknown;" />',
        '<row Id="6" PostTypeId="2" Body="cut',
        '<row Id="7" PostTypeId="2" Body="a" /><row Id="8" PostTypeId="2" Body="b" />',
    ]
    content = dump(ROWS[0], *bad, ROWS[1])
    found, _, aside = read(put(tmp_path / "Posts.xml", content), format="stackexchange")
    assert len(found) == 2
    assert [a.reason for a in aside] == ["E-UTF8", "E-XML", "E-XML", "E-XML"]
    assert all(content[a.offset :].startswith(a.raw) for a in aside)
    assert "byte" in aside[0].message


@pytest.mark.parametrize("tag", ["&lt;a href=&quot;x ", "&lt;a b=' ", "&lt;a b c d e "])
def test_stackexchange_a_flood_of_tags_without_an_end_costs_its_row_alone(tag: str, tmp_path: Path) -> None:
    """The parser would look for the end of each in all that follows: hours for these. A few are read as they come."""
    rows = (f'<row Id="9" PostTypeId="2" Body="{tag * count}" />' for count in (100_000, 3))
    found, _, aside = read(put(tmp_path / "Posts.xml", dump(ROWS[1], *rows)), format="stackexchange")
    assert len(found) + sum(a.reason != "E-XML" for a in aside) == 2
    (refused,) = (a.message for a in aside if a.reason == "E-XML")
    assert "Posts.xml:4: the body has 99,999 tags that do not end" in refused


def test_stackexchange_refuses_an_entity_bomb_before_it_is_parsed(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE posts [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    for lines in ([bomb], [f'<?xml version="1.0"?>{bomb}'], ["", "<posts>", bomb]):
        with pytest.raises(ModeledgeError) as caught:
            read(put(tmp_path / "Posts.xml", "\n".join([*lines, *ROWS])), format="stackexchange")
        assert caught.value.code == "E-XML"
        assert "document type" in caught.value.what
    with pytest.raises(ModeledgeError) as caught:
        read(put(tmp_path / "Posts.xml", "<feed><entry/></feed>"), format="stackexchange")
    assert caught.value.code == "E-FORMAT"


def test_post_bodies_as_text() -> None:
    assert plain_of("<p>a</p>\n<p>b <em>c</em>&amp;d</p><ul>\n<li>x</li>\n<li>y</li></ul>") == "a\n\nb c&d\n\n- x\n- y"
    assert plain_of("<pre><code>if x:\n    y</code></pre>") == "if x:\n    y"


# --- LaTeX


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("50\\% of% whom\n  it", "50\\% ofit"),
        ("a\n  % whole line\nb", "a\nb"),
        ("a % end\n\nb", "a \n\nb"),
        ("\\verb|%| x % y", "\\verb|%| x "),
        ("\\\\% gone\nb", "\\\\b"),
        ("\\begin{verbatim}\n% stays\n\\end{verbatim}% goes", "\\begin{verbatim}\n% stays\n\\end{verbatim}"),
        ("a\\begin{comment}x\\end{comment}b", "ab"),
        ("a\\begin{comment}x % y", "a\\begin{comment}x "),
    ],
)
def test_latex_comments(source: str, text: str) -> None:
    assert uncommented(source) == text


def test_latex_comments_take_linear_time() -> None:
    begun = time.process_time()
    uncommented("\\begin{verbatim}" * 200_000)
    assert time.process_time() - begun < 5


def paper(folder: Path, body: str, **parts: str) -> Path:
    put(
        folder / "main.tex",
        "\\documentclass{article}\n\\title{On {Foxes}}\n\\begin{document}" + body + "\\end{document}",
    )
    for name, text in parts.items():
        put(folder / f"{name}.tex", text)
    return folder


def test_latex_is_put_together_within_its_folder(tmp_path: Path) -> None:
    folder = paper(
        tmp_path / "paper",
        "\nOne. %secret\n\\input{two}\n%\\input{nowhere}\n\\include{sub/three}\\input{gone}",
        two="Two $x<y$. \\input sub/three",
    )
    put(folder / "sub" / "three.tex", "Three.")
    put(folder / "figure.png", b"\x89PNG\0")
    found, ledger, aside = read(folder, format="latex")
    assert [d.text for d in found] == ["One. Two $x<y$. Three.\nThree."]
    assert dict(found[0].fields) == {"title": "On {Foxes}"}
    assert {k: c.records for k, c in ledger.filtered.items()} == {
        "latex.not a .tex file": 1,
        "latex.part of a document": 2,
    }
    assert not aside
    assert any("not there" in note for note in ledger.notes)
    assert parted("no document here")[0] == "no document here"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link", "../paper-two/x"])
def test_latex_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    folder = paper(tmp_path / "paper", f"\\input{{{name}}}")
    put(tmp_path / "secret.tex", "SECRET")
    put(tmp_path / "paper-two" / "x.tex", "SECRET")
    os.symlink(tmp_path / "secret.tex", folder / "link.tex")
    found, _, aside = read(folder / "main.tex")
    assert not found
    assert [a.reason for a in aside] == ["E-UNSAFE-PATH"]


def test_latex_loops_and_bombs_end(tmp_path: Path) -> None:
    loop = paper(tmp_path / "loop", "\\input{a}", a="\\input{b}", b="\\input{./a.tex}")
    found, _, aside = read(loop / "main.tex")
    assert not found
    assert [a.reason for a in aside] == ["E-LATEX"]
    own = paper(tmp_path / "own", "\\input{main}")
    assert [a.reason for a in read(own)[2]] == ["E-LATEX"]
    steps = {f"s{chr(97 + n)}": f"\\input{{s{chr(98 + n)}}}" * 2 for n in range(20)}
    bomb = paper(tmp_path / "bomb", "\\input{sa}", **steps, su="x" * 100)
    assert [a.reason for a in read(bomb / "main.tex", max_record_bytes=100_000)[2]] == ["E-BOMB"]
    wrong = paper(tmp_path / "wrong", "\\input{a}")
    put(wrong / "a.tex", b"ok\ncaf\xe9 au lait")
    (bad,) = read(wrong / "main.tex")[2]
    assert bad.reason == "E-UTF8"
    assert "a.tex:2" in bad.message
    assert "byte 6" in bad.message


# --- source code


def test_a_source_tree(tmp_path: Path) -> None:
    licence = "# SPDX-License-Identifier: Apache-2.0\n\nif x:\n\treturn  1\n"
    put(tmp_path / "a" / "b.py", licence)
    put(tmp_path / "a" / "__init__.py", "")
    put(tmp_path / "a" / "blank.py", " \n\n")
    put(tmp_path / "Makefile", "all:\n\techo\n")
    put(tmp_path / "logo.png", b"\x89PNG\r\n\x1a\n\0\0")
    put(tmp_path / "old.c", b"/* caf\xe9 */\n")
    put(tmp_path / "notes", "what is this?")
    put(tmp_path / "data.gz", gzip.compress(b"x"))
    found, ledger, aside = read(tmp_path, format="code", source="tree")
    assert {d.id: d.fields.get("language") for d in found} == {
        "tree/a/b.py:1": "python",
        "tree/Makefile:1": "make",
        "tree/notes:1": None,
    }
    assert next(d for d in found if "b.py" in d.id).text == licence
    assert next(d for d in found if "b.py" in d.id).fields["licence"] == "Apache-2.0"
    assert {d.source for d in found} == {"tree"}
    assert ledger.filtered["code.empty file"].records == 2
    assert sorted(Path(a.where.rpartition(":")[0]).name + a.reason for a in aside) == [
        "data.gzE-BINARY", "logo.pngE-BINARY", "old.cE-UTF8",
    ]  # fmt: skip
    assert any("no programming language" in note for note in ledger.notes)
    assert ledger.sources["tree"].read == ledger.read


def test_many_pictures_in_a_tree_are_no_sign_of_a_wrong_reading(tmp_path: Path) -> None:
    for n in range(30):
        put(tmp_path / f"{n}.png", b"\0\1")
    put(tmp_path / "a.py", "x = 1")
    assert len(read(tmp_path, format="code")[2]) == 30


def test_markdown_stays_as_it_is(tmp_path: Path) -> None:
    text = "---\ntitle: x\n---\n\n# Head\n\n- a\n"
    assert read(put(tmp_path / "a.md", text))[0][0].text == text


# --- web pages (the extra `web`)


def test_without_the_extra_pages_are_refused_not_stripped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    from modeledge.corpus.formats import page

    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] in ("resiliparse", "trafilatura", "warcio"):
            raise ImportError(name)
        return real(name, package)

    page.extractor.cache_clear()
    monkeypatch.setattr(importlib, "import_module", without)
    for path in (put(tmp_path / "a.html", PAGE), put(tmp_path / "a.warc", warc(record("response", http(PAGE))))):
        with pytest.raises(ModeledgeError) as caught:
            read(path)
        assert caught.value.code == "E-EXTRA"
        assert "modeledge[web]" in caught.value.remedy
    page.extractor.cache_clear()


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_html_files(tmp_path: Path, extractor: str) -> None:
    pytest.importorskip(extractor)
    latin = PAGE.replace("<head>", '<head><meta charset="iso-8859-1">').replace("quick", "qu\u201cick\xe9")
    put(tmp_path / "1.html", PAGE)
    put(tmp_path / "2.html", latin.encode("cp1252"))
    put(tmp_path / "3.html", b"\xef\xbb\xbf" + PAGE.encode())
    put(tmp_path / "4.html", PAGE.replace("quick", "qu\xefck").encode("latin-1"))  # declares nothing
    put(tmp_path / "5.html", PAGE.replace("<head>", '<head><meta charset="rot13">'))
    put(tmp_path / "6.html", "<html><body></body></html>")
    found, ledger, aside = read(tmp_path, extractor=extractor)
    assert [d.text.strip().startswith("The qu") for d in found] == [True] * 3
    assert "qu\u201cick\xe9" in found[1].text
    assert "<p>" not in found[0].text
    assert [(Path(a.where).name, a.reason) for a in aside] == [("4.html:1", "E-UTF8"), ("5.html:1", "E-ENCODING")]
    assert f"byte {(tmp_path / '4.html').read_bytes().index(0xEF):,}" in aside[0].message
    assert ledger.filtered["web.no text"].records == 1


def http(page: str | bytes, type: str = "text/html", status: str = "200 OK", more: str = "") -> bytes:
    body = page.encode() if isinstance(page, str) else page
    return f"HTTP/1.1 {status}\r\nContent-Type: {type}\r\n{more}\r\n".encode() + body


def record(
    kind: str, content: bytes, url: str = "http://a.example/x", size: int | None = None, more: str = ""
) -> bytes:
    type = {"response": "application/http; msgtype=response", "conversion": "text/plain"}.get(kind, "text/html")
    length = len(content) if size is None else size
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-05-18T01:58:10Z\r\n{more}"
    return f"{head}Content-Type: {type}\r\nContent-Length: {length}\r\n\r\n".encode() + content + b"\r\n\r\n"


def warc(*records: bytes) -> bytes:
    return b"".join(records)


@pytest.fixture
def crawl() -> bytes:
    pytest.importorskip("warcio")
    pytest.importorskip("resiliparse")
    wrong = "WARC-Payload-Digest: sha1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"
    return warc(
        record("warcinfo", b"software: x\r\n"),
        record("response", http(PAGE), "http://one.example/"),
        record("request", b"GET / HTTP/1.1\r\n\r\n"),
        record("response", http("gone", status="404 Not Found")),
        record("response", http(b"\x89PNG", "image/png")),
        record(
            "response", http(gzip.compress(PAGE.encode()), more="Content-Encoding: gzip\r\n"), "http://two.example/"
        ),
        record("response", http(gzip.compress(PAGE.encode())[:40], more="Content-Encoding: gzip\r\n")),
        record("response", http(PAGE.replace("quick", "qu\xefck").encode("latin-1"))),
        record("response", http(PAGE.replace("quick", "qu\xefck").encode("latin-1"), "text/html; charset=latin1")),
        record("response", http(PAGE), more=wrong),
        record(
            "conversion",
            "Ya extraído.".encode(),
            "http://wet.example/",
            more="WARC-Identified-Content-Language: spa\r\n",
        ),
        record("resource", PAGE.encode()),
    )


@pytest.mark.parametrize("compressed", [False, True, "by record"])
def test_warc(tmp_path: Path, crawl: bytes, compressed: bool | str) -> None:
    path = tmp_path / ("a.warc.gz" if compressed else "a.warc")
    parts = [b"WARC/1.0" + part for part in crawl.split(b"WARC/1.0")[1:]]
    gz = b"".join(map(gzip.compress, parts)) if compressed == "by record" else gzip.compress(crawl)
    found, ledger, aside = read(put(path, gz if compressed else crawl))
    assert [(d.where.rpartition(":")[2], d.fields["url"]) for d in found] == [
        ("2", "http://one.example/"),
        ("6", "http://two.example/"),
        ("9", "http://a.example/x"),
        ("11", "http://wet.example/"),
        ("12", "http://a.example/x"),
    ]
    assert found[0].text == found[1].text == found[4].text
    assert "quïck" not in found[0].text
    assert "qu\xefck" in found[2].text
    assert (found[3].text, found[3].fields["language"]) == ("Ya extraído.", "spa")
    assert {k: c.records for k, c in ledger.filtered.items()} == {"web.status 404": 1, "web.image file": 1}
    assert [(a.where.rpartition(":")[2], a.reason) for a in aside] == [
        ("7", "E-WARC"), ("8", "E-UTF8"), ("10", "E-WARC"),
    ]  # fmt: skip
    assert any("type request" in note for note in ledger.notes)


def test_a_warc_that_was_cut(tmp_path: Path, crawl: bytes) -> None:
    """In the middle of a record; in the middle of its compression; where a record should begin."""
    cut = crawl[: crawl.index(b"Ya extra") + 4]
    found, _, aside = read(put(tmp_path / "a.warc", cut))
    assert len(found) == 3
    assert aside[-1].reason == "E-WARC"
    assert "fewer than its header says" in aside[-1].message
    path = put(tmp_path / "b.warc.gz", gzip.compress(crawl)[:-300])
    with pytest.raises(ModeledgeError) as caught:
        read(path)
    assert caught.value.code == "E-GZIP-TRUNCATED"
    assert read(path, allow_partial=True)[0]
    with pytest.raises(ModeledgeError) as caught:
        read(put(tmp_path / "c.warc", record("conversion", b"ok") + b"what is this?\r\n\r\n"))
    assert caught.value.code == "E-WARC"
    long = put(tmp_path / "d.warc", record("conversion", b"x" * 99) + record("conversion", b"ok"))
    found, _, aside = read(long, max_record_bytes=50)
    assert ([d.text for d in found], [a.reason for a in aside]) == (["ok"], ["E-LINE-TOO-LONG"])


@pytest.mark.shared_data
def test_the_sample_of_a_crawl() -> None:
    pytest.importorskip("warcio")
    pytest.importorskip("resiliparse")
    page = read(shared_folder() / "web" / "warc" / "whirlwind.warc.gz")[0]
    wet = read(shared_folder() / "web" / "warc" / "whirlwind.warc.wet.gz")[0]
    assert page[0].fields["url"] == wet[0].fields["url"] == "https://an.wikipedia.org/wiki/Escopete"
    assert "Menú principal" in wet[0].text
    assert "Menú principal" not in page[0].text  # that is what an extractor is for
    assert "Escopete" in page[0].text
