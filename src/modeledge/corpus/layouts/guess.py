"""Which layout a path has: by the names of files, the columns of a table, the keys of the first record.

A guess is made to be said aloud ("read as SST-2 because …; pass a layout to say otherwise"), so it is made only where
one layout fits better than all others. Columns that anyone might use (text, label, sentence1) prove nothing by
themselves: then the benchmark's name must stand in the path as well.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeledge.corpus.inputs import COMPRESSIONS
from modeledge.corpus.layouts.layout import Layout
from modeledge.corpus.layouts.opened import start_of
from modeledge.corpus.layouts.parallel import has_sister
from modeledge.corpus.layouts.read import find_split, splits_in
from modeledge.errors import ModeledgeError
from modeledge.strictjson import Flaw, parse_at

_TEXTS = ("text", "sentence", "sentence1", "sentence2", "premise", "hypothesis", "title", "question", "context")
ANYONES = frozenset({*_TEXTS, "index", "id", "idx", "label", "answer"})

ENDINGS = {"conllu": "conllu", "conll": "columns"}  # of formats that nothing else is called by


@dataclass(frozen=True)
class Look:
    """What a glance at a file shows: its path's words, its beginning, the first record's columns and their values."""

    words: frozenset[str]
    start: str
    form: str
    row: Mapping[str, Any] = field(default_factory=dict)
    sister: bool = False


def guess_among(path: Path, layouts: Mapping[str, Layout]) -> str | None:
    """The one layout that fits a file or folder best; None where none does, or two do equally well.

    A file that none fits, or several do, is what its ending says, where that is the name of a format: whoever reads it
    then names the line that is wrong.

    Raises `E-NO-FILE` and its kin for a path that cannot be read.
    """
    scores: dict[str, tuple[int, ...]] = {}
    seen: dict[Path, Look] = {}
    for name, layout in layouts.items():
        file, named = path, 0
        if path.is_dir():
            here = splits_in(layout, path)
            if not here:
                continue
            file, named = find_split(layout, path, here[0])[0], len(here)
        try:
            look = seen.setdefault(file, glance(file)) if file not in seen else seen[file]
        except ModeledgeError:
            if not path.is_dir():
                raise
            continue
        if (score := fits(layout, look)) is not None:
            scores[name] = (*score, named)
    best = max(scores.values(), default=())
    winners = [name for name, score in scores.items() if score == best]
    told = ENDINGS.get(uncompressed(path).rpartition(".")[2].lower())
    if len(winners) != 1 and told in layouts and path.is_file():
        return told
    return winners[0] if len(winners) == 1 else None


def fits(layout: Layout, look: Look) -> tuple[int, ...] | None:
    """How well: is its name in the path, how many of its marks are there, was its beginning looked at. None: not."""
    if layout.form != look.form and not (layout.form == "json" and look.form == "jsonl"):
        plain = ("lines", "columns", "csv", "tsv")
        if not (layout.form in plain and look.form in plain and not layout.marks):
            return None
    found = look.row if layout.form != "json" else {m: None for m in layout.marks if f'"{m}"' in look.start}
    named = bool(look.words & set(layout.words))
    marks = layout.marks - {layout.roles.get("label", "")} if named and layout.unlabelled else layout.marks
    if not marks <= found.keys() or (layout.suits is not None and not layout.suits(look.start)):
        return None
    label = found.get(layout.roles.get("label", ""))
    known = ("-", *map(str.lower, layout.labels))
    if layout.labels and isinstance(label, str | int) and str(label).lower() not in known:
        return None
    proof = bool(layout.marks - ANYONES) or (layout.suits is not None) or (layout.name == "parallel" and look.sister)
    if not (named or proof) or (layout.name in ("parallel", "multi30k") and not look.sister):
        return None
    return int(named), len(layout.marks), int(layout.suits is not None)


def glance(path: Path) -> Look:
    """A file's beginning, and what its first record has."""
    start = start_of(path)
    words = path_words(path)
    sister = has_sister(path)
    head = start.lstrip()[:1]
    if head in ("{", "["):
        row = _first_object(start)
        return Look(words, start, "jsonl" if row else "json", row, sister)
    lines = start.split("\n", 2)
    first, second = lines[0].rstrip("\r"), lines[1].rstrip("\r") if len(lines) > 1 else ""
    if sister:
        return Look(words, start, "lines", sister=True)
    if "\t" in first:
        return Look(words, start, "tsv", dict(zip(first.split("\t"), second.split("\t"), strict=False)))
    if uncompressed(path).endswith(".csv"):
        header, *below = [*csv.reader([first, second])]
        return Look(words, start, "csv", dict(zip(header, below[0] if below else (), strict=False)))
    return Look(words, start, "lines")


def uncompressed(path: Path) -> str:
    """A file's name without the ending of its compression."""
    return path.name.removesuffix(path.suffix) if path.suffix in COMPRESSIONS else path.name


def _first_object(start: str) -> dict[str, Any]:
    """The first object of JSON lines or of an array, with the keys inside it as `a.b`, and lists as `a[]`."""
    at = len(start) - len(start.lstrip(" \t\r\n["))
    try:
        value, _ = parse_at(start, at)
    except Flaw:
        return {}
    if not isinstance(value, dict):
        return {}
    row = dict(value)
    for key, part in value.items():
        if isinstance(part, dict):
            row |= {f"{key}.{inner}": None for inner in part}
        elif isinstance(part, list):
            row[f"{key}[]"] = None
    return row


def path_words(path: Path) -> frozenset[str]:
    """The words of a file's name and of the two folders above it, and each name run together: `STS-B` is "stsb"."""
    words: set[str] = set()
    for part in path.absolute().parts[-3:]:
        low = part.lower()
        words |= {word for word in re.split(r"[^a-z0-9]+", low) if word}
        words |= {re.sub(r"[^a-z0-9]", "", low), re.sub(r"[^a-z0-9]", "", low.split(".")[0])}
    return frozenset(words)
