"""The rows of a fine-tuning: from files, from a benchmark's layout or from memory, in parts that share nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from modeledge.corpus.rows import read_table
from modeledge.errors import ModeledgeError, nearest
from modeledge.preflight.leaks import plain
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.tuning.benchmark import ORDINARY, benchmark_rows, local
from modeledge.seed import Noise
from modeledge.tasks import TASKS, Task, role_columns, set_aside

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Parts:
    """The rows of a run: to learn from, to choose by (a judge, a threshold, a temperature), to be marked on."""

    train: Rows
    validation: Rows
    test: Rows


def task_named(recipe: FinetuneRecipe) -> tuple[type[Task], dict[str, str]]:
    """The row of `TASKS` that the recipe names, and the column of each of its roles."""
    if recipe.task not in TASKS:
        what = f"there is no task {recipe.task!r}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="task", remedy=nearest(recipe.task, TASKS))
    kind = TASKS[recipe.task]
    first = "text" if "text" in (*kind.inputs, *kind.optional) else kind.inputs[0]
    short = {first: recipe.text, "pair": recipe.pair, kind.target: recipe.label}
    return kind, role_columns(kind, {**{k: v for k, v in short.items() if v is not None}, **recipe.columns})


def split_rows(
    recipe: FinetuneRecipe, rows: Any = None, test_rows: Any = None, *, say: Callable[[str], None] = print
) -> Parts:
    """The rows of a run, each part from its own file or set aside by lot: equal inputs stay together, classes in share.

    Inputs that differ by case, space and punctuation alone are equal; a task's `apart_by` widens what stays together.
    What files share is the pre-flight's to find. Raises `E-EMPTY-SPLIT` where there are too few rows to set any aside.
    """
    kind, roles = task_named(recipe)
    target, noise = roles[kind.target], Noise(recipe.seed).at("split")
    beside = (kind.target, *kind.beside)
    inputs = kind.reads({role: column for role, column in roles.items() if role not in beside})
    together = [roles[role] for role in kind.apart_by if role in roles][:1] or inputs
    columns = kind.reads(roles)
    layout = recipe.layout not in (None, ORDINARY) and rows is None
    train: Rows = located(rows if rows is not None else recipe.data, columns) if not layout else []
    validation: Rows = []
    given: Rows | None = None
    if layout:
        train, given = benchmark_rows(recipe, "train", say) or [], benchmark_rows(recipe, "test", say)
    elif test_rows is not None or recipe.test is not None:
        given = located(test_rows if test_rows is not None else recipe.test, columns)

    def aside(source: Rows, share: float, name: str) -> tuple[Rows, Rows]:
        keys = [tuple(plain(str(row[c])) for c in together) for row in source]
        values = not kind.stratified or len({str(row[target]) for row in source}) > len(source) // 2
        classes = ["" if values else str(row[target]) for row in source]
        stay, go = set_aside(keys, classes, share, noise.at(name))
        return [source[i] for i in stay], [source[i] for i in go]

    test = given if given is not None else []
    if given is None:
        train, test = aside(train, recipe.test_share, "test")
    chosen = recipe.train.judge_every is not None or recipe.validation is not None
    if recipe.validation is not None:
        validation = benchmark_rows(recipe, "validation", say) or [] if layout else located(recipe.validation, columns)
    elif chosen:
        train, validation = aside(train, recipe.validation_share, "validation")
    if not test or (chosen and not validation):
        raise ModeledgeError("E-EMPTY-SPLIT", "the evaluation split has no row")
    return Parts(train, validation, test)


@contextmanager
def told_where(recipe: FinetuneRecipe, column: str, positions: int | None) -> Iterator[None]:
    """Errors of making a task say what of the recipe they are about, where they name no place themselves: labels that
    are all one, of which file and column; rows that are too long, by which key."""
    try:
        yield
    except ModeledgeError as error:
        what, why, remedy = error.what, error.why, error.remedy
        if error.where:
            raise
        if error.code == "E-ONE-CLASS":
            where = f"{recipe.data}: column {column!r}"
            raise ModeledgeError(error.code, what, where=where, why=why, remedy=remedy) from error
        if error.code == "E-POSITION" and positions is not None and recipe.train.length > positions:
            remedy = f"train.length={positions}, or less"
            raise ModeledgeError(error.code, what, where="train.length", why=why, remedy=remedy) from error
        raise


def located(source: Any, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows that know where they came from: `__where__` holds file and line for the errors of a task."""
    here = local(source) if isinstance(source, str) else source
    try:
        return [{**record.fields, "__where__": record.where} for record in read_table(here, columns)]
    except ModeledgeError as error:
        if error.code not in ("E-NOT-A-FILE", "E-FORMAT"):
            raise
        remedy = f"{error.remedy}; what no layout was guessed for can be named: --layout"
        raise ModeledgeError(error.code, error.what, where=error.where, why=error.why, remedy=remedy) from error
