"""A mixture that cannot be is refused as soon as that is known, and what was built by then is not built again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.files import read_json
from modeledge.recipes.corpora import corpus_build
from modeledge.recipes.corpora.build import aside_of
from modeledge.recipes.corpora.corpus_build import build
from modeledge.recipes.corpora.corpus_file import CorpusFile


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that are read, by name."""
    seen, whole = list[str](), corpus_build.read

    def told(corpus: Any, *words: Any) -> Any:
        seen.append(Path(corpus.paths[0]).stem)
        return whole(corpus, *words)

    monkeypatch.setattr(corpus_build, "read", told)
    return seen


def asked(folder: Path, tokens: float, first: dict[str, Any], second: dict[str, Any], **mixture: Any) -> CorpusFile:
    sources = {}
    for name, more in (("first", first), ("second", second)):
        lines = [f"{name} {n} quick brown foxes jump over {n * n} lazy dogs" for n in range(60)]
        if not (folder / f"{name}.txt").exists():
            (folder / f"{name}.txt").write_text("\n".join(lines))
        sources[name] = {"paths": [str(folder / f"{name}.txt")], "split": "line", **more}
    values = {"tokens": tokens, "tokenizer": {"vocab_size": 300}, "mixture": {"sources": sources, **mixture}}
    return load_config(CorpusFile, None, values=values)


def test_budgets_beyond_the_tokens_are_refused_before_anything_is_read(tmp_path: Path, parts: list[str]) -> None:
    with pytest.raises(ModeledgeError, match="E-CONFIG: the budgets add up"):
        build(asked(tmp_path, 1000.0, {"budget": 900.0}, {"budget": 200.0}), tmp_path / "out", quiet)
    assert not parts
    assert not aside_of(tmp_path / "out").exists()


def test_a_source_that_is_read_too_often_is_refused_when_its_size_is_known(tmp_path: Path, parts: list[str]) -> None:
    """And its shards wait: the build goes on with them under other weights."""
    out, weights = tmp_path / "out", ({"weight": 0.9}, {"weight": 0.1})
    with pytest.raises(ModeledgeError, match="E-EPOCHS: mixture: first is read"):
        build(asked(tmp_path, 1e6, *weights, beyond="refuse"), out, quiet)
    assert parts == ["first"]
    build(asked(tmp_path, 1e3, {"weight": 0.5}, {"weight": 0.5}, beyond="refuse"), out, quiet, resume=True)
    assert parts == ["first", "second"]
    assert {row["planned"] for row in read_json(out / "mixture.json")["sources"]} == {500.0}


def test_shares_by_size_wait_for_the_last_size(tmp_path: Path, parts: list[str]) -> None:
    with pytest.raises(ModeledgeError, match="E-EPOCHS: mixture: first is read"):
        build(asked(tmp_path, 1e6, {}, {}, beyond="refuse"), tmp_path / "out", quiet)
    assert parts == ["first", "second"]
