"""A corpus of random words with planted near duplicates, for the tests of de-duplication."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from modeledge.records import Document

WORDS = [f"w{i}" for i in range(20_000)]


def planted(count: int, *, seed: int = 0, words: int = 200, edits: int = 2) -> tuple[list[Document], dict[str, str]]:
    """`count` texts of random words, every third with a copy of which some words are others; and copy → original."""
    chance, documents, copies = random.Random(seed), [], {}
    for number in range(count):
        text = chance.choices(WORDS, k=words)
        documents.append(Document(" ".join(text), f"a:{number}", f"a:{number}"))
        if number % 3 == 0:
            for place in chance.sample(range(words), edits):
                text[place] = chance.choice(WORDS)
            documents.append(Document(" ".join(text), f"b:{number}", f"b:{number}"))
            copies[f"b:{number}"] = f"a:{number}"
    return documents, copies


def shared_folder() -> Path:
    """The folder of shared data; skips where there is none."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the data folder beside the checkout is missing")
    return folder


def articles() -> tuple[list[Document], list[tuple[str, str]]]:
    """1,000 articles and the pairs among them that are known to be near duplicates."""
    folder = shared_folder() / "near_dup"
    with gzip.open(folder / "articles_1000.train.gz", "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()
    documents = [Document(line.partition(" ")[2], line.partition(" ")[0]) for line in lines]
    pairs = [tuple(line.split()) for line in (folder / "articles_1000.truth").read_text().splitlines()]
    return documents, [(a, b) for a, b in pairs]
