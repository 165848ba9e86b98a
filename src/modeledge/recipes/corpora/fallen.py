"""`modeledge corpus inspect` and `corpus search`: reading what a corpus dropped, and what stands in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.corpus.dropped import DROPPED
from modeledge.corpus.pipeline import LEDGER
from modeledge.corpus.search import Found, search
from modeledge.corpus.written import DOCUMENTS
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.corpora.mixed import SOURCES, joined_ledger
from modeledge.recipes.corpora.source import QUARANTINE, read
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.recipes.pretraining.continued import REPLAY
from modeledge.records import Document, Ledger

LINES = ("filtered", "quarantined", "cut", "rewritten")


@dataclass(frozen=True)
class Sample:
    """Something that fell out: where it was, why, and its beginning."""

    where: str
    reason: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Inspection:
    """A corpus's ledger (of its folder's `ledger.json`), and samples of what fell by reason."""

    ledger: dict[str, Any]
    samples: dict[str, list[Sample]]


def inspect_corpus(folder: Path, reason: str | None = None, limit: int = 3) -> Inspection:
    """At most `limit` samples of each reason (or of one, or of those that begin with it and a dot), read line by line.

    `folder` is what `corpus build` or `corpus dedup` wrote, or a run that has such a folder within. Raises
    `E-RUN-FOLDER` for another folder, `E-USAGE` for a reason for which nothing fell.
    """
    place = next((p for p in (folder, folder / "corpus") if (p / LEDGER).is_file()), None)
    if place is None:
        what, remedy = f"no {LEDGER} is there", "name a folder that `corpus build` or `corpus dedup` wrote"
        raise ModeledgeError("E-RUN-FOLDER", what, where=str(folder), remedy=remedy)
    ledger = files.read_json(place / LEDGER)
    if ledger.keys() == {"corpus", REPLAY}:
        ledger = ledger["corpus"]
    elif "read" not in ledger:  # of a run with a mixture: a ledger for each source
        ledger = joined_ledger(ledger).as_dict()
    known = [name for line in LINES for name in ledger.get(line, {})]
    if reason is not None and not any(_asked(name, reason) for name in known):
        raise ModeledgeError("E-USAGE", f"nothing fell for the reason {reason!r}", remedy=nearest(reason, known))
    samples: dict[str, list[Sample]] = {}
    inside = sorted((place / SOURCES).glob(f"*/{LEDGER}"))  # of a mixture
    places = [place, *(path.parent for path in inside)]
    for sample in (
        *(sample for one in places for sample in (*_dropped(one / DROPPED), *_aside(one / QUARANTINE))),
        *_aside(folder / QUARANTINE, place != folder),
    ):
        held = samples.setdefault(sample.reason, [])
        if (reason is None or _asked(sample.reason, reason)) and len(held) < limit:
            held.append(sample)
    return Inspection(ledger, {name: held for name, held in sorted(samples.items()) if held})


def _asked(name: str, reason: str) -> bool:
    return name == reason or name.startswith(f"{reason}.")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                assert isinstance(row, dict)
                assert isinstance(row["reason"], str)
                yield row
            except (ValueError, KeyError, AssertionError) as error:
                raise ModeledgeError(
                    "E-RUN-FOLDER", "the line is not what we wrote", where=f"{path}:{number}"
                ) from error


def _dropped(path: Path) -> Iterator[Sample]:
    for row in _rows(path):
        note = f"{row.get('stays')} stands for it" if row.get("stays") else ""
        yield Sample(str(row.get("where") or row.get("id")), row["reason"], str(row.get("text", ""))[:2000], note)


def _aside(path: Path, wanted: bool = True) -> Iterator[Sample]:
    for row in _rows(path) if wanted else ():
        raw = bytes.fromhex(str(row.get("raw", ""))[:4000])
        yield Sample(
            str(row.get("where")), row["reason"], raw.decode("utf-8", "backslashreplace"), str(row.get("message", ""))
        )


def search_corpus(
    pattern: str, corpus: CorpusRecipe, ledger: Ledger, *, limit: int = 10, context: int = 80, seconds: float = 1.0
) -> Found:
    """Look for a pattern in the files of a recipe, or in the `documents.jsonl` of a folder of `corpus dedup`."""
    paths = tuple(_texts_of(path) for path in corpus.paths)
    documents: Iterator[Document] = read(corpus.model_copy(update={"paths": paths}), ledger)
    return search(pattern, documents, limit=limit, context=context, seconds=seconds)


def _texts_of(path: str) -> str:
    """The documents of a folder that we wrote; any other path as it is. Token shards have no text (`E-USAGE`)."""
    folder = Path(path)
    if (folder / DOCUMENTS).is_file() and (folder / LEDGER).is_file():
        if any(folder.glob("tokens-*.bin")):
            what = "these are token shards, which hold no text"
            raise ModeledgeError("E-USAGE", what, where=path, remedy="name the files that they were built from")
        return str(folder / DOCUMENTS)
    return path
