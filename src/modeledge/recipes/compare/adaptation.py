"""The part of a study's report that compares ways to adapt: what moved, what it cost, what it bought."""

from __future__ import annotations

from statistics import fmean

from modeledge.recipes.compare.many import many_tasks
from modeledge.recipes.compare.results import Outcome, Results
from modeledge.recipes.compare.table import scale, shares, short, worded
from modeledge.report import Figure, Result, Section, Table
from modeledge.report.adaptation import moved_plot, sweep_plot
from modeledge.report.blocks import Block, Cell, aligned
from modeledge.report.markup import DASH
from modeledge.report.plots import budget_plot

CAPTION = (
    "Weights that moved and their share of the model, what a task keeps (the weights that moved, in fp32), the most "
    "memory that a run took (its model, and all that came beside it), examples a second of training; means over seeds "
    "and tasks. Where training rows were marked, their mark and its distance from that of the test rows: over-fitting."
)


def adaptation_sections(results: Results) -> list[Section]:
    """What moved and what it cost; budgets, weights and sweeps as pictures where the study has them."""
    blocks: list[Block] = []
    costs = {name: mean_costs(results, name) for name in results.rows}
    costs = {name: found for name, found in costs.items() if "moved" in found}
    if len({found["moved"] for found in costs.values()}) > 1:
        blocks += [moved_table(results, costs), *moved_pictures(results)]
    many = many_tasks(results, costs) if blocks else []
    out = [Section("Marks by number of labels", budgets(results)), Section("What moved, and what it cost", blocks)]
    return [*out, Section("Pre-train once, adapt many times", many), Section("How sensitive", sweeps(results))]


def mean_costs(results: Results, cell: str) -> dict[str, float]:
    """What the runs of a cell cost, means over its tasks."""
    rows = [o.spent for o in firsts(results) if o.cell == cell and o.spent]
    keys = ("moved", "parameters", "kept_bytes", "peak_bytes", "device_bytes", "examples_per_second")
    return {key: fmean(row[key] for row in rows) for key in keys if rows and all(key in row for row in rows)}


def firsts(results: Results) -> list[Outcome]:
    """The outcomes by the first metric of each task."""
    return [
        o
        for o in results.outcomes
        if o.metric == results.study.columns()[o.task][1][0] and o.task in results.study.tasks
    ]


def moved_table(results: Results, costs: dict[str, dict[str, float]]) -> Table:
    """A row a cell: its costs, and of each task the marks on training and test rows where both are there."""
    study = results.study
    tasks = [task for task in study.tasks if any("train" in o.spent for o in firsts(results) if o.task == task)]
    heads = ["", "Moved", "%", "kB a task", "Peak MB", "Examples/s"]
    heads += [f"{study.tasks[task].label or task}: train · test · gap" for task in tasks]
    rows: list[list[Cell]] = []
    for name, found in costs.items():
        row: list[Cell] = [study.label(name), short(found["moved"])]
        row += [short(100 * found["moved"] / found["parameters"]), short(found["kept_bytes"] / 1e3)]
        row += [short(found["peak_bytes"] / 1e6), short(found.get("examples_per_second", 0.0))]
        rows.append([*row, *(gap(results, name, task) for task in tasks)])
    return Table(heads, rows, aligned(len(heads)), CAPTION)


def gap(results: Results, cell: str, task: str) -> str:
    """`98.0 · 84.1 · 13.9`: the marks on training and test rows, and how far they are apart."""
    found = next((o for o in firsts(results) if (o.cell, o.task) == (cell, task) and "train" in o.spent), None)
    if found is None:
        return DASH
    by = scale(found.metric)
    return " · ".join(f"{by * v:.1f}" for v in (found.spent["train"], found.value, found.spent["train"] - found.value))


def moved_pictures(results: Results) -> list[Block]:
    """The mark against the weights that moved, a picture a task (of budgets the largest)."""
    blocks: list[Block] = []
    for task in shown_tasks(results):
        found = [o for o in firsts(results) if o.task == task and "moved" in o.spent and o.cell in results.rows]
        if len({o.spent["moved"] for o in found}) > 1:
            rows = [result(results, o, round(o.spent["moved"])) for o in found]
            title = results.study.tasks[task].label or task
            blocks.append(Figure(moved_plot(rows, score=unit_of(found[0].metric)), f"{title}."))
    return blocks


def shown_tasks(results: Results) -> list[str]:
    """A task of each kind: of those that are budgets of one the largest."""
    largest = dict[str, str]()
    for name, task in results.study.tasks.items():
        whole = task.of or name
        other = results.study.tasks.get(largest.get(whole, ""))
        if other is None or (task.rows or 0) > (other.rows or 0):
            largest[whole] = name
    return list(largest.values())


def budgets(results: Results) -> list[Block]:
    """A picture for each task with budgets: marks by number of labels."""
    study, blocks = results.study, list[Block]()
    for whole in dict.fromkeys(task.of for task in study.tasks.values() if task.of is not None):
        found = [o for o in firsts(results) if study.tasks[o.task].of == whole and o.cell in results.rows]
        rows = [result(results, o, study.tasks[o.task].rows or 0) for o in found]
        if len({row.labels for row in rows}) > 1:
            title = study.tasks[found[0].task].label.rpartition(",")[0] or whole
            blocks.append(Figure(budget_plot(rows, score=unit_of(found[0].metric)), f"{title}: 95 % intervals."))
    return blocks


def sweeps(results: Results) -> list[Block]:
    """A picture and a table a task: the marks of each cell along the study's axis."""
    study, blocks = results.study, list[Block]()
    if study.sweep is None:
        return []
    for task in shown_tasks(results):
        found: dict[str, dict[float, Outcome]] = {}
        for o in firsts(results):
            swept = study.cells[o.cell].swept
            if swept is not None and o.task == task:
                found.setdefault(study.label(swept[0]), {})[swept[1]] = o
        if found:
            score, title = unit_of(study.tasks[task].metrics[0]), study.tasks[task].label or task
            dots = {
                name: {at: [scale(o.metric) * v for v in o.by_seed.values()] for at, o in marks.items()}
                for name, marks in found.items()
            }
            blocks.append(Figure(sweep_plot(dots, score=score, axis=study.sweep.key), f"{title}: a dot a seed."))
            heads = ["", *(f"{at:g}" for at in study.sweep.values)]
            rows: list[list[Cell]] = [
                [name, *(worded(marks[at]) if at in marks else DASH for at in study.sweep.values)]
                for name, marks in found.items()
            ]
            blocks.append(Table(heads, rows, aligned(len(heads)), f"{title}: {score} by {study.sweep.key}."))
    return blocks


def result(results: Results, o: Outcome, place: int) -> Result:
    """An outcome as a picture has it."""
    by = scale(o.metric)
    return Result(results.study.label(o.cell), place, by * o.value, by * o.low, by * o.high)


def unit_of(metric: str) -> str:
    """What an axis calls a metric."""
    return f"{metric} (points)" if shares(metric) else metric
