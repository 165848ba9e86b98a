"""Asking a fine-tuned model about labelled rows, and writing down where it was wrong: a page, a file, a submission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.evaluate import analyse, ensemble, glue_file
from modeledge.recipes.asking.asked import GUESSED, Laid
from modeledge.recipes.asking.tables import check_fresh, write_rows
from modeledge.recipes.asking.use import Model
from modeledge.recipes.corpora.build import fresh
from modeledge.recipes.tuning.finetune import marks
from modeledge.report import Headline, Page, Section, Table, error_page, render_page
from modeledge.tasks import Answer, Task, answers

Say = Callable[[str], None]


def quiet(line: str) -> None:
    """Says nothing: the same rows were spoken of before."""


def write_errors(
    model: Model, data: Any, out: Path, *, title: str = "", laid: Laid = GUESSED, seed: int = 0, say: Say = print
) -> None:
    """An HTML page: scores, classes, who was taken for whom, lengths, and confident mistakes with their text."""
    check_fresh(out, (".html",))
    task, rows = model.needed_task(), model.rows(data, labelled=True, laid=laid, say=say)
    examples = task.encode(rows)
    told = answers(task, model.transformer, examples)
    scores = marks(task, told, examples, seed)["scores"]
    analysis = analyse(task, told, examples, rows, seed=seed)
    files.write_text(out, render_page(error_page(title or "Errors", f"{len(told):,} rows", scores, analysis)))


def run_ensemble(
    models: Sequence[Path], data: Any, out: Path, *, laid: Laid = GUESSED, seed: int = 0, say: Say = print
) -> dict[str, dict[str, Any]]:
    """Each model alone and all together on the same rows: scores by name, and a folder with answers and report.

    The models must be of one task: the same kind, columns and classes (`E-KEYS`).
    """
    fresh(out)
    twice = [folder for n, folder in enumerate(models) if folder.resolve() in {m.resolve() for m in models[:n]}]
    if twice:
        raise ModeledgeError("E-USAGE", "this model is named twice", where=str(twice[0]), remedy="name each model once")
    told: list[list[Answer]] = []
    scores: dict[str, dict[str, Any]] = {}
    first: Task | None = None
    for folder in models:
        model = Model.load(folder)
        task = model.needed_task()
        first = first or task
        check_same(first, task, folder)
        rows = model.rows(data, labelled=True, laid=laid, say=quiet if told else say)
        examples = task.encode(rows)
        told.append(answers(task, model.transformer, examples))
        scores[str(folder)] = marks(task, told[-1], examples, seed)["scores"]
        say(f"{folder}: {line(scores[str(folder)])}")
    if first is None:
        raise ModeledgeError("E-USAGE", "no model was named")
    together = ensemble(first, told)
    scores["ensemble"] = marks(first, together, examples, seed)["scores"]
    say(f"ensemble of {len(told)}: {line(scores['ensemble'])}")
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "predictions.jsonl", told_rows(first, together, rows))
    files.write_json(out / "results.json", {"scores": scores})
    files.write_text(out / "report.html", render_page(ensemble_page(scores, len(rows))))
    return scores


def check_same(first: Task, other: Task, folder: Path) -> None:
    """Refuse a model of another task, or of the same one with other classes."""
    ours, theirs = ((task.kind, task.answered, dict(task.columns)) for task in (first, other))
    classes, others = (getattr(getattr(task, "labels", None), "names", ()) for task in (first, other))
    if first.kind == other.kind and classes != others:
        what, why = (f"its classes are {', '.join(others[:8])}", f"the first model's are {', '.join(classes[:8])}")
        raise ModeledgeError("E-KEYS", what, where=str(folder), why=why, remedy="join models that learned one task")
    if ours != theirs:
        what = f"it answers {', '.join(theirs[1])} from {theirs[2]}"
        why = f"the first model answers {', '.join(ours[1])} from {ours[2]}"
        raise ModeledgeError("E-KEYS", what, where=str(folder), why=why, remedy="join models that learned one task")


def told_rows(task: Task, told: Sequence[Answer], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row an answer: where it came from, its label, and what was answered."""
    target = task.columns[task.target]
    return [
        {"where": row.get("__where__"), "label": row.get(target), **task.shown(answer)}
        for row, answer in zip(rows, told, strict=True)
    ]


def line(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Scores for a terminal."""
    return ", ".join(f"{name} {shown(mark)}" for name, mark in scores.items())


def shown(mark: Mapping[str, Any]) -> str:
    """A score with its interval."""
    return f"{mark['value']:.4f} [{mark['low']:.4f}, {mark['high']:.4f}]"


def ensemble_page(scores: Mapping[str, Mapping[str, Any]], rows: int) -> Page:
    """One table: each model alone, and all together."""
    names = list(scores["ensemble"])
    body = [[who, *map(shown, told.values())] for who, told in scores.items()]
    table = Table(("Model", *names), body, (), "95 % intervals over rows.", {len(body) - 1})
    best = scores["ensemble"][names[0]]
    head = [Headline(names[0], f"{best['value']:.4f}", f"ensemble of {len(body) - 1}")]
    return Page("Single models and their ensemble", f"{rows:,} rows", [Section("Scores", [table])], head)


def write_submission(model: Model, data: Any, out: Path, task: str, *, laid: Laid = GUESSED, say: Say = print) -> None:
    """One file of a GLUE submission: the model's answers to a test file, in its order."""
    check_fresh(out, (".tsv",))
    asked = model.needed_task()
    examples = asked.encode(model.rows(data, labelled=False, laid=laid, say=say), labelled=False)
    names = getattr(getattr(asked, "labels", None), "names", ())
    files.write_text(out, glue_file(task, answers(asked, model.transformer, examples), names))
