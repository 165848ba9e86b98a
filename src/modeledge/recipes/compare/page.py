"""The report of a study: what holds, the whole table, the pictures, what it cost, what failed, how to do it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modeledge import files
from modeledge.metrics import METRICS
from modeledge.recipes.compare.adaptation import adaptation_sections
from modeledge.recipes.compare.grid import Unit, done
from modeledge.recipes.compare.results import Outcome, Results
from modeledge.recipes.compare.sharing import sharing_section
from modeledge.recipes.compare.table import costs, moved, scale, shares, told
from modeledge.recipes.compare.transfer import transfer_section
from modeledge.recipes.folder import RECIPE
from modeledge.report import (
    Code,
    Details,
    Figure,
    Headline,
    KeyValues,
    Page,
    Paragraph,
    Result,
    Section,
    Table,
    Verdict,
    comparison_plot,
    loss_curves,
    read_run,
)
from modeledge.report.blocks import Block, Cell, aligned

SEVERAL = "Each mark is a mean over seeds; its 95 % interval is a bootstrap over seeds and test rows. "
SINGLE = "One seed: each 95 % interval is a bootstrap over test rows, and knows nothing of the luck of a training. "
HOW = "All cells learn from the same rows and are marked on the same test rows. Shares are in points of a hundred."


def study_page(results: Results, folder: Path) -> Page:
    """The page of a study, finished or not."""
    study = results.study
    how = (SEVERAL if len(study.seeds) > 1 else SINGLE) + HOW
    sections = [
        Section("What holds", [*verdicts(results), Paragraph(how), *([Paragraph(study.note)] if study.note else [])]),
        Section("The table", whole_table(results)),
        *(task_section(results, task) for task in study.columns()),
        transfer_section(results, folder),
        sharing_section(results, folder),
        *adaptation_sections(results),
        Section("Pre-training", pretraining(results, folder)),
        Section("Runs", runs(results)),
        Section("How to do this again", again(results, folder)),
    ]
    count = sum(
        len(o.by_seed) for o in results.outcomes if o.task in study.tasks and o.metric == study.tasks[o.task].metrics[0]
    )
    along = f", {swept} more along a sweep" if (swept := len(study.cells) - len(results.rows)) else ""
    headlines = (
        Headline("cells", str(len(results.rows)), f"scale {study.scale}{along}"),
        Headline("seeds", str(len(study.seeds)), "of pre-training and of fine-tuning"),
        Headline(
            "fine-tuning runs", str(count), f"{len(results.waiting)} runs still to do, {len(results.failed)} failed"
        ),
    )
    counts = {"cell": len(results.rows), "seed": len(study.seeds), "task": len(study.tasks)}
    subtitle = " × ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
    return Page(study.title, subtitle, [s for s in sections if s.blocks], headlines)


def verdicts(results: Results) -> list[Block]:
    """A sentence a task: who is ahead of, and who is behind the row compared with, beyond chance."""
    study, blocks = results.study, list[Block]()
    if results.failed:
        blocks.append(Verdict(f"{len(results.failed)} runs failed: the table lacks them.", "bad"))
    if results.waiting:
        blocks.append(Verdict(f"{len(results.waiting)} runs are still to be done.", "mixed"))
    for task, (label, metrics) in study.columns().items() if study.against is not None else ():
        first = [o for o in results.outcomes if (o.task, o.metric) == (task, metrics[0]) and o.cell in results.rows]
        found = [o for o in first if o.against is not None]
        way = 1 if METRICS[metrics[0]].greater_is_better else -1
        ahead = [
            named(results, o.cell) for o in found if o.against and o.against.excludes_zero and way * o.against.mean > 0
        ]
        behind = [
            named(results, o.cell) for o in found if o.against and o.against.excludes_zero and way * o.against.mean < 0
        ]
        if not found:
            continue
        rest = len(found) - len(ahead) - len(behind)
        parts = [f"better: {', '.join(ahead)}" if ahead else "", f"worse: {', '.join(behind)}" if behind else ""]
        parts.append(f"not told apart: {rest}" if rest else "")
        text = f"{label} ({metrics[0]}), against {named(results, str(study.against))}: "
        text += "; ".join(part for part in parts if part)
        blocks.append(Verdict(text, "good" if ahead or behind else "mixed"))
    return blocks


def whole_table(results: Results) -> list[Block]:
    """A row a cell, columns by task; the best of each column is marked."""
    study = results.study
    columns = [(task, metric) for task, (_, metrics) in study.columns().items() for metric in metrics]
    bodies = ["Parameters", "MFLOPs a token", "Tokens", "Seconds"] if results.facts else ["Moved", "%"]
    heads = ["", *bodies]
    heads += [f"{study.columns()[task][0]}: {metric}" for task, metric in columns]
    rows: list[list[Cell]] = [
        [
            named(results, name),
            *(costs if results.facts else moved)(results, name),
            *(told(results, name, *c) for c in columns),
        ]
        for name in results.rows
    ]
    best = {place for n, column in enumerate(columns, 1 + len(bodies)) for place in best_of(results, *column, column=n)}
    caption = "Parameters, measured operations a token (forwards and backwards), tokens and seconds of pre-training."
    caption = caption if results.facts else "Weights that moved, and their share of the model."
    if study.against is not None:
        caption += f" * another than {named(results, study.against)}: the interval of the difference leaves out 0."
    return [Table(heads, rows, aligned(len(heads)), caption, best)]


def best_of(results: Results, task: str, metric: str, *, column: int) -> list[tuple[int, int]]:
    """The place of the best mark of a column; none where all cells are alike."""
    found = [(o.value, row) for row, name in enumerate(results.rows) if (o := results.at(name, task, metric))]
    if len({value for value, _ in found}) < 2:
        return []
    choose = max if METRICS[metric].greater_is_better else min
    top = choose(value for value, _ in found)
    return [(row, column) for value, row in found if value == top]


def task_section(results: Results, task: str) -> Section:
    """One task: a picture of its first metric, and the paired differences of all."""
    study, (label, metrics) = results.study, results.study.columns()[task]
    blocks: list[Block] = []
    outcomes = [o for o in results.outcomes if o.task == task and o.cell in results.rows]
    first = [o for o in outcomes if o.metric == metrics[0]]
    if first:
        drawn = [Result(named(results, o.cell), o.items, *_scaled(o)) for o in first]
        title = f"{metrics[0]} (points)" if shares(metrics[0]) else metrics[0]
        blocks.append(Figure(comparison_plot(drawn, score=title), "Test rows in the key; bars are 95 % intervals."))
    rows = [difference_row(results, o) for o in outcomes if o.against is not None]
    if rows and study.against is not None:
        columns = ("", "Metric", "Difference", "95 % interval", "p", "Seconds a run")
        caption = f"Paired differences from {named(results, study.against)}: the same seeds and the same test rows."
        blocks.append(Table(columns, rows, ("left", "left", "right", "right", "right", "right"), caption))
    return Section(label, blocks)


def _scaled(o: Outcome) -> tuple[float, float, float]:
    by = scale(o.metric)
    return by * o.value, by * o.low, by * o.high


def difference_row(results: Results, o: Outcome) -> list[Cell]:
    """A paired difference in words."""
    assert o.against is not None
    by = scale(o.metric)
    mean, low, high = (f"{by * v:+.2f}" for v in (o.against.mean, o.against.low, o.against.high))
    return [named(results, o.cell), o.metric, mean, f"{low} – {high}", f"{o.against.p:.2g}", f"{o.seconds:.1f}"]


def pretraining(results: Results, folder: Path) -> list[Block]:
    """The loss curves of the first seed, by group: losses of different objectives do not compare."""
    study, blocks = results.study, list[Block]()
    seed = study.seeds[0]
    for group in dict.fromkeys(cell.group for cell in study.cells.values()):
        bodies = {name: Unit(name, seed) for name, cell in study.cells.items() if cell.group == group}
        found = {name: read_run(u.folder(folder)) for name, u in bodies.items() if done(u, folder)}
        found = {name: run for name, run in found.items() if run.series("loss")[0]}
        if found:
            picture = loss_curves(list(found.values()), [study.label(name) for name in found])
            blocks.append(Figure(picture, f"{group or 'Training loss'}: nats a token, seed {seed}."))
    return blocks


def runs(results: Results) -> list[Block]:
    """What failed, with its error, and what is still to run."""
    blocks: list[Block] = []
    if results.failed:
        blocks.append(Table(("Failed", "Error"), [list(row) for row in results.failed.items()]))
    if results.waiting:
        blocks.append(Details(f"{len(results.waiting)} runs still to do", [Code("\n".join(results.waiting))]))
    return blocks


def again(results: Results, folder: Path) -> Sequence[Block]:
    """The command, the resolved study, the machine."""
    command = f"modeledge resume {folder}\nmodeledge compare {folder / RECIPE} --out ANOTHER_FOLDER"
    return [
        Code(command, "Go on with this study, or run it again."),
        Details("The study", [Code((folder / RECIPE).read_text(encoding="utf-8"))]),
        Details("The machine and the versions", [KeyValues(files.read_json(folder / "environment.json"))]),
    ]


def named(results: Results, cell: str) -> str:
    """What a cell is called where its group is not in sight."""
    group = results.study.cells[cell].group
    return f"{group} · {results.study.label(cell)}" if group else results.study.label(cell)
