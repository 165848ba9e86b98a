"""Rows for a model that is finished: values in memory, a table, or a benchmark's own files, as a run reads them.

A model knows its columns, a benchmark's layout what its own mean. Where the layout has every role that the task reads,
its columns are handed over under the model's names: a model of a plain csv answers GLUE's folder, and the reverse.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from modeledge.corpus.inputs import COMPRESSIONS
from modeledge.corpus.layouts import LAYOUTS, guess_layout, splits_in
from modeledge.corpus.layouts.layout import Layout
from modeledge.corpus.layouts.read import layout_named
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.tuning.benchmark import LEARNED, MARKED, ORDINARY, how_known, local, plain_roles, read_said
from modeledge.recipes.tuning.rows import located
from modeledge.tasks import Task

Say = Callable[[str], None]


@dataclass(frozen=True)
class Laid:
    """How the files of data are laid out and which split is read; `None`: as they look, and the split to be marked on.
    `layout = "plain"` is a table."""

    layout: str | None = None
    split: str | None = None


GUESSED = Laid()


def asked_rows(data: Any, task: Task, laid: Laid, say: Say, *, labelled: bool) -> list[dict[str, Any]]:
    """Rows with the columns that the task reads (without `labelled`, not the one that is learned), and `__where__`.

    Raises `E-USAGE` for a layout that lacks what the task reads and for a layout of values in memory, and what
    `read_layout` and `read_table` raise.
    """
    roles = {role: column for role, column in task.columns.items() if labelled or role != task.target}
    if not isinstance(data, str | os.PathLike):
        if laid != GUESSED:
            raise ModeledgeError("E-USAGE", "rows in memory have no layout", remedy="leave layout and split out")
        return located(data, task.reads(roles))
    place = local(os.fspath(data))
    layout = layout_for(place, task, roles, laid, say)
    if layout is None:
        return located(place, task.reads(roles))
    rows = first_that_reads(layout, place, splits_for(layout, place, laid.split, labelled=labelled), say)
    return [renamed(row, {layout.roles[role]: column for role, column in roles.items()}) for row in rows]


def layout_for(place: Path, task: Task, roles: Mapping[str, str], laid: Laid, say: Say) -> Layout | None:
    """The layout of the files, asked for or guessed, which is said; `None` for a plain table."""
    name = laid.layout or guess_layout(place)
    if name is None or name == ORDINARY:
        if laid.split is not None:
            remedy = "name the file itself, or the layout"
            raise ModeledgeError("E-USAGE", "a plain table has no splits", where="split", remedy=remedy)
        return None
    layout = layout_named(name, LAYOUTS)
    several = [role for role, column in roles.items() if task.reads({role: column}) != [column]]
    lacking = [role for role in roles if role not in layout.roles or role in several]
    if lacking:
        what = f"the layout {name!r} has no {lacking[0]!r}, which the task {task.kind!r} reads"
        if laid.layout or place.is_dir():
            raise ModeledgeError("E-USAGE", what, where=str(place), remedy="name a file with the task's columns")
        say(f"data: {what}: read as a plain table")
        return None
    say(f"data: read as {name} ({how_known(laid.layout)}): {plain_roles({role: layout.roles[role] for role in roles})}")
    return layout


def splits_for(layout: Layout, place: Path, split: str | None, *, labelled: bool) -> Iterator[str]:
    """The splits to try: the one that is asked for; of a folder the one to be marked on; of a file the one of its name.

    Where labels are not needed a file is tried as one without them too. Raises `E-CONFIG-VALUE`, `E-NO-FILE`.
    """
    if split is not None:
        if split not in layout.files:
            what = f"layout {layout.name!r} has no split {split!r}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="split", remedy=nearest(split, layout.files))
        yield split
        return
    bare = [name for name in layout.files if name in layout.unlabelled]
    if place.is_dir():
        here = splits_in(layout, place)
        first = [s for s in (*MARKED, *LEARNED, *here) if s in here and s not in bare]
        usable = first or ([] if labelled else here)
        if not usable:
            known = ", ".join(here) or "none"
            what = f"there is no split of {layout.name!r} with labels"
            raise ModeledgeError("E-NO-FILE", what, where=str(place), why=f"splits here: {known}")
        yield usable[0]
        return
    named = [s for s, ways in layout.files.items() if any(is_called(place, name) for way in ways for name in way)]
    told = [s for s in named if not (labelled and s in bare)]
    yield from dict.fromkeys([*told[:1], *(["train"] if not told else []), *([] if labelled else bare[:1])])


def is_called(path: Path, pattern: str) -> bool:
    """Is the name of a file that of a split, plain or compressed?"""
    return any(fnmatch(path.name, pattern + ending) for ending in ("", *COMPRESSIONS))


def first_that_reads(layout: Layout, place: Path, splits: Iterator[str], say: Say) -> list[dict[str, Any]]:
    """The rows of the first split as which the files can be read; where none can, the first one's error."""
    first: ModeledgeError | None = None
    for split in splits:
        try:
            return read_said(layout.name, place, split, "data", say)
        except ModeledgeError as error:
            first = first or error
    assert first is not None
    raise first


def renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with columns under other names; those that keep their name stay where they are."""
    return {**row, **{new: row[old] for old, new in columns.items() if old in row and new != old}}
