"""What a user does with a bad input, and the one clear error that they must get: a row for each numbered case.

The numbers are those of the project's list of bad inputs. A row builds its input in a fresh folder and gives the words
of a command, run in this process through `cli.main`, or a call of the library where no command leads there. Then comes
what must be seen: an error of the catalogue with its exit status and nothing written, records set aside and the rest
kept, or an input that is accepted whole.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from modeledge import files
from modeledge.cli import main
from modeledge.corpus.pipeline import build_corpus
from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.errors import CATALOGUE, ModeledgeError
from modeledge.records import Ledger
from modeledge.tokens import Tokenizer

WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
SHAPE = """layers = 1
attention = { heads = 2 }
feedforward = { width = 32 }
position = { kind = "learned", length = 32 }
"""
RECIPE = """[corpus]
paths = ["{texts}"]
[tokenizer]
vocab_size = 300
[model.shape]
width = 16
[model.shape.{side}]
{shape}
[objective]
kind = "{kind}"
[train]
steps = 2
batch = 2
length = 16
save_every = 1
"""


@dataclass(frozen=True)
class Ground:
    """Where a row works: `here` is its own folder, `made` has a tokenizer, a trained run and a recipe."""

    made: Path
    here: Path
    patch: pytest.MonkeyPatch
    changed: list[str] = field(default_factory=list)  # inputs that change while they are read

    @property
    def out(self) -> Path:
        return self.here / "out"

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def corpus(self, *paths: Path | str, options: tuple[str, ...] = ()) -> list[str]:
        return ["corpus", "build", *map(str, paths), "--tokenizer", str(self.made / "tokenizer"), *options, *self.to()]

    def strict(self, path: Path | str) -> list[str]:
        return self.corpus(path, options=("--on-bad-record", "error"))

    def tune(self, data: Path, *options: str, model: Path | None = None, test: Path | None = None) -> list[str]:
        more = ["--test", str(test)] if test else []
        small = ["train.batch=4", "train.length=16"]
        start = str(model or self.made / "run")
        return ["finetune", start, str(data), *small, "--epochs", "1", *more, *options, *self.to()]

    def recipe(self, *swaps: tuple[str, str], name: str = "recipe.toml") -> Path:
        text = (self.made / "recipe.toml").read_text()
        for old, new in swaps:
            assert old in text
            text = text.replace(old, new)
        return self.file(name, text)

    def pretrain(self, recipe: Path, *overrides: str) -> list[str]:
        return ["pretrain", str(recipe), *overrides, *self.to()]

    def to(self) -> list[str]:
        return ["--out", str(self.out)]


# ---- what must be seen


@dataclass(frozen=True)
class Seen:
    status: int
    output: str
    ground: Ground
    before: dict[str, bytes]

    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.ground.out / "ledger.json").read_text())
        return found


class Refused:
    """One error of the catalogue, its exit status, the essential words; the folder is left as it was."""

    def __init__(self, code: str, *words: str) -> None:
        self.code, self.words = code, words

    def check(self, seen: Seen) -> None:
        assert seen.output.count(f"{self.code}: ") == 1, seen.output
        assert seen.status == CATALOGUE[self.code].exit_status
        found = content(seen.ground.here)
        assert seen.ground.changed or found == seen.before
        assert found.keys() <= seen.before.keys()
        if self.code == "E-NO-CHECKPOINT":
            return  # each checkpoint that was passed over is said as well
        errors = [line for line in seen.output.splitlines() if re.match(r"E-[A-Z0-9-]+: ", line)]
        assert len(errors) == 1, seen.output
        for word in self.words:
            assert word in errors[0], f"{word!r} is not in {errors[0]!r}"


class Kept:
    """The command succeeds with so many records kept; others are set aside or filtered for a named reason."""

    def __init__(self, kept: int, *words: str, quarantined: str = "", filtered: str = "", count: int = 1) -> None:
        self.kept, self.words, self.count = kept, words, count
        self.quarantined, self.filtered = quarantined, filtered

    def check(self, seen: Seen) -> None:
        assert seen.status == 0, seen.output
        ledger = seen.ledger()
        assert ledger["kept"]["records"] == self.kept
        for kind, reason in (("quarantined", self.quarantined), ("filtered", self.filtered)):
            found = {name: row["records"] for name, row in ledger[kind].items()}
            assert found == ({reason: self.count} if reason else {}), kind
            assert not reason or f"{kind} {{{reason!r}: {self.count}}}" in seen.output
        for word in self.words:
            assert word in json.dumps(ledger["notes"], ensure_ascii=False), f"{word!r}: {ledger['notes']}"
            assert word in seen.output


class Done:
    """The command succeeds and says these words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def check(self, seen: Seen) -> None:
        assert seen.status == 0, seen.output
        for word in self.words:
            assert word in seen.output, f"{word!r} is not in {seen.output!r}"


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but locks; folders that hold nothing do not count."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


# ---- the rows

Does = Callable[[Ground], "list[str] | Callable[[], object]"]
ROWS: list[Any] = []


def row(case: int, name: str, does: Does, expected: Refused | Kept | Done, **more: Any) -> None:
    ROWS.append(pytest.param(does, expected, id=f"{case}-{name.replace(' ', '-')}", **more))


def line(text: Any, **more: Any) -> bytes:
    return json.dumps({"text": text, **more}, ensure_ascii=False).encode() + b"\n"


GOOD = line("the quick fox") + line("the lazy dog")


def both(case: int, name: str, code: str, bad: bytes, *words: str, at: str = "x.jsonl:3") -> None:
    """A bad line in a jsonl file: set aside in corpus mode, refused where asked to be, with its place."""
    told = GOOD + bad + (b"" if "cut" in name else b"\n") + (b"" if "cut" in name else line("it rains"))
    kept = 2 if "cut" in name else 3
    row(case, name, lambda g: g.corpus(g.file("x.jsonl", told)), Kept(kept, quarantined=code))
    row(case, f"{name} refused", lambda g: g.strict(g.file("x.jsonl", told)), Refused(code, at, *words))


both(1, "latin-1 byte", "E-UTF8", b'{"text": "caf\xe9 noir"}', "0xE9 is not UTF-8", "latin-1")
both(2, "overlong", "E-UTF8", b'{"text": "a\xc0\xafb"}', "0xC0", "overlong")
both(3, "cesu surrogate", "E-UTF8", b'{"text": "a\xed\xa0\x80b"}', "0xED", "surrogate")
row(6, "mark at the start", lambda g: g.corpus(g.file("x.jsonl", b"\xef\xbb\xbf" + GOOD)), Kept(2, "mark at the start"))
row(
    6,
    "mark inside",
    lambda g: g.corpus(g.file("x.jsonl", GOOD + line("a \ufeffmark"))),
    Kept(3, "mark inside the text, kept"),
)
both(9, "lone surrogate", "E-SURROGATE", b'{"text": "a \\ud800 b"}', "'text'")
both(10, "nul", "E-NUL", b'{"text": "a\\u0000b"}', "'text'")
row(10, "nul in a text file", lambda g: g.strict(g.file("x.txt", "the fox\n\0\n")), Refused("E-NUL", "x.txt:2"))
row(14, "empty file", lambda g: g.corpus(g.file("x.txt", "")), Refused("E-EMPTY-FILE", "x.txt"))
row(14, "empty labels", lambda g: g.tune(g.file("x.csv", "")), Refused("E-EMPTY-FILE", "x.csv"))
row(15, "blank lines", lambda g: g.corpus(g.file("x.jsonl", "\n" * 7)), Refused("E-NO-RECORDS", "x.jsonl", "7 blank"))
row(15, "header alone", lambda g: g.tune(g.file("x.csv", "text,label\n")), Refused("E-NO-RECORDS", "x.csv"))
row(16, "white space", lambda g: g.corpus(g.file("x.jsonl", GOOD + line(" \t\u2003 "))), Kept(2, filtered="empty"))
row(17, "unicode line ends", lambda g: g.corpus(g.file("x.jsonl", line("a\u2028b\u0085c\u000bd"))), Kept(1))
row(18, "cr alone", lambda g: g.corpus(g.file("x.jsonl", GOOD.replace(b"\n", b"\r"))), Kept(2, "ends lines by"))
row(
    18,
    "mixed ends",
    lambda g: g.corpus(g.file("x.jsonl", line("it rains")[:-1] + b"\r\n" + GOOD)),
    Kept(3, "ends lines by"),
)
row(
    20,
    "special tokens as text",
    lambda g: g.corpus(g.file("x.jsonl", GOOD + line("a [MASK] b <|endoftext|> c [MASK]"))),
    Kept(3, "3 × W-SPECIAL-IN-TEXT"),
)
row(21, "no final newline", lambda g: g.corpus(g.file("x.jsonl", GOOD[:-1])), Kept(2))
both(22, "line cut", "E-JSON", b'{"text": "it ra', "seems cut")
both(23, "list", "E-JSON-TYPE", b'["a", "b"]', "a list")
both(23, "number", "E-JSON-TYPE", b"17", "a number")
both(24, "two objects", "E-JSON", b'{"text": "a"} {"text": "b"}', "two objects stand on one line")
both(24, "trailing garbage", "E-JSON", b'{"text": "a"};', "something follows")
both(25, "double key", "E-DUP-KEY", b'{"text": "a", "text": "b"}', "'text'")
for word in ("NaN", "Infinity", "-Infinity", "1e400"):
    both(26, f"number {word}", "E-NOT-FINITE", f'{{"text": "a", "score": {word}}}'.encode(), "'score'")
both(27, "deep nesting", "E-JSON-DEPTH", b'{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
both(28, "long integer", "E-NUMBER", b'{"text": "a", "n": ' + b"7" * 5000 + b"}")
for value in (None, 7, ["a"]):
    both(29, f"text is {type(value).__name__}", "E-FIELD-TYPE", line(value)[:-1], "'text'")
both(30, "field absent", "E-MISSING-FIELD", b'{"txt": "a"}', "1 of 4 records", "lines 3", "'txt'")
row(
    31,
    "field absent everywhere",
    lambda g: g.corpus(g.file("x.jsonl", GOOD.replace(b'"text"', b'"txet"'))),
    Refused("E-MISSING-FIELD", "2 of 2", "'txet'", "x.jsonl:1"),
)
row(
    32,
    "pretty array as jsonl",
    lambda g: g.corpus(g.file("x.jsonl", json.dumps([{"text": "a"}, {"text": "b"}], indent=1))),
    Refused("E-FORMAT", "x.jsonl:1", "--format json"),
)
row(
    32,
    "the remedy works",
    lambda g: g.corpus(
        g.file("x.jsonl", json.dumps([{"text": "a"}, {"text": "b"}], indent=1)), options=("--format", "json")
    ),
    Kept(2),
)

# compressed
MANY = b"".join(line(f"number {n} {random.Random(n).random()}") for n in range(500))
PACKED = gzip.compress(MANY, mtime=0)
FLIPPED = PACKED[:-6] + bytes([PACKED[-6] ^ 1]) + PACKED[-5:]
row(
    33,
    "gzip cut",
    lambda g: g.corpus(g.file("x.jsonl.gz", PACKED[:-200])),
    Refused("E-GZIP-TRUNCATED", "x.jsonl.gz", "none of its records was used", "whole lines"),
)
row(34, "gzip checksum", lambda g: g.corpus(g.file("x.jsonl.gz", FLIPPED)), Refused("E-GZIP-CRC", "x.jsonl.gz"))
row(
    35,
    "gzip with a tail",
    lambda g: g.corpus(g.file("x.jsonl.gz", PACKED + b"tail")),
    Refused("E-GZIP-TRAILING", f"byte {len(PACKED):,}"),
)
row(35, "gzip with zeros", lambda g: g.corpus(g.file("x.jsonl.gz", PACKED + bytes(512))), Kept(500))
row(36, "plain named gz", lambda g: g.corpus(g.file("x.jsonl.gz", GOOD)), Refused("E-FORMAT", "first bytes"))
row(36, "gzip named jsonl", lambda g: g.corpus(g.file("x.jsonl", PACKED)), Refused("E-FORMAT", "first bytes say gzip"))
row(37, "no bytes named gz", lambda g: g.corpus(g.file("x.jsonl.gz", b"")), Refused("E-EMPTY-FILE", "x.jsonl.gz"))
row(
    37,
    "nothing packed",
    lambda g: g.corpus(g.file("x.jsonl.gz", gzip.compress(b""))),
    Refused("E-EMPTY-FILE", "unpacked"),
)

# tables
TABLE = "text,label\nthe fox,up\nthe dog,down\n"
row(
    46,
    "short row",
    lambda g: g.tune(g.file("x.csv", TABLE + "alone\n")),
    Refused("E-CSV-COLUMNS", "x.csv:4", "has 1 columns"),
)
row(
    47,
    "long row",
    lambda g: g.tune(g.file("x.csv", TABLE + "a,b,c\n")),
    Refused("E-CSV-COLUMNS", "x.csv:4", "has 3 columns"),
)
row(
    48,
    "open quote",
    lambda g: g.tune(g.file("x.csv", TABLE + '"open,up\na,up\nb,down\n')),
    Refused("E-CSV-QUOTE", "x.csv:4"),
)
row(49, "huge field", lambda g: g.corpus(g.file("x.csv", TABLE + "fox " * 50_000 + ",up\n")), Kept(3))
row(
    50,
    "other delimiter",
    lambda g: g.tune(g.file("x.csv", TABLE.replace(",", ";"))),
    Refused("E-CSV-DELIMITER", "x.csv:1", "';'"),
)

# paths
row(51, "named twice", lambda g: g.corpus(p := g.file("x.jsonl", GOOD), p), Refused("E-DUP-INPUT", "x.jsonl"))
row(
    51,
    "globs overlap",
    lambda g: g.corpus(g.file("x.jsonl", GOOD), g.here / "*.jsonl"),
    Refused("E-DUP-INPUT", "*.jsonl"),
)
row(52, "folder of labels", lambda g: g.tune(g.here), Refused("E-NOT-A-FILE", "a folder"))
row(52, "pipe", lambda g: (os.mkfifo(p := g.here / "x.jsonl"), g.corpus(p))[1], Refused("E-NOT-A-FILE", "a pipe"))
row(52, "device", lambda g: g.corpus("/dev/zero"), Refused("E-NOT-A-FILE", "a device"))
row(52, "socket", lambda g: g.corpus(bound(g)), Refused("E-NOT-A-FILE", "a socket"))
row(53, "not allowed", lambda g: (forbid(g), g.corpus(g.file("x.jsonl", GOOD)))[1], Refused("E-PERMISSION", "x.jsonl"))
row(53, "vanished", lambda g: meanwhile(g, Path.unlink), Refused("E-INPUT-CHANGED", "vanished"))
row(
    54,
    "growing",
    lambda g: meanwhile(g, lambda path: path.open("ab").write(GOOD)),
    Refused("E-INPUT-CHANGED", "x.jsonl"),
)
row(
    55,
    "double id",
    lambda g: identified(g, line("a", id=1) + line("b", id=2) + line("c", id=1)),
    Refused("E-DUP-ID", "x.jsonl:1 and", "x.jsonl:3", "'1'"),
)
row(55, "double text", lambda g: g.corpus(g.file("x.jsonl", GOOD + GOOD)), Kept(2, filtered="duplicate", count=2))


def bound(g: Ground) -> Path:
    """A socket with a short name: its path may not be longer than about 100 bytes."""
    g.patch.chdir(g.here)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("x.jsonl")
    return Path("x.jsonl")


def forbid(g: Ground) -> None:
    """The system's refusal, which root would not meet."""

    def refuse(path: Any, *more: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    g.patch.setattr("modeledge.corpus.inputs.open", refuse, raising=False)


def meanwhile(g: Ground, happens: Callable[[Path], object]) -> list[str]:
    """A command during whose reading something happens to the file."""
    from modeledge.recipes.corpora import corpus_build

    path, read = g.file("x.jsonl", line("it rains " * 100) * 1500), corpus_build.read  # more than is read at once

    def disturbed(*words: Any) -> Iterator[Any]:
        documents = read(*words)
        yield next(documents)
        happens(path)
        yield from documents

    g.patch.setattr(corpus_build, "read", disturbed)
    g.changed.append(path.name)
    return g.corpus(path)


def identified(g: Ground, content: bytes) -> Callable[[], object]:
    """No command names the field of ids: the library's own call."""
    path, ledger = g.file("x.jsonl", content), Ledger()
    documents = read_documents([path], ReadConfig(id="id"), ledger)
    return lambda: build_corpus(documents, Tokenizer.load(g.made / "tokenizer"), g.out, ledger=ledger)


# labels


def table(*labels: str, count: int = 12, start: int = 0) -> str:
    """Rows of text, labelled in turns."""
    rows = (f"number {start + n} {WORDS[n % 19]},{labels[n % len(labels)]}\n" for n in range(count))
    return "text,label\n" + "".join(rows)


def two(g: Ground, train: str, test: str, *options: str, kind: str = "csv") -> list[str]:
    return g.tune(g.file(f"train.{kind}", train), *options, test=g.file(f"test.{kind}", test))


def numbers(labels: list[Any], start: int = 0) -> str:
    return "".join(json.dumps({"text": f"text {start + n}", "label": v}) + "\n" for n, v in enumerate(labels))


FIVE = list(range(5)) * 2
PAIR = table("up", "down")
row(
    56,
    "empty label",
    lambda g: g.tune(g.file("x.csv", table("up", "", "", "down"))),
    Refused("E-LABEL-MISSING", "x.csv:", "rows have no label"),
)
row(
    56,
    "null label",
    lambda g: two(g, numbers(["a", None, "b"]), numbers(["a"], 9), kind="jsonl"),
    Refused("E-LABEL-MISSING", "train.jsonl:2"),
)
row(
    56,
    "empty test label",
    lambda g: two(g, PAIR, table("", start=50, count=1)),
    Refused("E-LABEL-MISSING", "test.csv:2"),
)
row(
    57,
    "id beyond",
    lambda g: two(g, numbers(FIVE), numbers([0, 5], 50), kind="jsonl"),
    Refused("E-LABEL-RANGE", "test.jsonl:2", "label 5", "5 classes"),
)
row(
    57,
    "id beyond in csv",
    lambda g: two(g, table(*"01234"), table("0", "5", start=50)),
    Refused("E-LABEL-RANGE", "test.csv:3", "label 5", "5 classes"),
)
row(
    58,
    "space in a test label",
    lambda g: two(g, PAIR, table("up ", start=50)),
    Refused("E-LABEL-UNKNOWN", "test.csv:2", "'up'"),
)
row(
    58,
    "case of a test label",
    lambda g: two(g, PAIR, table("Down", start=50)),
    Refused("E-LABEL-UNKNOWN", "test.csv:2", "'down'"),
)
row(
    58,
    "space in a training label",
    lambda g: two(g, table("up", "down", "up", "up "), table("up", start=50)),
    Refused("E-LABEL-UNKNOWN", "train.csv:5", "'up'"),
)
row(
    59,
    "class only tested",
    lambda g: two(g, PAIR, table("up", "sideways", start=50)),
    Refused("E-CLASS-UNSEEN", "sideways"),
)
row(
    60, "class of one row", lambda g: g.tune(g.file("x.csv", PAIR + "one,rare\n")), Refused("E-CLASS-TOO-SMALL", "rare")
)
row(61, "one class", lambda g: g.tune(g.file("x.csv", table("up"))), Refused("E-ONE-CLASS", "'up'"))
row(
    62,
    "fractions as classes",
    lambda g: g.tune(g.file("x.csv", table("0.5", "1.5")), "--task", "classification"),
    Refused("E-LABEL-TYPE", "x.csv:", "--task regression"),
)
row(
    62,
    "names as values",
    lambda g: g.tune(g.file("x.csv", PAIR), "--task", "regression"),
    Refused("E-LABEL-TYPE", "x.csv:", "--task classification"),
)
row(
    62,
    "booleans as values",
    lambda g: two(g, numbers([True, False]), numbers([True], 9), "--task", "regression", kind="jsonl"),
    Refused("E-LABEL-TYPE", "train.jsonl:1"),
)
row(
    62,
    "whole numbers as values",
    lambda g: g.tune(g.file("x.csv", table("1", "2", "3")), "--task", "regression"),
    Done("pearson"),
)
for word in ("nan", "inf"):
    row(
        64,
        f"{word} as a value",
        lambda g, w=word: g.tune(g.file("x.csv", table("0.5", w, count=20)), "--task", "regression"),
        Refused("E-NOT-FINITE", "x.csv:"),
    )
row(
    64,
    "nan found by auto",
    lambda g: g.tune(g.file("x.csv", table("0.5", "nan", count=20))),
    Refused("E-NOT-FINITE", "x.csv:"),
)
row(
    77,
    "shared rows",
    lambda g: two(g, PAIR, table("up", "down", count=3)),
    Refused("E-LEAK", "3 of 3", "allow='shared-rows'"),
)
row(78, "nothing to test on", lambda g: g.tune(g.file("x.csv", table("up", count=1))), Refused("E-EMPTY-SPLIT"))


# models, recipes, folders


def model(g: Ground) -> Path:
    return Path(shutil.copytree(g.made / "run" / "model", g.here / "model"))


def larger(g: Ground) -> Path:
    """The model beside a tokenizer of more ids."""
    folder = model(g)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())
    vocabulary["model"]["vocab"]["zzzz"] = 300
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    return folder


def pickled(g: Ground, *gone: str) -> Path:
    folder = model(g)
    for name in gone:
        (folder / name).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04}.")
    return folder


row(
    79,
    "tokenizer too large",
    lambda g: g.tune(g.file("x.csv", PAIR), model=larger(g)),
    Refused("E-VOCAB-SIZE", "301", "300"),
)
row(
    79,
    "tokenizer too large to start",
    lambda g: g.pretrain(g.recipe(), f"model.start={json.dumps(str(larger(g)))}"),
    Refused("E-VOCAB-SIZE", "301", "300"),
)


def tokenizer(g: Ground, text: str, *options: str) -> list[str]:
    return ["tokenizer", "train", str(g.file("x.txt", text)), *options, *g.to()]


row(
    82,
    "fewer ids than bytes",
    lambda g: tokenizer(g, "the fox\n", "--vocab-size", "100"),
    Refused("E-VOCAB-CONFIG", "100", "256 bytes"),
)
row(
    82,
    "frequency removes all",
    lambda g: tokenizer(g, "the fox\n", "--min-frequency", "50"),
    Refused("E-VOCAB-CONFIG", "min_frequency", "50 times"),
)
row(
    83,
    "small corpus",
    lambda g: tokenizer(g, "the fox the fox\n", "--vocab-size", "5000"),
    Done("W-VOCAB-SHORT", "of the 5,000 ids"),
)
row(
    83,
    "small corpus of a recipe",
    lambda g: g.pretrain(g.recipe(), "tokenizer.vocab_size=5000"),
    Done("W-VOCAB-SHORT", "of the 5,000 ids"),
)
row(
    84,
    "rows beyond positions",
    lambda g: g.tune(g.file("x.csv", PAIR), "train.length=33"),
    Refused("E-POSITION", "33", "32"),
)
row(
    84,
    "recipe beyond positions",
    lambda g: g.pretrain(g.recipe(), "train.length=33"),
    Refused("E-POSITION", "33", "32"),
)
row(85, "heads", lambda g: g.pretrain(g.recipe(("heads = 2", "heads = 3"))), Refused("E-CONFIG", "heads", "16", "3"))
row(
    85,
    "no such layers",
    lambda g: g.tune(g.file("x.csv", PAIR), "--strategy", "freeze:first=9"),
    Refused("E-SITE", "9"),
)
row(
    86,
    "typing mistake",
    lambda g: g.pretrain(g.recipe(("steps = 2", "learing_rate = 1e-3"))),
    Refused("E-CONFIG-KEY", "recipe.toml", "'train.learing_rate'", "'train.learning_rate'"),
)
row(
    86,
    "typing mistake in an override",
    lambda g: g.pretrain(g.recipe(), "train.stps=3"),
    Refused("E-CONFIG-KEY", "'train.steps'"),
)
for key in ("_target_", "auto_map"):
    row(
        86,
        f"key {key}",
        lambda g, k=key: g.pretrain(g.recipe(("[train]", f'[train]\n{k} = "os.system"'))),
        Refused("E-CONFIG-KEY", key, "names no code"),
    )
row(
    86,
    "unknown key of a shape",
    lambda g: g.pretrain(g.recipe(("layers = 1", "layers = 1\nlayrs = 2"))),
    Refused("E-CONFIG-KEY", "layrs"),
)
for rate, rule in (('"1e-4"', "'1e-4'"), ("-1.0", "greater than 0"), ("nan", "finite"), ("1e9", "100")):
    row(
        87,
        f"rate {rate}",
        lambda g, r=rate: g.pretrain(g.recipe(("steps = 2", f"learning_rate = {r}"))),
        Refused("E-CONFIG-VALUE", "train.learning_rate", rule),
    )
row(
    87,
    "warm-up beyond the run",
    lambda g: g.pretrain(g.recipe(), "train.warmup=100"),
    Refused("E-CONFIG-VALUE", "train.warmup"),
)
row(
    88,
    "yaml",
    lambda g: g.pretrain(g.file("x.yaml", "a: !!python/object/apply:os.system ['true']\n")),
    Refused("E-CONFIG-UNSAFE", "x.yaml"),
)
row(
    88,
    "yaml named toml",
    lambda g: g.pretrain(g.file("x.toml", "a: !!python/object/apply:os.system ['true']\n")),
    Refused("E-CONFIG-SYNTAX", "x.toml:1"),
)
row(
    88,
    "huge recipe",
    lambda g: g.pretrain(g.file("x.toml", b"#" * 2_000_000)),
    Refused("E-CONFIG-UNSAFE", "1,000,000 bytes"),
)
row(
    88,
    "key twice",
    lambda g: g.pretrain(g.recipe(("steps = 2", "steps = 2\nsteps = 3"))),
    Refused("E-CONFIG-SYNTAX", "recipe.toml:"),
)
row(
    88,
    "deep tables",
    lambda g: g.pretrain(g.file("x.toml", "a = " + "[" * 5000 + "]" * 5000)),
    Refused("E-CONFIG-SYNTAX", "x.toml"),
)
row(
    89,
    "pickle file",
    lambda g: g.tune(g.file("x.csv", PAIR), model=g.file("model.bin", b"\x80\x04}.")),
    Refused("E-UNSAFE-FORMAT", "model.bin", "run code", "sandbox"),
)
row(
    89,
    "pickle in a folder",
    lambda g: g.tune(g.file("x.csv", PAIR), model=pickled(g, "model.safetensors")),
    Refused("E-UNSAFE-FORMAT", "pytorch_model.bin", "run code"),
)
row(
    89,
    "pickle without configuration",
    lambda g: g.tune(g.file("x.csv", PAIR), model=pickled(g, "model.safetensors", "config.json")),
    Refused("E-UNSAFE-FORMAT", "pytorch_model.bin"),
)
row(
    89,
    "pickle as tokenizer",
    lambda g: [
        "corpus",
        "build",
        str(g.file("x.jsonl", GOOD)),
        "--tokenizer",
        str(g.file("t.pkl", b"\x80\x04}.")),
        *g.to(),
    ],
    Refused("E-UNSAFE-FORMAT", "t.pkl"),
)


def spoilt(g: Ground, *spoil: Callable[[Path], object]) -> list[str]:
    """A run that was cut off after its second step, its checkpoints spoilt, the newest by the first function."""
    run = Path(shutil.copytree(g.made / "run", g.out))
    shutil.rmtree(run / "model")
    for step, function in zip((2, 1), spoil, strict=False):
        function(run / "checkpoints" / f"step-{step}")
    return ["resume", str(run)]


def flip(folder: Path) -> None:
    data = bytearray((folder / "state.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "state.safetensors").write_bytes(bytes(data))


def other_step(folder: Path) -> None:
    shutil.copy(folder.parent / "step-1" / "state.safetensors", folder / "state.safetensors")


def extra_key(folder: Path, name: str = "stranger") -> None:
    """A tensor that no run wrote, `name`, under a manifest that is right."""
    path = folder / "state.safetensors"
    tensors = load_file(path)
    save_file({**tensors, name: next(iter(tensors.values()))}, path)
    manifest = json.loads((folder / files.MANIFEST).read_text())
    manifest["files"][path.name] = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
    (folder / files.MANIFEST).write_text(json.dumps(manifest))


BACK = Done("E-CHECKPOINT: ", "resumed after step 1")
row(91, "file missing", lambda g: spoilt(g, lambda f: (f / "state.safetensors").unlink()), BACK)
row(91, "manifest missing", lambda g: spoilt(g, lambda f: (f / files.MANIFEST).unlink()), BACK)
row(91, "digest wrong", lambda g: spoilt(g, flip), BACK)
row(91, "tensors of another step", lambda g: spoilt(g, other_step), BACK)
row(91, "file too many", lambda g: spoilt(g, lambda f: (f / "x").write_text("x")), BACK)
row(
    91,
    "every checkpoint bad",
    lambda g: spoilt(g, flip, flip),
    Refused("E-NO-CHECKPOINT", "no checkpoint verifies"),
)
row(91, "key too many", lambda g: spoilt(g, extra_key), Refused("E-CHECKPOINT", "stranger"))
row(91, "weight too many", lambda g: spoilt(g, lambda f: extra_key(f, "step|stranger")), Refused("E-KEYS", "stranger"))
row(
    91,
    "state too many",
    lambda g: spoilt(g, lambda f: extra_key(f, "optimizer|stranger")),
    Refused("E-RESUME", "stranger"),
)

row(
    94,
    "run not empty",
    lambda g: (g.file("out/mine.txt", "mine"), g.pretrain(g.recipe()))[1],
    Refused("E-OUTPUT", "mine.txt"),
)
row(
    94,
    "corpus not empty",
    lambda g: (g.file("out/mine.txt", "mine"), g.corpus(g.file("x.jsonl", GOOD)))[1],
    Refused("E-OUTPUT", "there already"),
)
row(
    94,
    "corpus onto its input",
    lambda g: [
        "corpus",
        "build",
        str(p := g.file("out/x.jsonl", GOOD)),
        "--tokenizer",
        str(g.made / "tokenizer"),
        "-o",
        str(p.parent),
    ],
    Refused("E-OUTPUT"),
)
row(
    94,
    "tune into the model",
    lambda g: (shutil.copytree(g.made / "run" / "model", g.out / "model"), g.tune(g.file("x.csv", PAIR), model=g.out))[
        1
    ],
    Refused("E-OUTPUT"),
)
row(
    94,
    "output is a file",
    lambda g: [*g.pretrain(g.recipe())[:-1], str(g.file("x", "mine"))],
    Refused("E-OUTPUT", "a file"),
)
row(94, "below a file", lambda g: [*g.pretrain(g.recipe())[:-1], str(g.file("x", "mine") / "out")], Refused("E-OUTPUT"))
row(94, "locked by a live run", lambda g: (lock(g), g.pretrain(g.recipe()))[1], Refused("E-OUTPUT", "another process"))
row(94, "not writable", lambda g: unwritable(g, g.pretrain(g.recipe())), Refused("E-OUTPUT", "Permission denied"))


HELD: list[int] = []  # locks, until the process ends


def lock(g: Ground) -> None:
    """Another run's lock, held until the test ends. A second handle of one process is refused as another's is."""
    import fcntl

    g.out.mkdir()
    HELD.append(handle := os.open(g.out / ".lock", os.O_RDWR | os.O_CREAT))
    fcntl.flock(handle, fcntl.LOCK_EX)


def unwritable(g: Ground, words: list[str]) -> list[str]:
    """The system's refusal, which root would not meet."""

    def refuse(*words: Any, **more: Any) -> None:
        raise PermissionError(13, "Permission denied")

    g.patch.setattr(Path, "mkdir", refuse)
    return words


# ---- the test


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a tokenizer of 300 ids, a recipe and its finished run: a decoder of one layer, two steps."""
    folder = tmp_path_factory.mktemp("made")
    lots = random.Random(0)
    lines = (" ".join(lots.choices(WORDS, k=12)) for _ in range(60))
    (folder / "texts.txt").write_text("\n".join(lines) + "\n")
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(texts=folder / "texts.txt", side="decoder", shape=SHAPE, kind="causal"))
    with pytest.MonkeyPatch.context() as patch:
        assert command(["pretrain", str(path), "--out", str(folder / "run")], patch) == 0
    shutil.copytree(folder / "run" / "tokenizer", folder / "tokenizer")
    return folder


def command(words: list[str], patch: pytest.MonkeyPatch) -> int:
    """The exit status of `modeledge words…`, in this process; an error that is not caught comes through."""
    patch.setattr("sys.argv", ["modeledge", *words])
    before = signal.getsignal(signal.SIGTERM)
    try:
        main()
    except SystemExit as left:
        return int(left.code or 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


@pytest.mark.parametrize(("does", "expected"), ROWS)
def test_a_bad_input(
    does: Does,
    expected: Refused | Kept | Done,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ground = Ground(made, tmp_path, monkeypatch)
    words, said = does(ground), ""
    before = content(tmp_path)
    if isinstance(words, list):
        status = command(words, monkeypatch)
    else:
        status = 0
        try:
            words()
        except ModeledgeError as error:
            status, said = error.exit_status, str(error)
    monkeypatch.undo()
    shown = capsys.readouterr()
    output = shown.out + shown.err + said
    assert "Traceback" not in output
    expected.check(Seen(status, output, ground, before))
