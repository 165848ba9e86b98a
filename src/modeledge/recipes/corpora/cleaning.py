"""What a recipe says of a corpus as a whole: near duplicates, repeated lines, evaluation sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from modeledge.config import Settings
from modeledge.corpus.clean import Cleaning
from modeledge.corpus.decontaminate import Decontamination
from modeledge.corpus.dedup import Dedup
from modeledge.corpus.intake import ReadConfig
from modeledge.corpus.minhash import make_near
from modeledge.corpus.read import read_records
from modeledge.corpus.repeats import Repeats
from modeledge.corpus.workers import Engine
from modeledge.errors import ModeledgeError
from modeledge.records import Ledger


class NearRecipe(Settings):
    """Near duplicates by MinHash: a preset, and what differs from it. See `corpus.minhash.Near` and `Shingling`."""

    preset: Literal["fineweb", "strict"] = "fineweb"
    unit: Literal["word", "character"] | None = None
    n: int | None = Field(default=None, ge=1, le=1000)
    punctuation: bool | None = None
    bands: int | None = Field(default=None, ge=1)
    rows: int | None = Field(default=None, ge=1)
    threshold: float | None = Field(default=None, gt=0, le=1)


class RepeatsRecipe(Settings):
    """Lines, sentences or spans of them that are kept once. See `corpus.repeats.Repeats`."""

    unit: Literal["line", "sentence"] = "line"
    span: int = Field(default=1, ge=1)
    scope: Literal["document", "corpus"] = "corpus"
    shortest: int = Field(default=1, ge=1)


class AgainstRecipe(Settings):
    """Evaluation sets that must not stand in the corpus: files of texts or rows. See `corpus.decontaminate`."""

    paths: tuple[str, ...]
    n: int | None = Field(default=13, ge=1, le=1000)
    how: Literal["cut", "drop"] = "cut"
    hits: int = Field(default=1, ge=1)
    common: int | None = Field(default=10, ge=1)
    margin: int = Field(default=200, ge=0)
    shortest: int = Field(default=200, ge=0)
    pieces: int = Field(default=10, ge=1)


class DuplicateRecipe(Settings):
    """A share of the documents that stands several times, to see what that does. See `corpus.duplicate`."""

    share: float = Field(default=0.1, gt=0, le=1)
    times: int = Field(default=10, ge=2, le=10_000)
    seed: int = 0


class CleaningRecipe(Settings):
    """The keys of a corpus that look at it as a whole. `memory` is in MB.

    `engine` says who does the work: "none" is this process, "processes" are `processes` of this machine, "ray" are as
    many actors of a Ray cluster; left out, more than one process means "processes". None of it changes a byte.
    """

    deduplicate: bool = True
    keep: Literal["first", "longest", "score"] = "first"
    score: str = "score"
    near: NearRecipe | None = None
    repeats: RepeatsRecipe | None = None
    against: AgainstRecipe | None = None
    duplicate: DuplicateRecipe | None = None
    memory: int = Field(default=256, ge=1)
    engine: Engine | None = None
    processes: int = Field(default=1, ge=1)


def cleaning_of(recipe: CleaningRecipe) -> Cleaning:
    """What is done, with the evaluation sets read."""
    near = None
    if recipe.near is not None:
        changes = {k: v for k, v in recipe.near.model_dump(exclude={"preset"}).items() if v is not None}
        near = make_near(recipe.near.preset, **changes)
    against = recipe.against
    return Cleaning(
        dedup=Dedup(
            exact=recipe.deduplicate, near=near, keep=recipe.keep, score=recipe.score, memory=recipe.memory << 20
        ),
        repeats=None if recipe.repeats is None else Repeats(**recipe.repeats.model_dump()),
        decontamination=None if against is None else Decontamination(**against.model_dump(exclude={"paths"})),
        evaluation=()
        if against is None
        else tuple(zip(_names(against.paths), map(_examples, against.paths), strict=True)),
        processes=recipe.processes,
        engine=recipe.engine,
    )


def _names(paths: Sequence[str]) -> list[str]:
    """The files' own names, or, where two files have one name, their paths from the folder that holds them all."""
    names = [os.path.basename(path) for path in paths]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    return [Path(os.path.relpath(path, root)).as_posix() for path in paths]


def _examples(path: str) -> tuple[str, ...]:
    """The texts of an evaluation set: of each record all strings, joined, as a model would be shown them."""
    config = ReadConfig(split="line" if Path(path).suffix == ".txt" else "file")
    texts = [" ".join(_strings(record.fields)) for record in read_records([path], config, Ledger())]
    if not any(texts):
        raise ModeledgeError("E-NO-RECORDS", "the evaluation set holds no text", where=path)
    return tuple(texts)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for item in inner for text in _strings(item)]
