"""Training a byte-level BPE of 32,000 pieces: ours as it is and under a cap, beside the `tokenizers` library by itself.

    python benchmarks/train_tokenizer.py [--data FOLDER_OF_TXT] [--repeat 20] [--cap 2000] [--pairs 3]
    python benchmarks/train_tokenizer.py --synthetic 150

Texts are read from a file line by line. A value is a digest of all merges: they agree, which is asserted before a
clock runs. The library counts in as many threads as there are cores (`--rayon 1`: one); ours under a cap in one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from memory import pages
from pairs import main
from tokenize_text import texts as books

SIZE = 32_000
Block = Callable[[], str]


def lines(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def digest(pipeline: str) -> str:
    merges = json.loads(pipeline)["model"]["merges"]
    return hashlib.sha256(json.dumps(merges).encode()).hexdigest()[:16]


def ours(path: str, cap: int | None) -> Block:
    from modeledge.tokens import train_tokenizer

    def block() -> str:
        memory = None if cap is None else cap * 1_000_000
        return digest(train_tokenizer(lines(path), vocab_size=SIZE, specials={}, memory=memory).pipeline())

    return block


def alone(path: str) -> Block:
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    def block() -> str:
        core = tokenizers.Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        told: dict[str, Any] = {"vocab_size": SIZE, "min_frequency": 2, "show_progress": False}
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **told)
        core.train_from_iterator(lines(path), trainer)
        return digest(core.to_str())

    return block


def texts(given: argparse.Namespace) -> Iterable[str]:
    return pages(int(given.synthetic * 1e6)) if given.synthetic else books(given.data, given.repeat)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", default="../shared/data/gutenberg")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--synthetic", type=float, default=0, help="MB of synthetic pages in place of the files")
    parser.add_argument("--cap", type=int, default=2000, help="MB")
    parser.add_argument("--rayon", type=int, default=os.cpu_count() or 1, help="threads of the library")
    given, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    os.environ["RAYON_NUM_THREADS"] = str(given.rayon)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "texts.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(text) + "\n" for text in texts(given))
        size = os.path.getsize(path) / 1e6
        kind = f"{'synthetic' if given.synthetic else 'books'}-threads-{given.rayon}"
        main(
            f"train-tokenizer-{kind}",
            "train_tokenizer",
            ("ours", {"path": path, "cap": given.cap}),
            {"tokenizers alone": ("alone", {"path": path}), "ours, no cap": ("ours", {"path": path, "cap": None})},
            "MB",
            size,
            warm=1,
            same=True,
        )
