"""Damage files and read them: no crash, no hang, nothing lost.

    python benchmarks/fuzz.py [--count 10000] [--seed 0] [--first 0] [--limit 5] [--out FILE]

Each input is a function of (seed, number) alone: one of a few small good files (jsonl, json, csv, tsv, txt, Parquet,
and what gzip and Zstandard make of them) with one to eight bytes flipped, cut, put in, doubled, removed or taken from
another file. It is read as records and as documents, in every way to treat bad records, and now and then built into a
corpus. What is asked: it ends within `limit` seconds; it ends with records or with a `ModeledgeError` that has a
place and a remedy; what was read is what was handed on and what was set aside, in records and in bytes; every text
can be written. Children do the work, so that a crash of the process itself is a finding with a number too.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import json
import multiprocessing as mp
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modeledge.corpus.asked import Build
from modeledge.corpus.filter import make_filters, size
from modeledge.corpus.intake import Quarantined, ReadConfig
from modeledge.corpus.pipeline import build_corpus, run_pipeline
from modeledge.corpus.read import read_documents, read_records
from modeledge.errors import ModeledgeError
from modeledge.records import IntArray, Ledger

STEP = 250  # inputs that one child reads
MEMORY = 8 << 30  # bytes of address space that a child may have
SPICE = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xfe\xff",
    b"\xed\xa0\x80",
    b"\r",
    b"\n\n",
    b'"',
    b"\\ud800",
    b"\\u0000",
    b"{",
    b"[" * 300,
    b"}",
    b",",
    b";",
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b'"text":',
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"PAR1",
    b"\xe9",
    "\u2028".encode(),
    b"x" * 3000,
)


# ---- what is damaged


def rows(count: int = 12) -> list[dict[str, Any]]:
    """Rows of text in several scripts, with a number and a nested value."""
    words = ["fox", "naïve", "größer", "слово", "言葉", "🦊", "zero\u200dwidth", "a\tb", '"quoted"', "it's", ";|"]
    chance = random.Random(1)
    return [
        {"text": " ".join(chance.choices(words, k=6)) + f" {n}", "id": f"r{n}", "n": n, "meta": {"k": [n, n]}}
        for n in range(count)
    ]


def _table(delimiter: str) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    if delimiter == "\t":
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(["text", "id", "n"])
    writer.writerows([row["text"].replace("\t", " "), row["id"], row["n"]] for row in rows())
    return file.getvalue().encode()


def _parquet(**options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows())
    kinds = pa.array([f"k{n % 2}" for n in range(len(table))]).dictionary_encode()
    pq.write_table(table.append_column("kind", kinds), sink, row_group_size=5, **options)
    return bytes(sink.getvalue())


def zstd(content: bytes) -> bytes:
    """A Zstandard file."""
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": lambda b: gzip.compress(b, mtime=0), "zst": zstd}


@cache
def good() -> dict[str, bytes]:
    """The good files, by name."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()).encode()
    text = "\n\n".join(f"{row['text']}\n{row['text']}" for row in rows()).encode()
    plain = {
        "a.jsonl": lines,
        "a.json": json.dumps(rows(), indent=1).encode(),
        "a.csv": _table(","),
        "a.tsv": _table("\t"),
        "a.txt": text,
        "crlf.jsonl": lines.replace(b"\n", b"\r\n"),
    }
    packed = {f"{n}.{end}": pack(plain[n]) for n in ("a.jsonl", "a.csv", "a.txt") for end, pack in PACKERS.items()}
    tables = {"snappy.parquet": _parquet(), "plain.parquet": _parquet(compression="none", use_dictionary=False)}
    return {**plain, **packed, **tables, "zstd.parquet": _parquet(compression="zstd")}


def damaged(seed: int, number: int) -> tuple[str, bytes]:
    """The name and the bytes of one input."""
    chance = random.Random(f"{seed} {number}")
    name = chance.choice(sorted(good()))
    content, _, end = good()[name], *name.rpartition(".")[1:]
    inside = end in PACKERS and chance.random() < 0.4  # the damage is done before it is packed
    if inside:
        content = good()[name.removesuffix(f".{end}")]
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        content = _hurt(content, chance)
    return name, PACKERS[end](content) if inside else content


def _hurt(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    to = min(len(content), at + chance.choice((1, 2, 7, 40, 300, 4000)))
    match chance.randrange(7):
        case 0:  # flip a bit
            at = min(at, len(content) - 1)
            return (
                content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :] if content else b""
            )
        case 1:  # cut
            return content[:at]
        case 2:  # put something in
            return content[:at] + chance.choice(SPICE) + content[at:]
        case 3:  # random bytes
            return content[:at] + chance.randbytes(to - at) + content[to:]
        case 4:  # double
            return content[:to] + content[at:to] * chance.choice((1, 1, 20)) + content[to:]
        case 5:  # remove
            return content[:at] + content[to:]
        case _:  # a piece of another file
            other = good()[chance.choice(sorted(good()))]
            start = chance.randrange(len(other))
            return content[:at] + other[start : start + to - at + 1] + content[to:]


# ---- what is asked of it


class Hang(BaseException):
    """An input took longer than its limit."""


@dataclass
class Bytes:
    """The smallest tokenizer: an id a byte."""

    vocab_size: int = 257
    fingerprint: str = "bytes"

    @property
    def specials(self) -> Any:
        return self

    @property
    def eos(self) -> int:
        return 256

    def encode_batch(self, texts: Any) -> list[IntArray]:
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int64) for text in texts]

    def encode_spans_batch(self, texts: Any) -> Any:
        raise NotImplementedError


def ways(seed: int, number: int) -> ReadConfig:
    """How an input is read: small caps, so that they are met."""
    chance = random.Random(f"{seed} {number} way")
    return ReadConfig(
        on_bad_record=chance.choice(("error", "quarantine", "quarantine", "skip")),
        bad_limit=chance.choice((0.001, 1.0)),
        split=chance.choice(("file", "paragraph", "line")),
        id=chance.choice((None, None, "id")),
        max_record_bytes=chance.choice((2_000, 100_000_000)),
        allow_partial=chance.random() < 0.3,
        encoding=chance.choice(("utf-8", "utf-8", "utf-8", "latin-1", "utf-16")),
    )


def examine(path: Path, config: ReadConfig, *, build: bool = False) -> str:
    """What became of one file: "read", or the code of its error. Raises `AssertionError` where a promise is broken."""
    codes = [_records(path, config), _documents(path, config)]
    if build:
        with tempfile.TemporaryDirectory() as folder:
            _told(lambda: _build(path, config, Path(folder) / "out"))
    return codes[1]


def _told(does: Callable[[], object]) -> str:
    """The code of the error that ends it, which must say where, what and what to do; "read" where there is none."""
    try:
        does()
    except ModeledgeError as error:
        found = error
    else:
        return "read"
    assert all((found.where, found.what, found.remedy)), f"{found} has no place or no remedy"
    assert len(str(found)) < 3000, f"a message of {len(str(found)):,} characters"
    assert str(found).isprintable(), f"{str(found)!r} would reach a terminal"
    return found.code


def _records(path: Path, config: ReadConfig) -> str:
    ledger, aside, handed = Ledger(), [], [0, 0]

    def read() -> None:
        for record in read_records([path], config, ledger, aside.append):
            handed[0] += 1
            handed[1] += record.bytes
            assert record.where.startswith(str(path)), record.where

    code = _told(read)
    _conserved(ledger, aside, *handed, config)
    packed = path.suffix in (".gz", ".zst", ".parquet") or config.encoding == "utf-16"
    assert packed or ledger.read.bytes <= path.stat().st_size, f"{ledger.read} of {path.stat().st_size} bytes"
    return code


def _documents(path: Path, config: ReadConfig) -> str:
    ledger, aside, handed = Ledger(), [], [0, 0]

    def read() -> None:
        for document in read_documents([path], config, ledger, aside.append):
            handed[0] += 1
            handed[1] += size(document)
            assert "\0" not in document.text
            document.text.encode()

    code = _told(read)
    _conserved(ledger, aside, *handed, config)
    again = Ledger()

    def filtered() -> None:
        for _ in run_pipeline(read_documents([path], config, again), make_filters({"empty": True}), ledger=again):
            pass

    assert _told(filtered) == code, "the same file ended in another way"
    assert again.balanced(), again.as_dict()
    return code


def _conserved(ledger: Ledger, aside: list[Quarantined], records: int, bytes: int, config: ReadConfig) -> None:
    """Read = handed on + set aside, also where an error ended it."""
    out = list(ledger.quarantined.values())
    assert ledger.read.records == records + sum(c.records for c in out), (ledger.as_dict(), records)
    assert ledger.read.bytes == bytes + sum(c.bytes for c in out), (ledger.as_dict(), bytes)
    if config.on_bad_record == "quarantine":
        assert Counter(q.reason for q in aside) == {k: c.records for k, c in ledger.quarantined.items()}


def _build(path: Path, config: ReadConfig, out: Path) -> None:
    ledger = Ledger()
    try:
        documents = read_documents([path], config, ledger)
        shards = build_corpus(documents, Bytes(), out, config=Build(), ledger=ledger)
        assert ledger.balanced()
        assert len(shards) == ledger.kept.tokens
    except ModeledgeError:
        if list(out.parent.iterdir()):
            raise AssertionError("a refused build left something") from None
        raise


# ---- the run


@dataclass
class Findings:
    """What was seen: how inputs ended, and those that broke a promise."""

    ends: Counter[str] = field(default_factory=Counter)
    broken: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, other: Findings) -> None:
        self.ends += other.ends
        self.broken += other.broken
        self.slowest = max(self.slowest, other.slowest)


def fuzz(
    seed: int, numbers: range, folder: Path, limit: float = 5.0, told: Callable[[int], None] | None = None
) -> Findings:
    """Read these inputs in this process."""
    found = Findings()

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for number in numbers:
            if told is not None:
                told(number)
            name, content = damaged(seed, number)
            path = folder / name
            path.write_bytes(content)
            started = time.perf_counter()
            try:
                signal.setitimer(signal.ITIMER_REAL, limit)
                end = examine(path, ways(seed, number), build=number % 25 == 0)
            except (Exception, Hang) as error:
                end = f"broken: {type(error).__name__}"
                words = traceback.format_exc(limit=-3)
                found.broken.append({"number": number, "name": name, "error": repr(error)[:300], "at": words[-1200:]})
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            found.ends[end] += 1
            found.slowest = max(found.slowest, time.perf_counter() - started)
            path.unlink()
    finally:
        signal.signal(signal.SIGALRM, before)
    return found


def _child(seed: int, numbers: range, limit: float, at: Any, pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        pipe.send(fuzz(seed, numbers, Path(folder), limit, lambda number: setattr(at, "value", number)))


def apart(seed: int, numbers: range, limit: float) -> Findings:
    """Read these inputs in children, one after another; the input that kills its child is a finding."""
    found, first = Findings(), numbers.start
    context = mp.get_context("fork")
    while first < numbers.stop:
        at, (receive, send) = context.Value("q", first), context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(seed, range(first, numbers.stop), limit, at, send))
        child.start()
        send.close()
        with contextlib.suppress(EOFError):
            if receive.poll(limit * len(numbers) + 60):
                found.add(receive.recv())
        child.join(10)
        if child.exitcode == 0:
            break
        child.kill()
        found.ends["broken: crash"] += 1
        found.broken.append({"number": at.value, "name": damaged(seed, at.value)[0], "error": f"exit {child.exitcode}"})
        if at.value > first:  # what the child had seen before it died
            found.add(apart(seed, range(first, at.value), limit))
        first = at.value + 1
    return found


def steps(first: int, count: int) -> Iterator[range]:
    """The numbers in pieces of `STEP`."""
    for start in range(first, first + count, STEP):
        yield range(start, min(start + STEP, first + count))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--limit", type=float, default=5.0, help="seconds for one input")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found, started = Findings(), time.perf_counter()
    for numbers in steps(asked.first, asked.count):
        found.add(apart(asked.seed, numbers, asked.limit))
        print(f"{numbers.stop - asked.first:,} inputs, {len(found.broken)} broken", file=sys.stderr, flush=True)
    for row in found.broken:
        print(json.dumps(row))
    told = {
        "inputs": asked.count,
        "seed": asked.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "slowest_s": round(found.slowest, 3),
        "ends": dict(found.ends.most_common()),
        "broken": len(found.broken),
    }
    print(json.dumps(told, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(bool(found.broken))


if __name__ == "__main__":
    main()
