"""Builds of a corpus that once lost something without a word: an output folder, an evaluation set, records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config
from modeledge.corpus.pipeline import LEDGER
from modeledge.files import read_json
from modeledge.recipes.corpora.corpus_build import build
from modeledge.recipes.corpora.corpus_file import CorpusFile
from modeledge.recipes.corpora.fallen import inspect_corpus
from modeledge.recipes.corpora.mixed import prepare_sources
from modeledge.recipes.recipe import PretrainRecipe


def words(first: int, count: int = 40) -> str:
    return " ".join(f"w{number}" for number in range(first, first + count))


def put(path: Path, *rows: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def quiet(line: str) -> None:
    """Says nothing."""


def asked(corpus: dict[str, Any] | None = None, **tables: Any) -> CorpusFile:
    return load_config(CorpusFile, None, values={"corpus": corpus or {}, **tables})


@pytest.mark.parametrize("tables", [{}, {"tokenizer": {"vocab_size": 300}}], ids=["text", "tokens"])
def test_an_empty_output_folder_is_used(tmp_path: Path, tables: dict[str, Any]) -> None:
    texts = put(tmp_path / "a.jsonl", *({"text": words(40 * n)} for n in range(20)))
    for name in ("fresh", "empty"):
        out = tmp_path / name
        if name == "empty":
            out.mkdir()
        build(asked({"paths": [texts]}, **tables), out, quiet)
    assert read_json(tmp_path / "empty" / LEDGER) == read_json(tmp_path / "fresh" / LEDGER)


def test_evaluation_sets_of_one_name_are_all_looked_for(tmp_path: Path) -> None:
    sets = [put(tmp_path / name / "test.jsonl", {"text": words(100 * n)}) for n, name in enumerate("ab")]
    texts = put(tmp_path / "c.jsonl", *({"text": words(100 * n)} for n in range(3)))
    build(asked({"paths": [texts], "against": {"paths": sets}}), tmp_path / "out", quiet)
    assert read_json(tmp_path / "out" / LEDGER)["filtered"]["contaminated"]["records"] == 2
    stands = {json.loads(line)["stays"] for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()}
    assert stands == {"a/test.jsonl", "b/test.jsonl"}


def test_a_mixture_counts_records_without_a_source_of_their_own(tmp_path: Path) -> None:
    rows = [{"text": words(40 * n), "meta": {"pile_set_name": "Books3"}} for n in range(5)]
    pile = put(tmp_path / "p.jsonl", *rows, {"text": "of no set"})
    other = put(tmp_path / "o.jsonl", {"text": words(9000)})
    sources = {"pile": {"paths": [pile], "format": "pile"}, "other": {"paths": [other]}}
    build(asked(mixture={"sources": sources}), tmp_path / "out", quiet)
    ledger = read_json(tmp_path / "out" / LEDGER)
    assert ledger["read"]["records"] == 7
    assert ledger["quarantined"]["E-MISSING-FIELD"]["records"] == 1
    assert set(ledger["sources"]) == {"pile/Books3", "other"}


def test_a_run_with_a_mixture_is_inspected(tmp_path: Path) -> None:
    paths = {name: put(tmp_path / f"{name}.jsonl", {"text": words(n)}, {"text": " "}) for n, name in enumerate("ab")}
    values = {
        "mixture": {"sources": {name: {"paths": [path]} for name, path in paths.items()}},
        "tokenizer": {"vocab_size": 300},
    }
    run = tmp_path / "run"
    run.mkdir()
    prepare_sources(load_config(PretrainRecipe, None, values=values), run, quiet)
    found = inspect_corpus(run, "empty")
    assert found.ledger["filtered"]["empty"]["records"] == len(found.samples["empty"]) == 2
    done = CliRunner().invoke(app, ["corpus", "inspect", str(run)])
    assert done.exit_code == 0, done.exception


def test_the_folder_that_one_is_in_is_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = put(tmp_path / "a.jsonl", {"text": words(1)})
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for verb in ("build", "dedup"):
        done = CliRunner().invoke(app, ["corpus", verb, texts, "--out", "."])
        assert getattr(done.exception, "code", "") == "E-OUTPUT", done.exception
    assert not list((tmp_path / "empty").iterdir())
