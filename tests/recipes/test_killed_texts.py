"""`kill -9` while a corpus that stays text is written: nothing of what was half done is left, beside or within."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from modeledge.config import load_config
from modeledge.recipes.corpora import corpus_build
from modeledge.recipes.corpora.corpus_build import build
from modeledge.recipes.corpora.corpus_file import CorpusFile


def quiet(line: str) -> None:
    """Says nothing."""


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("mixed", [False, True], ids=["one", "mixture"])
def test_a_killed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: bool) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{name} {n} brown foxes" for n in range(20)))
    sources = {name: {"paths": [str(tmp_path / f"{name}.txt")], "split": "line"} for name in ("first", "second")}
    values: dict[str, Any] = {"mixture": {"sources": sources}} if mixed else {"corpus": sources["second"]}
    asked, out = load_config(CorpusFile, None, values=values), tmp_path / "here" / "out"
    build(asked, tmp_path / "whole", quiet)
    card = corpus_build.write_data_card

    def dying(folder: Path) -> Path:
        if (folder / "documents.jsonl").exists() and "second" in (folder / "documents.jsonl").read_text():
            os.kill(os.getpid(), signal.SIGKILL)
        return card(folder)

    def child() -> None:
        monkeypatch.setattr(corpus_build, "write_data_card", dying)
        build(asked, out, quiet)

    process = mp.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    build(asked, out, quiet, resume=True)
    assert content(out) == content(tmp_path / "whole")
    assert list(out.parent.iterdir()) == [out]
