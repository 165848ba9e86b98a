"""Text in two languages: two plain files that go together line by line (WMT, OPUS in Moses form), or one tsv.

The two files are one table whose columns stand in different files, so nothing tells when a line is lost: from there on
each sentence is paired with a stranger. Line counts must therefore be equal, blank lines counted; a pair with an empty
side is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType

from modeledge.corpus.inputs import COMPRESSIONS
from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.layout import Asked, Convert, Drop, Layout, Row, Tally, each, files
from modeledge.corpus.layouts.opened import opened, table
from modeledge.corpus.layouts.template import Template
from modeledge.corpus.plain import every_line
from modeledge.errors import ModeledgeError, printable


def open_pair(asked: Asked) -> Iterator[Record]:
    """A record a pair of lines, with `source` and `target`; counts both sides' bytes.

    Raises `E-LENGTH-MISMATCH` where one file has more lines, `E-NO-FILE` where the other side is not to be found.
    """
    for left, right in sides(asked):
        (one, take), (other, give) = opened(left, "txt", asked.ledger), opened(right, "txt", asked.ledger)
        lines = zip_longest(every_line(one, take), every_line(other, give))
        for number, (a, b) in enumerate(lines, start=1):
            if a is None or b is None:
                counts = number - 1 + sum(1 for _ in lines) + 1
                short, long = (one.name, other.name) if a is None else (other.name, one.name)
                what = f"the file has {number - 1:,} lines, and {long} has {counts:,}"
                why = "from some line on each sentence would be paired with a stranger"
                raise ModeledgeError("E-LENGTH-MISMATCH", what, where=short, why=why, remedy="fetch both again")
            asked.ledger.read.add(1, a.bytes + b.bytes)
            yield Record({"source": a.fields["text"], "target": b.fields["text"]}, a.where, a.bytes + b.bytes)
        take.write_notes()
        give.write_notes()


def sides(asked: Asked) -> list[tuple[Path, Path]]:
    """The pairs of files: two that were named, or one and its sister that differs in the language alone."""
    if len(asked.paths) == 2:
        return [(asked.paths[0], asked.paths[1])]
    if len(asked.paths) != 1:
        what = f"two files go together, not {len(asked.paths)}: {', '.join(printable(str(p)) for p in asked.paths)}"
        remedy = "name the file of the source side, or both"
        raise ModeledgeError("E-USAGE", what, where=printable(str(asked.paths[0].parent)), remedy=remedy)
    path = asked.paths[0]
    stem, others = parted(path.name)[0], sisters(path)
    if len(others) != 1:
        found = ", ".join(printable(other.name) for other in others) or "none"
        what = f"the other side should be one file {printable(stem)}.xx beside it; found {found}"
        raise ModeledgeError("E-NO-FILE", what, where=printable(str(path)), remedy="name both files")
    return [(path, others[0])]


def sisters(path: Path) -> list[Path]:
    """The files beside this one whose names differ in the language alone."""
    stem, language = parted(path.name)
    found = [(parted(other.name), other) for other in sorted(path.parent.glob("*"))]
    return [other for (name, word), other in found if name == stem and word != language and _is_language(word)]


def has_sister(path: Path) -> bool:
    """Is this one side of parallel text?"""
    return _is_language(parted(path.name)[1]) and bool(sisters(path))


def parted(name: str) -> tuple[str, str]:
    """The name of a file without its language, and the language: `train.en.gz` → ("train", "en")."""
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    stem, _, language = name.rpartition(".")
    return stem, language


def _is_language(word: str) -> bool:
    head = word.replace("-", "_").partition("_")[0]
    return (
        2 <= len(head) <= 3
        and head.isascii()
        and head.isalpha()
        and head.islower()
        and word not in ("txt", "tsv", "csv")
    )


def _pair(row: Row, tally: Tally) -> Row | Drop:
    empty = [name for name in ("source", "target") if not row[name].strip()]
    return Drop(f"the {' and the '.join(empty)} is empty") if empty else row


def open_either(asked: Asked) -> Iterator[Record]:
    """As `open_pair`; of a folder's two files of a split the first by name is the source, which is said."""
    if not asked.whole and len(asked.paths) == 2:
        first, second = asked.paths
        turn = f"name the file of the other side ({printable(second.name)}) to turn them round"
        asked.ledger.notes.append(f"{printable(str(first))}: taken as the source of {printable(second.name)}; {turn}")
    yield from open_pair(asked)


_TEMPLATE = Template("Source: {source}\nTranslation:")
_ROLES = MappingProxyType({"source": "source", "target": "target"})
_PAIRS: Convert = each(_pair)
_LANGUAGE = "[a-z][a-z]"

PARALLEL = Layout(
    name="parallel",
    task="write",
    roles=_ROLES,
    metrics=("bleu", "chrf"),
    template=_TEMPLATE,
    open=open_either,
    convert=_PAIRS,
    files={
        "train": ((f"train.{_LANGUAGE}",), (f"*.{_LANGUAGE}",)),
        "dev": ((f"dev.{_LANGUAGE}",), (f"val.{_LANGUAGE}",), (f"valid.{_LANGUAGE}",)),
        "test": ((f"test.{_LANGUAGE}",),),
    },
    form="lines",
)
PARALLEL_TSV = Layout(
    name="parallel_tsv",
    task="write",
    roles=_ROLES,
    metrics=("bleu", "chrf"),
    template=_TEMPLATE,
    open=table("tsv", columns=("source", "target")),
    convert=_PAIRS,
    files=files({"train": "train", "dev": ("dev", "valid"), "test": "test"}, suffix=".tsv"),
    form="tsv",
    words=("opus", "wmt", "parallel", "bitext", "tatoeba"),
)
MULTI30K = Layout(
    name="multi30k",
    task="write",
    roles=_ROLES,
    metrics=("bleu", "chrf"),
    template=Template("English: {source}\nGerman:"),
    open=open_pair,
    convert=_PAIRS,
    files={
        "train": (("train.en", "train.de"),),
        "dev": (("val.en", "val.de"),),
        "test": (("test_2016_flickr.en", "test_2016_flickr.de"), ("test.en", "test.de")),
    },
    form="lines",
    words=("multi30k",),
)
PARALLELS = (PARALLEL, PARALLEL_TSV, MULTI30K)
