"""What a model is asked to do: `TASKS` is the table."""

from modeledge.tasks.ask import answers, batches, judge_on
from modeledge.tasks.label import LabelTask, shape_for
from modeledge.tasks.labels import Labels, check_sizes, check_splits, check_unseen, extended, infer
from modeledge.tasks.split import set_aside
from modeledge.tasks.task import Answer, Task

TASKS: dict[str, type[LabelTask]] = {"classification": LabelTask, "regression": LabelTask}

__all__ = [
    "TASKS",
    "Answer",
    "LabelTask",
    "Labels",
    "Task",
    "answers",
    "batches",
    "check_sizes",
    "check_splits",
    "check_unseen",
    "extended",
    "infer",
    "judge_on",
    "set_aside",
    "shape_for",
]
