"""Tokenizers measured on sources: the figures counted by hand, the table, the files, what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.measured import Measured, measure_tokenizers, sources_of, write_measures
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.tokens import Measure, Tokenizer, train_tokenizer

PROSE = ["the cat sat on the mat", "the dog sat on the cat"]
CODE = "def f(x):\n    return x ** 2\n"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tokenizers of prose, of bytes and of whole words, and two sources: prose, and code that one cannot spell."""
    folder = tmp_path_factory.mktemp("measured")
    train_tokenizer(PROSE * 3, kind="bpe", vocab_size=300).save(folder / "bytes")
    train_tokenizer(PROSE * 3, kind="wordpiece", vocab_size=60).save(folder / "words")
    (folder / "prose.txt").write_text("\n".join(PROSE))
    (folder / "code.py").write_text(CODE)
    return folder


def test_figures_are_those_counted_by_hand(ground: Path) -> None:
    sources = sources_of([f"prose={ground}/prose.txt", f"code={ground}/code.py"])
    names = [ground / "bytes", ground / "words"]
    rows = measure_tokenizers(names, sources, CorpusRecipe(split="line", format="txt"), print)
    assert [(r.source, r.tokenizer) for r in rows] == [(s, t) for s in ("prose", "code") for t in ("bytes", "words")]
    for row in rows:
        tokenizer = Tokenizer.load(ground / row.tokenizer)
        lines = PROSE if row.source == "prose" else [line for line in CODE.split("\n") if line.strip()]
        ids = [int(i) for line in lines for i in tokenizer.encode(line)]
        assert row.measure.tokens == len(ids)
        assert row.measure.bytes_per_token == sum(len(line.encode()) for line in lines) / len(ids)
        assert row.measure.fertility == len(ids) / sum(len(line.split()) for line in lines)
        assert row.measure.unknown == sum(i == tokenizer.specials.unk for i in ids) / len(ids)
    assert rows[3].measure.unknown > 0, "words cannot spell code"
    assert rows[2].measure.unknown == 0, "bytes can spell everything"
    assert rows[2].measure.bytes_per_token < rows[0].measure.bytes_per_token


def test_a_share_that_is_nearly_all_is_not_told_as_all() -> None:
    row = Measured("a", "b", Measure(4.0, 1.0, 0.00001, 1.0, 0, 100_000))
    assert row.cells[4:6] == ("99.99 %", "100.00 %")


def test_the_command(ground: Path, tmp_path: Path) -> None:
    asked = ["tokenizer", "measure", str(ground / "bytes"), str(ground / "words")]
    asked += ["--source", f"prose={ground}/prose.txt", "-s", f"[red]code={ground}/code.py", "--format", "txt"]
    done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out")], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "[red]code" in done.output, "a name is no markup"
    rows = json.loads((tmp_path / "out" / "measures.json").read_text())
    assert len(rows) == 4
    for row, line in zip(rows, csv.DictReader((tmp_path / "out" / "measures.csv").open()), strict=True):
        assert {k: str(v) for k, v in row.items()} == dict(line)
        assert f"{row['bytes_per_token']:.3f}" in done.output
    page = (tmp_path / "out" / "measures.html").read_text()
    for word in ("<svg", "bytes a token", "tokens a word", "coverage"):
        assert word in page
    again = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out")])
    assert "E-OUTPUT" in str(again.exception)


def test_what_is_refused(ground: Path, tmp_path: Path) -> None:
    for words in ([], ["prose.txt"], ["=prose.txt"], ["prose="]):
        with pytest.raises(ModeledgeError, match="E-USAGE"):
            sources_of(words)
    (tmp_path / "blank.txt").write_text("  \n")
    with pytest.raises(ModeledgeError, match="twice"):
        measure_tokenizers([ground / "bytes"] * 2, {"a": [str(ground / "prose.txt")]}, CorpusRecipe(), print)
    assert sources_of(["a=x", "b=y", "a=z"]) == {"a": ["x", "z"], "b": ["y"]}
    said: list[str] = []
    (tmp_path / "bad.jsonl").write_bytes(b'{"text": "fine"}\n{"text": "\xff"}\n')
    corpus = CorpusRecipe(bad_limit=1.0)
    measure_tokenizers(
        [ground / "bytes", ground / "words"], {"bad": [str(tmp_path / "bad.jsonl")]}, corpus, said.append
    )
    assert said == ["note: bad: 1 × E-UTF8 set aside and not measured"]
    with pytest.raises(ModeledgeError, match="E-OUTPUT"):
        write_measures([], ground)
