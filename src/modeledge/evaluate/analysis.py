"""Where is a model wrong? Answers sorted by class, by length and by confidence, as plain values for a report.

A score says how often; a table of who was taken for whom, how sure the model was when it erred, and whether long texts
fare worse says what to do next. Everything here is counted from answers and labels; no text is kept but where asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, bootstrap, calibration_error, reliability, wilson
from modeledge.metrics.classify import confusion
from modeledge.records import Example
from modeledge.tasks import Answer, Scaling, Task

Bools = npt.NDArray[np.bool_]
LENGTH_GROUPS, SHOWN_MISTAKES, LARGEST_MATRIX = 5, 20, 40


def analyse(
    task: Task,
    answers: Sequence[Answer],
    examples: Sequence[Example],
    rows: Sequence[Mapping[str, Any]] = (),
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """What `results.json` keeps under "analysis": classes, confusion, lengths, calibration, confident mistakes.

    Classes are analysed whole; of any other kind of answer, lengths alone are, by the task's first metric. With `rows`
    each mistake shows the columns that the task reads. Raises `E-LENGTH-MISMATCH` where rows and answers do not pair.
    """
    gold = task.rows_of(examples)
    if len(gold) != len(answers) or (rows and len(rows) != len(answers)):
        what = f"{len(answers)} answers stand against {len(rows) if rows else len(gold)} rows"
        raise ModeledgeError("E-LENGTH-MISMATCH", what)
    lengths = np.array([task.tokens(example) for example in gold])
    names = getattr(getattr(task, "labels", None), "names", ())
    classes = bool(names) and all(a.probabilities and isinstance(a.value, int) for a in answers)
    if not classes or any(not isinstance(e.label, int) for e in gold):
        return {"metric": task.metrics[0], "by_length": scored_by_length(task, answers, gold, lengths, seed)}
    guess, truth = np.array([a.value for a in answers]), np.array([e.label for e in gold])
    sure = np.array([max(a.probabilities) for a in answers])
    return {
        "metric": "accuracy",
        "classes": by_class(guess, truth, names),
        "confusion": confusion(guess, truth, len(names)).tolist() if len(names) <= LARGEST_MATRIX else None,
        "names": list(names),
        "by_length": right_by_length(guess == truth, lengths),
        "calibration": calibrated(np.array([a.probabilities for a in answers]), truth, getattr(task, "scaling", None)),
        "mistakes": confident_mistakes(task, answers, gold, rows, sure),
    }


def calibrated(shares: npt.NDArray[Any], truth: npt.NDArray[Any], scaling: Scaling | None = None) -> dict[str, Any]:
    """The expected calibration error, and what its diagram shows: a bin of confidences each. Where a temperature was
    fitted, "scaling" says it, and the error without it."""
    told = reliability(shares, truth)
    bins = zip(told.confidence, told.accuracy, told.count, strict=True)
    rows = [{"confidence": float(c), "accuracy": float(a), "count": int(n)} for c, a, n in bins if n]
    plain = {"error": calibration_error(shares, truth), "bins": rows}
    if scaling is None or not scaling.rows:
        return plain
    return {**plain, "scaling": {**asdict(scaling), "unscaled": calibration_error(scaling.undone(shares), truth)}}


def by_class(guess: npt.NDArray[Any], truth: npt.NDArray[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """For each class: how many items, precision, recall and F1 (`None` where there is nothing to divide by)."""
    out = []
    for number, name in enumerate(names):
        told, true = guess == number, truth == number
        both = int((told & true).sum())
        shares = [both / float(n) if n else None for n in (told.sum(), true.sum(), (told.sum() + true.sum()) / 2)]
        out.append(
            {"name": name, "n": int(true.sum()), **dict(zip(("precision", "recall", "f1"), shares, strict=True))}
        )
    return out


def length_groups(lengths: npt.NDArray[Any]) -> list[Bools]:
    """Up to five groups of about equal size, from short to long; equal lengths are never parted."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_GROUPS + 1)[1:-1], method="lower"))
    place = np.searchsorted(edges, lengths, side="left")
    return [place == group for group in np.unique(place)]


def right_by_length(right: Bools, lengths: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """The share of right answers by length in tokens, with Wilson's 95 % interval."""
    out = []
    for group in length_groups(lengths):
        hits, n = int(right[group].sum()), int(group.sum())
        low, high = wilson(hits, n)
        out.append({**spanned(lengths[group]), "value": hits / n, "low": low, "high": high})
    return out


def scored_by_length(
    task: Task, answers: Sequence[Answer], gold: Sequence[Example], lengths: npt.NDArray[Any], seed: int
) -> list[dict[str, Any]]:
    """The task's first metric by length in tokens, with its bootstrap interval."""
    out, name = [], task.metrics[0]
    for group in length_groups(lengths):
        chosen = np.flatnonzero(group).tolist()
        sides = task.sides(name, [answers[i] for i in chosen], [gold[i] for i in chosen])
        score = bootstrap(METRICS[name], *sides, n=500, seed=seed)
        out.append({**spanned(lengths[group]), "value": score.value, "low": score.low, "high": score.high})
    return out


def spanned(lengths: npt.NDArray[Any]) -> dict[str, int]:
    """The shortest and the longest of a group, and how many there are."""
    return {"shortest": int(lengths.min()), "longest": int(lengths.max()), "n": len(lengths)}


def confident_mistakes(
    task: Task,
    answers: Sequence[Answer],
    gold: Sequence[Example],
    rows: Sequence[Mapping[str, Any]],
    sure: npt.NDArray[Any],
) -> list[dict[str, Any]]:
    """The wrong answers that the model was surest of: each a label's error, or the model's."""
    wrong = [i for i, (a, e) in enumerate(zip(answers, gold, strict=True)) if a.value != e.label]
    names = task.labels.names  # type: ignore[attr-defined]
    read = [column for role, column in task.columns.items() if role != task.target]
    out = []
    for i in sorted(wrong, key=lambda i: (-sure[i], i))[:SHOWN_MISTAKES]:
        said = {"where": gold[i].where, "label": names[int(gold[i].label)], "prediction": names[int(answers[i].value)]}
        text = {"text": " ⏵ ".join(str(rows[i].get(column)) for column in read)} if rows else {}
        out.append({**said, "confidence": round(float(sure[i]), 4), **text})
    return out
