"""Two averages that are both called "GLUE": the site's and the one in BERT's table (and in the lectures).

The site (gluebenchmark.com; Wang et al. 2019, arXiv 1804.07461) takes the mean over its nine tasks; a task with two
metrics enters with their mean, MNLI's matched and mismatched halves are one task, WNLI counts. Devlin et al. 2019
(arXiv 1810.04805, table 1) take the mean over nine *columns*: both halves of MNLI, one metric a task (F1 for QQP and
MRPC, Spearman for STS-B, Matthews for CoLA), and no WNLI. The same model marks 80.5 by one and 82.1 by the other.

Both are weighted sums, so both are a table of weights here, and an interval of the parts becomes one of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

from modeledge.errors import ModeledgeError
from modeledge.metrics.intervals import Score

Weights: TypeAlias = dict[tuple[str, str], float]

TASKS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("cola", "matthews"),),
    (("sst2", "accuracy"),),
    (("mrpc", "f1"), ("mrpc", "accuracy")),
    (("stsb", "pearson"), ("stsb", "spearman")),
    (("qqp", "f1"), ("qqp", "accuracy")),
    (("mnli_matched", "accuracy"), ("mnli_mismatched", "accuracy")),
    (("qnli", "accuracy"),),
    (("rte", "accuracy"),),
    (("wnli", "accuracy"),),
)
COLUMNS: tuple[tuple[str, str], ...] = (
    ("mnli_matched", "accuracy"),
    ("mnli_mismatched", "accuracy"),
    ("qqp", "f1"),
    ("qnli", "accuracy"),
    ("sst2", "accuracy"),
    ("cola", "matthews"),
    ("stsb", "spearman"),
    ("mrpc", "f1"),
    ("rte", "accuracy"),
)
SITE: Weights = {part: 1 / (len(TASKS) * len(task)) for task in TASKS for part in task}
TABLE: Weights = {part: 1 / len(COLUMNS) for part in COLUMNS}
WITHOUT_WNLI: Weights = {part: weight * 9 / 8 for part, weight in SITE.items() if part[0] != "wnli"}


def glue_average(marks: Mapping[str, Mapping[str, float]], weights: Weights = SITE) -> float:
    """The average of task → metric → mark, on the scale the marks have. A part that is missing is `E-MISSING-FIELD`."""
    return sum(weight * part(marks, *name) for name, weight in weights.items())


def glue_score(scores: Mapping[str, Mapping[str, Score]], weights: Weights = SITE) -> Score:
    """The average of scores, with an interval: the arms of a task's metrics add up (they share their items), those of
    different tasks add in squares (they do not)."""
    value = glue_average({task: {m: s.value for m, s in row.items()} for task, row in scores.items()}, weights)
    arms: dict[str, list[float]] = {}
    items: dict[str, int] = {}
    for (task, metric), weight in weights.items():
        score = scores[task][metric]
        arm = arms.setdefault(task, [0.0, 0.0])
        arm[0] += weight * (score.value - score.low)
        arm[1] += weight * (score.high - score.value)
        items[task] = score.n
    low, high = (math.sqrt(sum(arm[side] ** 2 for arm in arms.values())) for side in (0, 1))
    spelled = ",".join(f"{task}.{metric}:{weight:.4f}" for (task, metric), weight in weights.items())
    signature = f"glue_average|weights:{spelled}|interval:independent-tasks"
    return Score("glue_average", value, value - low, value + high, sum(items.values()), signature)


def part(marks: Mapping[str, Mapping[str, float]], task: str, metric: str) -> float:
    """One mark of the table; a name that is missing, or a mark that is no number, is refused."""
    if task not in marks or metric not in marks[task]:
        known = ", ".join(f"{t}.{m}" for t, row in marks.items() for m in row)
        remedy = f"an average over fewer parts is another number; there are {known or 'none'}"
        raise ModeledgeError("E-MISSING-FIELD", f"the average needs {task}.{metric}", remedy=remedy)
    if not math.isfinite(marks[task][metric]):
        raise ModeledgeError("E-NOT-FINITE", f"the mark is {marks[task][metric]}", where=f"{task}.{metric}")
    return marks[task][metric]
