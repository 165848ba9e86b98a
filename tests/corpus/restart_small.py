"""A small build for the tests that kill it: a child that may die at its n-th touch of a file, or at any time."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from modeledge.corpus import pipeline, restart
from modeledge.corpus.asked import Build
from modeledge.corpus.clean import Cleaning
from modeledge.corpus.dedup import Dedup
from modeledge.corpus.pipeline import build_corpus
from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.records import Ledger
from modeledge.tokens import Tokenizer

WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


def write_inputs(folder: Path) -> None:
    """Texts with doubles, an empty one, and lines that a stage takes something out of."""
    lots = random.Random(0)
    folder.mkdir()
    for number in range(8):
        lines = [" ".join(lots.choices(WORDS, k=9)) + f" joe{n}@mail.org" for n in range(12)]
        (folder / f"{number}.txt").write_text("\n".join([*lines, *lines[:2], ""]))


def build(texts: Path, tokenizer: Path, out: Path, *, key: str = "k", resume: bool = True) -> Ledger:
    """The build, with checkpoints every few tokens."""
    restart.CHECKPOINT, pipeline.SAMPLE = 100, 2
    ledger = Ledger()
    documents = read_documents([str(texts)], ReadConfig(split="line"), ledger)
    config = Build(
        filters={"empty": True, "shorter_than": 3},
        cleaning=Cleaning(dedup=Dedup(memory=2000)),
        stages={"redact": True},
        shard_tokens=700,
        batch=3,
        backend="tokenizers",
    )
    build_corpus(documents, Tokenizer.load(tokenizer), out, config=config, ledger=ledger, key=key, resume=resume)
    return ledger


def child(texts: Path, tokenizer: Path, out: Path, crash_at: int, sabotage: str) -> None:
    """Go on with the build, until it is done or this process killed itself."""
    sys.stdout = sys.stderr = open(out.with_suffix(".log"), "a", buffering=1)  # noqa: SIM115
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in TOUCHES and any(str(a).startswith(f"{out.parent}{os.sep}") for a in arguments[:2]):
            seen += 1
            if seen == crash_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if sabotage == "doubled":
        restart.beyond = lambda documents, count: iter(list(documents)[max(count - 1, 0) :])
    if sabotage == "lost":
        restart.beyond = lambda documents, count: iter(list(documents)[count + (count > 0) :])
    if not out.exists():
        build(texts, tokenizer, out)
    print("touches", seen)


def contents(folder: Path) -> dict[str, bytes]:
    """A corpus, file by file."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
