"""The report of an ordinary run, from its run folder alone.

What is read: `run.toml` (keys `kind` and `seed`), `metrics.jsonl` with `speed.jsonl` beside it, `ledger.json`,
`environment.json` (key `command`, where there is one) and `results.json`. Of the last, `scores` maps or lists marks
(a number, or an object with `value` and, where known, `low`, `high`, `n`, `signature`, `greater_is_better`), `samples`
lists objects with `prompt` and `continuation` (or `answer`, where the two do not read on), `analysis` says where
answers were wrong, and any other key is shown as it stands.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from modeledge.report.analysis import analysis_blocks
from modeledge.report.blocks import (
    Align,
    Block,
    Cell,
    Code,
    Details,
    Figure,
    Headline,
    KeyValues,
    LedgerTable,
    Page,
    Paragraph,
    Samples,
    Section,
    Table,
)
from modeledge.report.markup import DASH, number, together
from modeledge.report.mixture import mixture_blocks
from modeledge.report.page import write_report
from modeledge.report.plots import BUCKETS, loss_curves, progress_panels
from modeledge.report.read import Run, broken, is_number, ledgers, read_run

TAIL = 20  # steps whose mean is called the final loss: one step is noise

LEDGER_LINES = ("kind", "read", "kept", "filtered", "quarantined", "rewritten", "notes", "cut", "sources")


@dataclass(frozen=True)
class Mark:
    """One score of `results.json`."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    signature: str = ""
    greater_is_better: bool | None = None

    def words(self) -> tuple[str, str]:
        """The value and its 95 % interval, for reading."""
        if self.low is None or self.high is None:
            return number(self.value), DASH
        value, low, high = together(self.value, self.low, self.high)
        return value, f"{low} … {high}"


def run_report(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path."""
    return write_report(Path(folder), run_page(read_run(Path(folder))))


def run_page(run: Run) -> Page:
    """The page of one run: training, scores, samples, data, and how to do it again."""
    sections = [
        Section("Training", training_blocks(run)),
        Section("Scores", score_blocks(run)),
        Section("Where it is wrong", wrong_blocks(run)),
        Section("Samples", sample_blocks(run)),
        Section("Mixture", mixture_blocks(run)),
        Section("Data", ledger_blocks(run)),
        Section("Reproduce", reproduce_blocks(run)),
    ]
    name = "Run" if kind(run) == "run" else f"{kind(run).capitalize()} run"
    subtitle = f"{name}, seed {run.recipe['seed']}" if "seed" in run.recipe else name
    return Page(run.name, subtitle, [s for s in sections if s.blocks], headlines(run))


def headlines(run: Run) -> list[Headline]:
    """The key numbers that this run has."""
    out = []
    steps, losses = run.series("loss")
    if losses:
        note = f"mean of the last {min(TAIL, len(losses))} steps; began at {number(round(losses[0], 3))}"
        out.append(Headline("Final loss", f"{fmean(losses[-TAIL:]):.3f}", note))
    for mark in marks(run)[:2]:
        value, interval = mark.words()
        out.append(Headline(mark.name, value, f"95 %: {interval}" if interval != DASH else ""))
    if steps:
        out.append(Headline("Steps", f"{steps[-1]:,}", ""))
    speed = run.series("tokens_per_second")[1]
    if speed:
        out.append(Headline("Tokens per second", f"{median(speed):,.0f}", "median over steps"))
    return out[:5]


def training_blocks(run: Run) -> list[Block]:
    """Curves, and what is to be known about the record itself."""
    blocks: list[Block] = []
    if run.series("loss")[0]:
        hollow = " Hollow dots: loss on the evaluation data." if run.held_loss()[0] else ""
        band = "; the band spans the least and greatest loss of neighbouring steps" if thinning(run) else ""
        caption = f"Training loss{band}.{hollow}"
        blocks.append(Figure(loss_curves([run]), caption))
    else:
        staged = "stages" in run.results
        text = (
            "Each stage is a run of its own in stages/NAME; modeledge report shows how it went."
            if staged
            else "No training step was recorded."
        )
        blocks.append(Paragraph(text))
    panels = progress_panels(run)
    if panels:
        blocks.append(Figure(panels, "How the run went, step by step."))
    if run.rewound:
        text = f"The run was resumed: {run.rewound:,} recorded rows were computed again and stand here once."
        blocks.append(Paragraph(text))
    if leaps := run.spikes():
        where = ", ".join(f"{name} at {step:,}" for step, name in leaps[:12]) + (", …" if len(leaps) > 12 else "")
        score = len({step for step, _ in leaps}) / max(len(run.steps), 1)
        text = (
            f"{len(leaps)} leaps, seven deviations above the mean of 1,000 steps ({score:.2%} of the steps): {where}."
        )
        blocks.append(Paragraph(text))
    if run.torn:
        blocks.append(Paragraph("The last line of metrics.jsonl was cut off while it was written; it is left out."))
    return blocks


def thinning(run: Run) -> bool:
    """Has the run more steps than a curve has points?"""
    return len(run.series("loss")[0]) > BUCKETS


def score_blocks(run: Run) -> list[Block]:
    """Final scores with their intervals, the evaluations along the way, and other results."""
    blocks: list[Block] = []
    found = marks(run)
    if found:
        rows: list[list[Cell]] = [[m.name, *m.words(), m.n] for m in found]
        align: tuple[Align, ...] = ("left", "right", "right", "right")
        blocks.append(Table(("Metric", "Value", "95 % interval", "Items"), rows, align, "Final scores."))
        if signed := {m.name: m.signature for m in found if m.signature}:
            blocks.append(Details("How each score was computed", [KeyValues(signed)]))
    series = run.eval_series()
    if series:
        rows = [[name, values[-1], min(values), max(values), steps[-1]] for name, (steps, values) in series.items()]
        table = Table(("Metric", "Last", "Lowest", "Highest", "At step"), rows, (), "Evaluations during training.")
        blocks.append(table)
    if stages := run.results.get("stages"):
        blocks.append(stages_table({stage["name"]: stages[stage["name"]] for stage in run.recipe["stages"]}))
    rest = {k: v for k, v in run.results.items() if k not in ("scores", "samples", "analysis", "stages")}
    if rest:
        blocks.append(Details("Other results", [KeyValues(rest)]))
    return blocks


def stages_table(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    """The marks of every stage, the last one's among them; `results.json` of a run of stages has them by name."""
    rows: list[list[Cell]] = [
        [name, metric, mark["value"], f"{number(mark['low'])} … {number(mark['high'])}", mark["n"]]
        for name, scores in stages.items()
        for metric, mark in scores.items()
    ]
    align: tuple[Align, ...] = ("left", "left", "right", "right", "right")
    caption = "Scores of each stage at its end, on test rows of its own."
    return Table(("Stage", "Metric", "Value", "95 % interval", "Items"), rows, align, caption)


def wrong_blocks(run: Run) -> list[Block]:
    """The analysis of the answers, where there is one."""
    told = run.results.get("analysis", {})
    if not isinstance(told, Mapping):
        broken(run.path / "results.json", "analysis must be an object")
    return analysis_blocks(told) if told else []


def sample_blocks(run: Run) -> list[Block]:
    """What the model wrote."""
    samples = run.results.get("samples", [])
    path = run.path / "results.json"
    if not isinstance(samples, list):
        broken(path, "samples must be a list")
    blocks: list[Block] = [written(samples, path)] if samples else []
    return blocks + progress_samples(run)


def written(rows: Sequence[object], path: Path, caption: str = "") -> Samples:
    """Samples as a block: each row has a `prompt`, and a `continuation` that reads on, or an `answer` to it."""
    pairs, apart = [], False
    for row in rows:
        told = [key for key in ("continuation", "answer") if isinstance(row, Mapping) and key in row]
        if not isinstance(row, Mapping) or "prompt" not in row or not told:
            broken(path, "each sample needs a prompt, and a continuation or an answer")
        pairs.append((str(row["prompt"]), str(row[told[0]])))
        apart |= told == ["answer"]
    return Samples(pairs, caption, apart)


def progress_samples(run: Run) -> list[Block]:
    """What the model wrote while it was trained: the last samples, the others folded."""
    by_step: dict[int, list[object]] = {}
    for row in run.samples:
        by_step.setdefault(row["step"], []).append(row)
    if not by_step:
        return []
    path = run.path / "samples.jsonl"
    *earlier, (last, rows) = by_step.items()
    folded = [Details(f"After step {step:,}", [written(found, path)]) for step, found in earlier]
    return [written(rows, path, f"After step {last:,}."), *folded]


def ledger_blocks(run: Run) -> list[Block]:
    """Each ledger of the run, under its name where there are several."""
    blocks: list[Block] = []
    found = ledgers(run.ledger)
    for name, ledger in found.items():
        blocks += [Paragraph(name)] if name else []
        blocks.append(LedgerTable(ledger))
    rest = {k: v for k, v in run.ledger.items() if k not in found} if "" not in found else {}
    extra = {k: v for k, v in run.ledger.items() if k not in LEDGER_LINES}
    rest = extra if "" in found else rest
    if rest:
        blocks.append(KeyValues(rest))
    return blocks


def reproduce_blocks(run: Run) -> list[Block]:
    """The command, the whole recipe, and the machine."""
    blocks: list[Block] = [
        Paragraph(
            "The recipe below is complete: running it again on the same versions and machine gives the same run."
        ),
        Code(again(run)),
        Details("run.toml", [Code(run.recipe_text.rstrip())]),
    ]
    given = run.environment.get("command")
    if given:
        words = shlex.join(map(str, given)) if isinstance(given, list) else str(given)
        blocks.insert(2, Details("The command as it was given", [Code(words)]))
    rest = {k: v for k, v in run.environment.items() if k != "command"}
    if rest:
        blocks.append(Details("Environment", [KeyValues(rest)]))
    return blocks


def marks(run: Run) -> list[Mark]:
    """The scores of `results.json`, as a list of `Mark`; `E-RUN-FOLDER` where one has no number."""
    scores = run.results.get("scores", [])
    if isinstance(scores, Mapping):
        scores = [{"name": k, **(v if isinstance(v, Mapping) else {"value": v})} for k, v in scores.items()]
    if not isinstance(scores, list):
        broken(run.path / "results.json", "scores must be a list or an object")
    return [mark(run, score) for score in scores]


def mark(run: Run, score: Any) -> Mark:
    """One score, checked."""
    if not isinstance(score, Mapping) or "name" not in score or not is_number(score.get("value")):
        broken(run.path / "results.json", "each score needs a name and a number as its value")
    name = str(score["name"])
    ends = [score.get(key) for key in ("low", "high", "n")]
    if not all(end is None or is_number(end) for end in ends):
        broken(run.path / "results.json", f"low, high and n of {name!r} must be numbers")
    way = score.get("greater_is_better")
    low, high, n = ends
    return Mark(
        name, score["value"], low, high, n, str(score.get("signature", "")), way if way in (True, False) else None
    )


def kind(run: Run) -> str:
    """The recipe's kind: `pretrain`, `finetune`, …"""
    return str(run.recipe.get("kind", "run"))


def again(run: Run, recipe: str = "run.toml") -> str:
    """What to type to run the recipe again into a new folder."""
    if kind(run) != "finetune":
        return f"modeledge {kind(run)} {shlex.quote(recipe)} --out again"
    return (
        "from pathlib import Path\n"
        "from modeledge.config import load_config\n"
        "from modeledge.recipes.tuning.finetune import finetune\n"
        "from modeledge.recipes.recipe import FinetuneRecipe\n\n"
        f'finetune(load_config(FinetuneRecipe, Path({recipe!r})), Path("again"))'
    )
