"""What a model is asked to do: `TASKS` is the table."""

from modeledge.tasks.ask import answers, judge_on
from modeledge.tasks.label import ClassTask, LabelTask, ValueTask, shape_for
from modeledge.tasks.labels import Labels, check_sizes, check_splits, check_unseen, extended, infer
from modeledge.tasks.split import set_aside
from modeledge.tasks.task import Answer, Asked, Generate, Request, Score, Task, role_columns

TASKS: dict[str, type[Task]] = {
    "auto": LabelTask,
    "classification": ClassTask,
    "regression": ValueTask,
}

__all__ = [
    "TASKS",
    "Answer",
    "Asked",
    "ClassTask",
    "Generate",
    "LabelTask",
    "Labels",
    "Request",
    "Score",
    "Task",
    "ValueTask",
    "answers",
    "check_sizes",
    "check_splits",
    "check_unseen",
    "extended",
    "infer",
    "judge_on",
    "role_columns",
    "set_aside",
    "shape_for",
]
