"""Text → token shards: ours beside `datasets.map` with `tokenizers` and datatrove's tokens step, for the same ids.

    python benchmarks/tokenize_text.py --kind bpe --backend gigatoken [--data FOLDER_OF_TXT] [--only "datasets.map"]
    python benchmarks/tokenize_text.py --kind wordpiece --backend tokenizers
    python benchmarks/tokenize_text.py --kind unigram --backend tokenizers

Each side reads the same documents from memory and leaves ids on disk; a value is a digest of all ids: they agree, which
is asserted before a clock runs. A side whose package is not installed is left out, and that is said. Peers run with
their own best options: batched, and as many processes as threads.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

Block = Callable[[], str]
CUT = 3000  # characters of a document
TOKENIZER: dict[str, Any] = {}


def texts(data: str, repeat: int) -> list[str]:
    """The files of a folder, cut into documents."""
    whole = [path.read_text(errors="replace") for path in sorted(Path(data).glob("*.txt"))]
    return [text[start : start + CUT] for text in whole for start in range(0, len(text), CUT)] * repeat


def tokenizer(data: str, kind: str) -> Any:
    from modeledge.tokens import train_tokenizer

    return train_tokenizer(texts(data, 1)[:300], kind=kind, vocab_size=4000)  # type: ignore[arg-type]


def digest(rows: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for row in rows:
        found.update(np.asarray(row, np.uint32).tobytes())
    return found.hexdigest()[:16]


def ours(data: str, kind: str, repeat: int, backend: str, processes: int) -> Block:
    from modeledge.corpus.asked import Build
    from modeledge.corpus.clean import Cleaning
    from modeledge.corpus.dedup import Dedup
    from modeledge.corpus.pipeline import build_corpus, reading
    from modeledge.records import Document, Ledger

    held, coder = texts(data, repeat), tokenizer(data, kind)
    cleaning = Cleaning(dedup=Dedup(exact=False), processes=processes)
    config = Build(filters={}, cleaning=cleaning, stages=(), end=False, backend=backend)  # type: ignore[arg-type]

    def block() -> str:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger()
            documents = (Document(text, f"{n:09d}") for n, text in enumerate(held))
            out = Path(folder) / "c"
            shards = build_corpus(reading(documents, ledger=ledger), coder, out, config=config, ledger=ledger)
            return digest([shards.tokens()])

    return block


def datasets_map(data: str, kind: str, repeat: int, processes: int) -> Block:
    import datasets
    import pyarrow

    datasets.disable_caching()
    datasets.disable_progress_bars()
    held, core = texts(data, repeat), tokenizer(data, kind)._encoder

    def encode(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": [c.ids for c in core.encode_batch_fast(rows["text"], add_special_tokens=False)]}

    def block() -> str:
        rows = datasets.table.InMemoryTable(pyarrow.table({"text": held}))
        table = datasets.Dataset(rows, fingerprint="texts")  # a name saves it the hashing of all texts
        workers = processes if processes > 1 else None
        coded = table.map(encode, batched=True, remove_columns=["text"], num_proc=workers, new_fingerprint="ids")
        folder = tempfile.mkdtemp()
        coded.save_to_disk(folder)
        shutil.rmtree(folder)
        return digest(coded.with_format("numpy")["ids"])

    return block


def datatrove_tokens(data: str, kind: str, repeat: int, processes: int) -> Block:
    from datatrove.data import Document
    from datatrove.pipeline.tokens import DocumentTokenizer

    held, made = texts(data, repeat), tokenizer(data, kind)
    place = tempfile.mkdtemp()
    made.save(Path(place))

    def block() -> str:
        with tempfile.TemporaryDirectory() as folder:
            name = str(Path(place) / "tokenizer.json")
            step = DocumentTokenizer(folder, tokenizer_name_or_path=name, eos_token=None, shuffle_documents=False)
            documents = (Document(text=text, id=str(n)) for n, text in enumerate(held))
            step.run(documents, rank=0, world_size=1)
            found = sorted(Path(folder).rglob("*.ds"))
            return digest([np.fromfile(path, np.uint16) for path in found])

    return block


SIDES = {"datasets.map": ("datasets", "datasets_map"), "datatrove": ("datatrove", "datatrove_tokens")}


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", default="../shared/data/gutenberg")
    parser.add_argument("--kind", default="bpe", choices=("bpe", "wordpiece", "unigram"))
    parser.add_argument("--backend", default="auto", choices=("auto", "gigatoken", "tokenizers"))
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--processes", type=int, default=1)
    own, rest = parser.parse_known_args()
    sys.argv[1:] = ["--pairs", "5", "--threads", "1", *rest]  # what is given comes later and counts
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    common = {"data": own.data, "kind": own.kind, "repeat": own.repeat, "processes": own.processes}
    others = {}
    for name, (package, function) in SIDES.items():
        if importlib.util.find_spec(package) is None:
            print(f"LEFT OUT: {name}, {package} is not installed")
            continue
        others[name] = (function, common)
    from pairs import main as compare

    size = sum(len(text.encode()) for text in texts(own.data, own.repeat))
    sides = {**others, "library alone": ("ours_library", common)}
    title = f"tokenize {own.kind} {own.backend}"
    compare(
        title, "tokenize_text", ("ours", {**common, "backend": own.backend}), sides, "byte", size, warm=1, same=True
    )


def ours_library(data: str, kind: str, repeat: int, processes: int) -> Block:
    """`tokenizers.encode_batch_fast` and nothing else: ids as lists, nothing on disk."""
    held, core = texts(data, repeat), tokenizer(data, kind)._encoder
    return lambda: digest(c.ids for c in core.encode_batch_fast(held, add_special_tokens=False))


if __name__ == "__main__":
    main()
