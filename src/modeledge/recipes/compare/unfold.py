"""What a study says once and means several times: a task with budgets, a cell along an axis, the model of all cells.

The tables are unfolded as they are read, so that everything after works on plain cells and tasks, and the study that a
folder keeps says each of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.config.check import merged


def unfolded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A study's tables with a task for each budget and a cell for each value of the sweep.

    What is not of the right shape stays as it is: the schema refuses it.
    """
    out = dict(tree)
    tasks, parts = _budgets(out.get("tasks"))
    out = out if tasks is None else {**out, "tasks": tasks}
    cells = out.get("cells")
    if isinstance(cells, Mapping):
        cells = {name: _begun(_of_parts(cell, parts), out.get("model")) for name, cell in cells.items()}
        out["cells"] = _swept(cells, out.get("sweep"))
    return out


def _budgets(tasks: Any) -> tuple[dict[str, Any] | None, dict[str, list[str]]]:
    """The tasks with those that have budgets in parts, and the names of the parts of each."""
    if not isinstance(tasks, Mapping):
        return None, {}
    out, parts = dict[str, Any](), dict[str, list[str]]()
    for name, task in tasks.items():
        budgets = _budgets_of(tasks, task)
        whole = isinstance(budgets, list | tuple) and budgets and all(type(b) is int and b > 0 for b in budgets)
        if not whole:
            out[name] = task
            continue
        assert isinstance(budgets, list | tuple)
        kept = {key: value for key, value in task.items() if key != "budgets"}
        for budget in budgets:
            label = f"{task.get('label') or name}, {budget:,} labels"
            of_part = {"of": name, "rows": budget, "label": label}
            of_part |= {"learns": f"{kept['learns']}-{budget}"} if "learns" in kept else {}
            out[f"{name}-{budget}"] = {**kept, **of_part}
        parts[name] = [f"{name}-{budget}" for budget in budgets]
    return out, parts


def _budgets_of(tasks: Mapping[str, Any], task: Any) -> Any:
    """The budgets of a task, or of the one that it learns."""
    if not isinstance(task, Mapping):
        return None
    learned = tasks.get(str(task.get("learns")))
    return learned.get("budgets") if isinstance(learned, Mapping) else task.get("budgets")


def _of_parts(cell: Any, parts: Mapping[str, list[str]]) -> Any:
    """A cell whose `tasks` name the parts of what has budgets."""
    named = cell.get("tasks") if isinstance(cell, Mapping) else None
    if not isinstance(named, list | tuple):
        return cell
    return {**cell, "tasks": [part for name in named for part in parts.get(name, [name])]}


def _begun(cell: Any, model: Any) -> Any:
    """A cell that begins with the study's model, where it says nothing else."""
    if model is None or not isinstance(cell, Mapping) or cell.keys() & {"model", "of", "pretrain"}:
        return cell
    return {"model": model, **cell}


def _swept(cells: dict[str, Any], sweep: Any) -> dict[str, Any]:
    """The cells, and behind each that the sweep names its repetitions, unless they are there already."""
    if not isinstance(sweep, Mapping) or not {"values", "cells"} <= sweep.keys():
        return cells
    named, values = sweep["cells"], sweep["values"]
    if not (isinstance(named, list | tuple) and isinstance(values, list | tuple)):
        return cells
    out = dict[str, Any]()
    for name, cell in cells.items():
        out[name] = cell
        if name not in named or not isinstance(cell, Mapping):
            continue
        for value in values:
            table = as_tables({str(sweep.get("key", "train.learning_rate")): value})
            label = f"{cell.get('label') or name}, {value:g}" if isinstance(value, int | float) else name
            own = {key: kept for key, kept in cell.items() if key != "search"}
            out.setdefault(
                f"{name}-{value:g}" if isinstance(value, int | float) else f"{name}-{value}",
                {**own, "label": label, "finetune": merged(cell.get("finetune") or {}, table), "swept": (name, value)},
            )
    return {**out, **{name: cell for name, cell in cells.items() if name not in out}}


def as_tables(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"train.learning_rate": 1e-4}` as a recipe has it."""
    out = dict[str, Any]()
    for key, value in values.items():
        table: Any = value
        for part in reversed(key.split(".")):
            table = {part: table}
        out = merged(out, table)
    return out
