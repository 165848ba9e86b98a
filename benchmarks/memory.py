"""Peak memory beside the cap: a corpus ten times as large as it, built whole; a tokenizer trained on counts of words.

    python benchmarks/memory.py corpus [--cap 32] [--times 10] [--processes 1]
    python benchmarks/memory.py tokenizer [--cap 2000] [--megabytes 1000] [--kind bpe]

`corpus` writes synthetic pages of `times` caps, trains a tokenizer on a few, and lets `modeledge corpus build` read,
filter (Gopher, C4), de-duplicate (exact and near) and tokenize them in a process of its own. The peak is that of the
resident memory of the whole tree of processes, sampled, over that of the same build on a hundredth of the pages (what
the program itself takes). `tokenizer` trains on a file read line by line under the cap. Processor seconds
are those of the tree.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from pairs import save

COMMON = ["the", "be", "to", "of", "and", "that", "have", "with", "in", "it", "for", "not", "on"]
RECIPE = """kind = "corpus"

[corpus]
paths = ["{pages}"]
memory = {cap}
processes = {processes}
[corpus.near]
preset = "fineweb"
[corpus.filters]
gopher_quality = true
gopher_repetition = true
c4 = true
"""
TRAIN = """
import json, sys
from modeledge.tokens import train_tokenizer
def lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]
found = train_tokenizer(lines(sys.argv[1]), kind=sys.argv[2], vocab_size=32000, memory=int(sys.argv[3]))
print(*found.notes)
"""


def pages(size: int, seed: int = 0) -> Iterator[str]:
    """Pages of sentences by Zipf's law, `size` bytes in all; every tenth comes again with one word changed."""
    chance = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    rare = ["".join(chance.choices(letters, k=chance.randrange(3, 9))) for _ in range(200_000)]
    words = COMMON + rare
    weights = list(accumulate(1 / (i + 3) for i in range(len(words))))
    done = number = 0
    while done < size:
        drawn = chance.choices(words, cum_weights=weights, k=chance.randrange(120, 700))
        for at in range(0, len(drawn), 12):
            drawn[at] = drawn[at].capitalize()
            drawn[min(at + 11, len(drawn) - 1)] += ".\n" if at % 36 == 24 else "."
        page = " ".join(drawn).replace("\n ", "\n")
        again = [page, page.replace(drawn[7], "changed", 1)] if number % 10 == 0 else [page]
        number += 1
        for text in again:
            done += len(text)
            yield text


def write_pages(path: Path, size: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in pages(size))


def resident(root: int) -> int:
    """Bytes resident in a process and all below it, now."""
    parents, sizes = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)], sizes[int(entry.name)] = int(stat[1]), int(stat[21])
    tree = {root}
    for _ in range(8):
        tree |= {pid for pid, parent in parents.items() if parent in tree}
    return sum(sizes.get(pid, 0) for pid in tree) * resource.getpagesize()


def measured(*command: str) -> dict[str, Any]:
    """Run a program: its peak of resident memory, its processor and wall seconds, and the last lines it printed."""
    before, began, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as told:
        program = subprocess.Popen(command, stdout=told, stderr=told, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while program.poll() is None:
            peak = max(peak, resident(program.pid))
            time.sleep(0.02)
        told.seek(0)
        said = told.read()
    assert program.returncode == 0, said[-3000:]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"peak MB": peak / 1e6, "processor s": spent, "wall s": time.perf_counter() - began, "said": said[-400:]}


def corpus(given: argparse.Namespace, place: Path) -> dict[str, Any]:
    program = [sys.executable, "-m", "modeledge"]
    many, few, tokenizer = place / "many.jsonl", place / "few.jsonl", place / "tokenizer"
    write_pages(many, int(given.cap * given.times * 1e6))
    write_pages(few, int(given.cap * given.times * 1e4))
    measured(*program, "tokenizer", "train", str(few), "-o", str(tokenizer))
    rows: dict[str, Any] = {"cap MB": given.cap, "corpus MB": many.stat().st_size / 1e6}
    for name, path in (("small", few), ("whole", many)):
        recipe = place / f"{name}.toml"
        recipe.write_text(RECIPE.format(pages=path, cap=given.cap, processes=given.processes))
        build = ("corpus", "build", str(recipe), "--tokenizer", str(tokenizer), "-o", str(place / name))
        rows[name] = measured(*program, *build)
    rows["over the program MB"] = rows["whole"]["peak MB"] - rows["small"]["peak MB"]
    rows["share of the cap"] = rows["over the program MB"] / given.cap
    return rows


def tokenizer(given: argparse.Namespace, place: Path) -> dict[str, Any]:
    path = place / "pages.jsonl"
    write_pages(path, int(given.megabytes * 1e6))
    rows: dict[str, Any] = {"cap MB": given.cap, "corpus MB": given.megabytes, "kind": given.kind}
    rows["ours"] = measured(sys.executable, "-c", TRAIN, str(path), given.kind, str(int(given.cap * 1e6)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("corpus", "tokenizer"))
    parser.add_argument("--cap", type=int, help="MB; default 32, for a tokenizer 2000")
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--kind", choices=("bpe", "wordpiece", "unigram"), default="bpe")
    parser.add_argument("--folder", type=Path, help="where the pages are written")
    parser.add_argument("--no-save", action="store_true")
    given = parser.parse_args()
    given.cap = given.cap or (32 if given.what == "corpus" else 2000)
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        rows = (corpus if given.what == "corpus" else tokenizer)(given, Path(place))
    print(json.dumps(rows, indent=1))
    if not given.no_save:
        save(f"memory {given.what}", rows, 1)


if __name__ == "__main__":
    main()
