"""Trials that are behind are stopped: asynchronous successive halving (ASHA, Li et al. 2020, arXiv 1810.05934).

A trial is marked at a quarter, and at a half of its steps, on the rows that mark it at its end. At each of these rungs
it goes on where it is among the better half of the trials that came so far (algorithm 2 with η = 2), so that a trial
that is far behind costs a quarter of its steps. The first trial, the cell's own values, always goes on. The decision is
optuna's (Akiba et al. 2019), over a study that is told the same trials in the same order each time: what is decided is
a function of the marks, and a search that was stopped decides the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.tasks import judge_on
from modeledge.train.session import Listener

if TYPE_CHECKING:
    from modeledge.recipes.tuning.finetune import Ready
    from modeledge.train.record import StepRecord

RUNGS = "rungs.json"  # in the folder of a trial: its marks at the rungs that it has reached
REDUCTION = 2  # η: one in so many goes on
SHARES = (0.25, 0.5)  # of a trial's steps: optuna counts them as resources 1 and 2 of 4


class PrunedError(Exception):
    """A trial is behind, and ends here."""


def import_optuna() -> Any:
    """The library, silent; `E-EXTRA` where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        what = "a search needs optuna"
        raise ModeledgeError("E-EXTRA", what, remedy="pip install 'modeledge[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Rungs:
    """The rungs of one trial, in its `folder`; `earlier` are the marks at the rungs of those before it."""

    def __init__(self, folder: Path, metric: str, greater: bool, earlier: Sequence[Sequence[float]]) -> None:
        self.path, self.metric, self.greater, self.earlier = folder / RUNGS, metric, greater, earlier

    @property
    def marks(self) -> list[float]:
        """What the trial brought at the rungs that it has reached."""
        return list(files.read_json(self.path)) if self.path.exists() else []

    @property
    def behind(self) -> bool:
        """Is the trial to end at the rung that it reached last?"""
        marks = self.marks
        return bool(marks) and is_behind(marks, self.earlier, self.greater)

    def look(self, ready: Ready) -> Listener:
        """Marks a trial that begins, or goes on, at its rungs, and ends one that is behind (`PrunedError`)."""
        mark = judge_on(ready.task, ready.held)

        def listen(record: StepRecord) -> None:
            steps = [math.ceil(share * record.of) for share in SHARES]
            marks = self.marks
            for number in range(len(marks), len(steps)):
                if record.step == steps[number] < record.of:
                    marks.append(float(mark(ready.model)[self.metric]))
                    files.write_json(self.path, marks)
                    if self.behind:
                        raise PrunedError

        return listen


def is_behind(marks: Sequence[float], earlier: Sequence[Sequence[float]], greater: bool) -> bool:
    """Would ASHA stop a trial with these marks at its rungs, after those trials?"""
    optuna: Any = import_optuna()
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    study = optuna.create_study(direction="maximize" if greater else "minimize", pruner=pruner)
    stopped = False
    for one in (*earlier, marks):
        trial = study.ask()
        for number, mark in enumerate(one):
            trial.report(mark, REDUCTION**number)
            stopped = trial.should_prune()
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return stopped


def rungs_of(tried: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """The marks at the rungs of the trials so far; a trial that failed has those that it reached."""
    return [list(row.get("rungs", ())) for row in tried]
