"""The labelled rows of a study: chosen once, by lot, and written as plain tables that every run of a task reads.

All seeds and cells learn from the same training rows and are marked on the same test rows in the same order, so that
two systems can be compared row by row. Which rows those are is a function of the task's name and the data alone.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.corpus.layouts.template import Template, render
from modeledge.corpus.rows import read_table
from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.recipes.compare.study import CutRecipe, StudyRecipe, TaskRecipe
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.tuning.benchmark import ORDINARY, benchmark_rows, local
from modeledge.seed import Noise
from modeledge.tasks import set_aside

Say = Callable[[str], None]
Row = dict[str, Any]
DATA = "data"
SEARCH_TRAIN, SEARCH_TEST = (
    "search-train",
    "search-test",
)  # the tables of trials: parts of the first seed's training rows


def table_of(folder: Path, task: str, part: str) -> Path:
    """Where the rows of a task are: `part` is "train" ("train-seed-0" where each seed has its own), "test", or one of
    the two that a search has."""
    return folder / DATA / task / f"{part}.jsonl"


def write_rows(study: StudyRecipe, folder: Path, name: str, say: Say) -> None:
    """The tables of one task or source; those that are there already stay, seeds that came later get theirs. Raises
    what reading and choosing raises."""
    final = folder / DATA / name
    task = study.rows_of(name)
    if final.exists():
        for seed in study.seeds if task.draw == "seed" else ():
            path = table_of(folder, name, f"train-seed-{seed}")
            if not path.exists():
                files.write_text(path, lines_of(chosen_rows(study, name, _unsaid, seed)[0]))
        return
    parts = {"test": list[Row]()}
    for seed in study.seeds if task.draw == "seed" else study.seeds[:1]:
        train, parts["test"] = chosen_rows(study, name, say if seed == study.seeds[0] else _unsaid, seed)
        parts[f"train-seed-{seed}" if task.draw == "seed" else "train"] = train
        if seed == study.seeds[0]:
            parts |= searched(study, name, train)
    with files.committed_folder(final, {"schema": 1}) as temporary:
        for part, rows in parts.items():
            (temporary / f"{part}.jsonl").write_text(lines_of(rows), encoding="utf-8")
    say(f"{task.label or name}: {len(train):,} training rows, {len(parts['test']):,} test rows")


def lines_of(rows: Sequence[Row]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def searched(study: StudyRecipe, name: str, train: Sequence[Row]) -> dict[str, list[Row]]:
    """The training rows in two parts for the trials of a search, classes in share; nothing where nobody searches."""
    shares = {cell.search.share for cell in study.cells.values() if cell.search is not None}
    shares |= {study.search.share} if study.search is not None else set()
    if not shares:
        return {}
    task = study.rows_of(name)
    label = str(task.finetune.get("label", study.finetune.get("label")))
    words = [str(row.get(label)) for row in train]
    classes = words if len(set(words)) <= len(words) // 2 else [""] * len(words)
    keys = [_key(row, task.apart, number) for number, row in enumerate(train)]
    stay, go = set_aside(keys, classes, max(shares), Noise(0).at("study", task.of or name, "search"))
    return {SEARCH_TRAIN: [train[i] for i in stay], SEARCH_TEST: [train[i] for i in go]}


def _unsaid(line: str) -> None:
    """It was said of the first seed."""


def chosen_rows(study: StudyRecipe, name: str, say: Say, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Training and test rows of a task with their made columns. Budgets of one task share its lots."""
    task = study.rows_of(name)
    noise = Noise(0).at("study", task.of or name)
    if task.learns is not None:
        return [], unlearned(study, name, say)
    train, test = read_parts(study, task, lambda line: say(f"{name}: {line}"))
    if test is None:
        keys = [_key(row, task.apart, number) for number, row in enumerate(train)]
        stay, go = set_aside(keys, [""] * len(train), task.test_share, noise.at("test"))
        train, test = [train[i] for i in stay], [train[i] for i in go]
    elif task.apart is not None:
        marked = {_key(row, task.apart, number) for number, row in enumerate(test)}
        kept = [row for number, row in enumerate(train) if _key(row, task.apart, number) not in marked]
        if gone := len(train) - len(kept):
            say(f"{name}: {gone:,} training rows left out: a test row has the same {task.apart!r}")
        train = kept
    if task.of is not None and task.rows is not None and task.rows > len(train):
        what = f"{task.rows:,} labels are asked for; there are {len(train):,} training rows"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=f"tasks.{task.of}.budgets", remedy="ask for fewer")
    lot = noise.at("train rows", f"seed {seed}") if task.draw == "seed" else noise.at("train rows")
    train, test = by_lot(train, task.rows, lot), by_lot(test, task.test_rows, noise.at("test rows"))
    if not train or not test:
        what = f"{len(train)} training rows and {len(test)} test rows"
        raise ModeledgeError("E-EMPTY-SPLIT", what, where=f"tasks.{name}")
    return [made(row, task, name) for row in train], [made(row, task, name) for row in test]


def unlearned(study: StudyRecipe, name: str, say: Say) -> list[Row]:
    """The rows of a task that trains nothing, without those that the task it asks could have learned from."""
    task = study.rows_of(name)
    learned = study.rows_of(str(task.learns))
    rows, more = read_parts(study, task, lambda line: say(f"{name}: {line}"))
    rows = [row for row in [*rows, *(more or [])] if not between(row, task)]
    found = [made(row, task, name) for row in rows]
    if learned.apart is not None and task.apart is not None:
        there = read_parts(study, learned, _unsaid)[0]
        known = {bare(str(_key(made(row, learned, str(task.learns)), learned.apart, 0))) for row in there}
        kept = [row for row in found if bare(str(_key(row, task.apart, 0))) not in known]
        if gone := len(found) - len(kept):
            say(f"{name}: {gone:,} rows left out: they are rows of {task.learns!r}, which is learned from")
        found = kept
    found = by_lot(found, task.test_rows, Noise(0).at("study", task.of or name, "test rows"))
    if not found:
        raise ModeledgeError("E-EMPTY-SPLIT", "no test row is left", where=f"tasks.{name}")
    return found


def bare(text: str) -> str:
    """Letters and digits alone, in one case."""
    return "".join(c for c in text.casefold() if c.isalnum())


def between(row: Row, task: TaskRecipe) -> bool:
    """Is a number of the row too near to a cut to be told one side?"""
    return any(
        cut.gap > 0 and min(abs(float(row[column]) - at) for at in cut.at) < cut.gap
        for column, cut in task.cuts.items()
        if column in row
    )


def read_parts(study: StudyRecipe, task: TaskRecipe, say: Say) -> tuple[list[Row], list[Row] | None]:
    """The rows of a task's files; no test rows where they are to be set aside."""
    data, test = study.place(task.data), None if task.test is None else study.place(task.test)
    if task.layout in (None, ORDINARY):
        return table(data), None if test is None else table(test)
    asked = FinetuneRecipe(model="", data=data, test=test, layout=task.layout)
    return benchmark_rows(asked, "train", say) or [], benchmark_rows(asked, "test", say)


def table(path: str) -> list[Row]:
    """An ordinary table; each row knows its place."""
    return [{**record.fields, "__where__": record.where} for record in read_table(local(path))]


def by_lot(rows: Sequence[Row], most: int | None, noise: Noise) -> list[Row]:
    """At most so many rows, drawn by lot, in their order."""
    if most is None or most >= len(rows):
        return list(rows)
    order = noise.generator().permutation(len(rows))[:most]
    return [rows[i] for i in sorted(order.tolist())]


def made(row: Row, task: TaskRecipe, name: str) -> Row:
    """A row with the columns that the task makes. Raises `E-LABEL-UNKNOWN` for a value without a word."""
    out = dict(row)
    for column, words in task.values.items():
        value = str(out.get(column))
        if value not in words:
            what, where = f"{printable(value, 60)!r} has no word", str(row.get("__where__", ""))
            where = f"tasks.{name}.values.{column}: {where}"
            raise ModeledgeError("E-LABEL-UNKNOWN", what, where=where, remedy=nearest(value, words))
        out[column] = words[value]
    for column, cut in task.cuts.items():
        out[column] = _cut(out, column, cut, f"tasks.{name}.cuts.{column}")
    for column, path in task.lists.items():
        out[column] = _picked(row, path)
    for column, text in task.texts.items():
        out[column] = render(Template(text), out)
    return {key: value for key, value in out.items() if key != "__where__"}


def _cut(row: Row, column: str, cut: CutRecipe, where: str) -> str:
    """The word for a number; `E-FIELD-TYPE` for what is none."""
    try:
        return cut.words[bisect_right(cut.at, float(row[column]))]
    except (KeyError, TypeError, ValueError):
        what = f"{printable(str(row.get(column)), 60)!r} is no number"
        raise ModeledgeError("E-FIELD-TYPE", what, where=f"{where}: {row.get('__where__', '')}") from None


def _picked(row: Mapping[str, Any], path: str) -> list[str]:
    """`answers.text` of `{"answers": [{"text": "a"}, {"text": "b"}, {"text": "a"}]}` is `["a", "b"]`."""
    column, _, field = path.partition(".")
    values = row.get(column)
    if not isinstance(values, list) or not all(isinstance(v, dict) and field in v for v in values):
        what = f"column {column!r} is no list of objects with a field {field!r}"
        raise ModeledgeError("E-FIELD-TYPE", what, where=str(row.get("__where__", "")))
    return list(dict.fromkeys(str(value[field]) for value in values))


def _key(row: Row, column: str | None, number: int) -> object:
    """What groups a row; without a column it stands alone."""
    if column is None:
        return number
    if column not in row:
        where, remedy = str(row.get("__where__", "")), nearest(column, [k for k in row if k != "__where__"])
        raise ModeledgeError("E-MISSING-FIELD", f"there is no column {column!r}", where=where, remedy=remedy)
    return str(row[column])
