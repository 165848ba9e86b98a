"""`kill -9` a corpus build: what is left behind is never taken for a finished corpus, and the next run works."""

from __future__ import annotations

import multiprocessing as mp
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.files import verify_folder
from modeledge.recipes.corpora.build import build_shards, build_tokenizer
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe

KILLS = 24
FORK = mp.get_context("fork")


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> tuple[CorpusRecipe, Path, Path]:
    """A corpus with doubles, near doubles and bad lines, its tokenizer, and the folder of a build nobody touched."""
    folder, chance = tmp_path_factory.mktemp("killed"), random.Random(0)
    words = [f"word{n}" for n in range(300)]
    lines = [f'{{"text": "{" ".join(chance.choices(words, k=20))}"}}\n' for _ in range(500)]
    lines += lines[:50] + ["{bad\n"] * 3
    (folder / "x.jsonl").write_text("".join(lines))
    corpus = CorpusRecipe(paths=(str(folder / "x.jsonl"),), near={"preset": "fineweb"})
    build_tokenizer(corpus, TokenizerRecipe(vocab_size=400), folder / "tokenizer", quiet)
    build_shards(corpus, folder / "tokenizer", folder / "whole", quiet)
    return corpus, folder / "tokenizer", folder / "whole"


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def start(ground: tuple[CorpusRecipe, Path, Path], out: Path) -> Any:
    """A child that builds; it leads a group of its own."""

    def build() -> None:
        os.setsid()
        build_shards(ground[0], ground[1], out, quiet)

    child = FORK.Process(target=build)
    child.start()
    return child


def test_a_killed_build_is_not_a_corpus_and_the_next_one_is(
    ground: tuple[CorpusRecipe, Path, Path], tmp_path: Path
) -> None:
    whole, chance, long = content(ground[2]), random.Random(3), float("inf")
    for number in range(3):  # the quickest: of a machine that was busy a moment ago the others say too much
        started = time.perf_counter()
        child = start(ground, tmp_path / f"timed{number}")
        child.join()
        assert child.exitcode == 0
        long = min(long, time.perf_counter() - started)
        assert content(tmp_path / f"timed{number}") == whole
    killed = temporary = 0
    for number in range(KILLS):
        out = tmp_path / f"run{number}" / "out"
        out.parent.mkdir()
        child = start(ground, out)
        time.sleep(chance.uniform(0, 1.05 * long))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        left = [path for path in out.parent.iterdir() if path != out]
        temporary += len(left)
        if out.exists():
            verify_folder(out)
            assert content(out) == whole
            continue
        for folder in left:
            if not (folder / "MANIFEST.json").exists():
                with pytest.raises(ModeledgeError):
                    Shards.open(folder)
        if number % 6 == 0:
            said: list[str] = []
            build_shards(ground[0], ground[1], out, said.append)
            assert content(out) == whole
            begun = any(path.name.endswith(".work") for path in left)
            assert begun == any("begun anew" in line for line in said)
            assert list(out.parent.iterdir()) == [out], "what was left is gone"
    assert killed > KILLS // 2
    assert temporary > KILLS // 4
