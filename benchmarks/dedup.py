"""Near duplicates end to end beside datasketch, rensa and datatrove: same shingles, bands and rows, same survivors.

    python benchmarks/dedup.py [--documents 8000] [--pairs 5] [--peers datasketch rensa datatrove] [--cpu] [--no-save]

From texts in memory to the set of documents that stay, one process and one thread each. The corpus is random words by
Zipf's law, a fifth of it with a near copy (J ≥ 0.9), nothing in between, so that all must find the same clusters; that
is asserted before a clock runs. A peer that is not installed is left out, and that is said (a folder of packages can
stand in PYTHONPATH). Shingles are 5 words, 14 bands × 8 rows. Peers use their fastest ways: datasketch
`update_batch`, rensa its batch signatures and its index, datatrove its three steps with words split at spaces (its
language tokenizers would cost it much more). Each pair is run in turns (A B B A); the ratio is the median of pairs, and
A/A, ours beside ours, is the noise. Ours sorts documents by id on disk and hashes every text as well.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from pairs import save

N, BANDS, ROWS = 5, 14, 8
Stays = frozenset[int]


def corpus(count: int, seed: int = 0) -> list[str]:
    """Texts of 100 to 900 words; every fifth is followed by a copy with two other words."""
    chance = random.Random(seed)
    words = [f"w{i:x}" for i in range(50_000)]
    weights = list(accumulate(1 / (i + 10) for i in range(len(words))))
    texts: list[str] = []
    while len(texts) < count:
        text = chance.choices(words, cum_weights=weights, k=chance.randrange(100, 900))
        texts.append(" ".join(text))
        if len(texts) % 5 == 0:
            for place in chance.sample(range(len(text)), 2 if len(text) > 300 else 1):
                text[place] = f"x{chance.randrange(10**6)}"
            texts.append(" ".join(text))
    return texts[:count]


def shingles(text: str) -> set[str]:
    """What the peers that leave it to the caller are given."""
    words = text.lower().split()
    return {" ".join(words[i : i + N]) for i in range(max(len(words) - N + 1, 1))}


class Joined:
    """Union-find for the peers that have none; the smallest number of a cluster stays."""

    def __init__(self, count: int) -> None:
        self.parents = list(range(count))

    def find(self, number: int) -> int:
        while self.parents[number] != number:
            self.parents[number] = number = self.parents[self.parents[number]]
        return number

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.find(first), self.find(second)))
        self.parents[high] = low

    def stays(self) -> Stays:
        return frozenset(n for n in range(len(self.parents)) if self.find(n) == n)


def ours(texts: list[str]) -> Stays:
    from modeledge.corpus.dedup import Dedup, deduplicated
    from modeledge.corpus.minhash import Near
    from modeledge.corpus.shingles import Shingling
    from modeledge.records import Document, Ledger

    config = Dedup(near=Near(shingling=Shingling(n=N), bands=BANDS, rows=ROWS))
    documents = (Document(text, str(number)) for number, text in enumerate(texts))
    return frozenset(int(document.id) for document in deduplicated(documents, config, ledger=Ledger()))


def datasketch(texts: list[str]) -> Stays:
    from datasketch import MinHash, MinHashLSH

    index, joined = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS)), Joined(len(texts))
    empty = MinHash(num_perm=BANDS * ROWS)
    for number, text in enumerate(texts):
        found = empty.copy()
        found.update_batch([shingle.encode() for shingle in shingles(text)])
        for other in index.query(found):
            joined.join(number, other)
        index.insert(number, found, check_duplication=False)
    return joined.stays()


def rensa(texts: list[str]) -> Stays:
    from rensa import RMinHash, RMinHashLSH

    index, joined = RMinHashLSH(0.7, BANDS * ROWS, BANDS), Joined(len(texts))
    for low in range(0, len(texts), 1000):
        sets = [list(shingles(text)) for text in texts[low : low + 1000]]
        for number, found in enumerate(RMinHash.from_token_sets(sets, BANDS * ROWS, 42), low):
            for other in index.query(found):
                joined.join(number, other)
            index.insert(number, found)
    return joined.stays()


class Spaces:
    """datatrove's word tokenizer, the fastest that can be."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def datatrove(texts: list[str]) -> Stays:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash

    minhash.load_word_tokenizer = lambda language: Spaces()
    config = minhash.MinhashConfig(n_grams=N, num_buckets=BANDS, hashes_per_bucket=ROWS)
    with tempfile.TemporaryDirectory() as room:
        sign = minhash.MinhashDedupSignature(f"{room}/signatures", config=config)
        sign.run(Document(text=text, id=str(number)) for number, text in enumerate(texts))
        for bucket in range(BANDS):
            step = minhash.MinhashDedupBuckets(f"{room}/signatures", f"{room}/buckets", config=config)
            step.run(None, bucket, BANDS)
        minhash.MinhashDedupCluster(f"{room}/buckets", f"{room}/remove", config=config).run(None, 0, 1)
        documents = (Document(text=text, id=str(number)) for number, text in enumerate(texts))
        kept = minhash.MinhashDedupFilter(f"{room}/remove").run(documents, 0, 1)
        return frozenset(int(document.id) for document in kept)


PEERS: dict[str, Callable[[list[str]], Stays]] = {"datasketch": datasketch, "rensa": rensa, "datatrove": datatrove}


def missing(peer: str) -> bool:
    """Is the package not installed?"""
    return importlib.util.find_spec(peer) is None


def seconds(way: Callable[[list[str]], Stays], texts: list[str], clock: Callable[[], float]) -> float:
    start = clock()
    way(texts)
    return clock() - start


def compare(peer: Callable[[list[str]], Stays], texts: list[str], pairs: int, clock: Any) -> dict[str, Any]:
    """Ours and theirs in turns: seconds of each, and the median ratio theirs / ours."""
    mine, theirs = [], []
    for turn in range(pairs):
        order = [(ours, mine), (peer, theirs)]
        for way, times in order if turn % 2 == 0 else order[::-1]:
            times.append(seconds(way, texts, clock))
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return {"ours": mine, "theirs": theirs, "ratio": statistics.median(ratios), "ratios": sorted(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=8_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--peers", nargs="+", choices=sorted(PEERS), default=sorted(PEERS))
    parser.add_argument("--cpu", action="store_true", help="count processor time, for a machine that others use")
    parser.add_argument("--no-save", action="store_true", help="write no benchmarks/results/DATE-dedup.json")
    words = parser.parse_args()
    logging.disable(logging.INFO)
    if not missing("loguru"):
        importlib.import_module("loguru").logger.disable("datatrove")
    texts = corpus(words.documents)
    clock = time.process_time if words.cpu else time.perf_counter
    wanted = ours(texts)
    told: dict[str, Any] = {
        "clock": "processor" if words.cpu else "wall",
        "documents": len(texts),
        "megabytes": sum(map(len, texts)) / 1e6,
        "stays": len(wanted),
        "A/A": compare(ours, texts, words.pairs, clock),
    }
    for name in words.peers:
        if missing(name):
            print(f"LEFT OUT: {name} is not installed")
            told[name] = "not installed"
            continue
        found = PEERS[name](texts)  # warm, and the same survivors
        assert found == wanted, f"{name}: {len(found - wanted)} more and {len(wanted - found)} fewer stay"
        told[name] = compare(PEERS[name], texts, words.pairs, clock)
        print(f"{name}: ours is {told[name]['ratio']:.1f} times as fast")
    rate = len(texts) / statistics.median(told["A/A"]["ours"])
    print(f"ours: {rate:,.0f} documents a second; A/A {told['A/A']['ratio']:.2f}")
    if not words.no_save:
        save("dedup", told, 1)


if __name__ == "__main__":
    main()
