"""The part of a study's report that asks what a source gives a target: transfer by the distance of their texts.

Of each source, which is a cell that is pre-trained here on texts of its own, the report looks for the cells that use
its body: one that moves all weights (full), one that moves a head alone or reads features (probe), and one that draws
the weights afresh (scratch), which all sources share. Then

    transfer gain = full − scratch        probe-to-full gap = full − probe

A small gap says that the body is useful as it is. What a source is to a cell is read from the cell's tables, not from
its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modeledge.metrics import METRICS, Interval
from modeledge.recipes.compare.grid import ground_of
from modeledge.recipes.compare.results import Results, difference
from modeledge.recipes.compare.study import StudyRecipe
from modeledge.recipes.compare.table import scale, shares, told
from modeledge.recipes.compare.tables import over
from modeledge.report import Figure, Section, Table
from modeledge.report.blocks import Block, Cell, aligned
from modeledge.report.markup import DASH
from modeledge.report.transfer import Gained, transfer_plot

HEADS = ("probe",)  # strategies that leave the body as it is
CAPTION = (
    "JSD: the divergence of how often each piece of the study's tokenizer stands in the source and in the target's "
    "test rows, in bits (0: alike, 1: nothing in common); it does not know the order of words. Bits a piece: of the "
    "target under a Kneser-Ney model of three pieces of the source; it does. As many tokens of each source. Gain: full "
    "less scratch. Gap: full less probe. Differences are paired, with 95 % intervals over seeds and test rows."
)


@dataclass(frozen=True)
class Ways:
    """The cells that a source is seen through, `None` where the study has none."""

    full: str | None
    probe: str | None
    scratch: str | None


def transfer_section(results: Results, folder: Path) -> Section:
    """A table and a picture a task; nothing where the study has texts of one kind."""
    blocks: list[Block] = []
    sources = list(dict.fromkeys(cell for cell, _ in results.distances))
    for task in dict.fromkeys(task for _, task in results.distances):
        blocks.append(transfer_table(results, folder, task, sources))
        blocks += transfer_picture(results, folder, task, sources)
    return Section("Transfer by distance", blocks)


def ways_of(study: StudyRecipe, source: str) -> Ways:
    """Which cells use the body of a source, and how; the fresh weights of another source's shape serve it too."""
    found: dict[str, list[str]] = {"full": [], "probe": []}
    fresh: dict[bool, list[str]] = {True: [], False: []}
    for name, cell in study.cells.items():
        ground, tables = ground_of(study, name, study.seeds[0]), over([study.finetune, cell.finetune])
        own = ground is not None and ground.cell == source and ground.task is None
        if cell.supervised is not None or cell.swept is not None:
            continue
        kinds = [str(row.get("kind")) for row in tables.get("strategies", ())]
        if tables.get("fresh"):
            fresh[own].append(name)
        elif own and (tables.get("features") is not None or (kinds and set(kinds) <= set(HEADS))):
            found["probe"].append(name)
        elif own and not kinds:
            found["full"].append(name)
    return Ways(_first(found["full"]), _first(found["probe"]), _first([*fresh[True], *fresh[False]]))


def _first(cells: list[str]) -> str | None:
    return cells[0] if cells else None


def compared(results: Results, folder: Path, task: str, cells: tuple[str | None, str | None]) -> Interval | None:
    """The difference of two cells by the first metric of a task, better above 0; `None` where one is not there."""
    one, other = cells
    if one is None or other is None:
        return None
    metric = results.study.tasks[task].metrics[0]
    found, by = difference(results.study, folder, task, metric, (one, other)), scale(metric)
    if found is None:
        return None
    if METRICS[metric].greater_is_better:
        return Interval(by * found.mean, by * found.low, by * found.high, found.p)
    return Interval(-found.mean, -found.high, -found.low, found.p)


def transfer_table(results: Results, folder: Path, task: str, sources: list[str]) -> Table:
    """A row a source: how far it is, the marks of the three ways, and what these say."""
    study, metric = results.study, results.study.tasks[task].metrics[0]
    heads = ["Source", "JSD", "Bits a piece", "Scratch", "Probe", "Full", "Transfer gain", "Probe-to-full gap"]
    rows: list[list[Cell]] = []
    for source in sources:
        ways, far = ways_of(study, source), results.distances[source, task]
        marks = [DASH if w is None else told(results, w, task, metric) for w in (ways.scratch, ways.probe, ways.full)]
        pairs = ((ways.full, ways.scratch), (ways.full, ways.probe))
        differences = [worded(compared(results, folder, task, pair), metric) for pair in pairs]
        rows.append([study.label(source), f"{far.divergence:.3f}", f"{far.bits:.2f}", *marks, *differences])
    caption = f"{study.tasks[task].label or task} ({metric}). {CAPTION}"
    return Table(heads, rows, aligned(len(heads)), caption)


def transfer_picture(results: Results, folder: Path, task: str, sources: list[str]) -> list[Block]:
    """Gain and gap by both distances."""
    study, rows = results.study, list[Gained]()
    for source in sources:
        ways, far = ways_of(study, source), results.distances[source, task]
        for name, pair in (
            ("transfer gain", (ways.full, ways.scratch)),
            ("probe-to-full gap", (ways.full, ways.probe)),
        ):
            found = compared(results, folder, task, pair)
            if found is not None:
                rows.append(
                    Gained(name, study.label(source), far.divergence, far.bits, found.mean, found.low, found.high)
                )
    if len({row.source for row in rows}) < 2:
        return []
    metric = study.tasks[task].metrics[0]
    score = f"{metric} (points)" if shares(metric) else metric
    title = study.tasks[task].label or task
    return [Figure(transfer_plot(rows, score=score), f"{title}: bars are 95 % intervals of the paired differences.")]


def worded(found: Interval | None, metric: str) -> str:
    """`+3.1 [1.0, 5.2]`."""
    if found is None:
        return DASH
    digits = 1 if shares(metric) else 3
    return f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
