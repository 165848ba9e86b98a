"""What a model is asked to do: `TASKS` is the table."""

from modeledge.tasks.ask import answers, judge_on
from modeledge.tasks.choose import ChoiceTask
from modeledge.tasks.entities import EntityTask
from modeledge.tasks.extract import ExtractTask
from modeledge.tasks.label import ClassTask, LabelTask, ValueTask, shape_for
from modeledge.tasks.labels import Labels, check_sizes, check_splits, check_unseen, extended, infer
from modeledge.tasks.ordinal import OrdinalTask
from modeledge.tasks.prompted import prompted_answers
from modeledge.tasks.relate import RelationTask
from modeledge.tasks.several import SeveralTask
from modeledge.tasks.similarity import SimilarityTask
from modeledge.tasks.split import set_aside
from modeledge.tasks.tag import TagTask
from modeledge.tasks.tagged import TagShape
from modeledge.tasks.task import Answer, Asked, Generate, Request, Score, Task, role_columns
from modeledge.tasks.wording import Wording

TASKS: dict[str, type[Task]] = {
    "auto": LabelTask,
    "classification": ClassTask,
    "regression": ValueTask,
    "similarity": SimilarityTask,
    "multilabel": SeveralTask,
    "ordinal": OrdinalTask,
    "choice": ChoiceTask,
    "tag": TagTask,
    "entities": EntityTask,
    "relation": RelationTask,
    "extract": ExtractTask,
}

__all__ = [
    "TASKS",
    "Answer",
    "Asked",
    "ChoiceTask",
    "ClassTask",
    "EntityTask",
    "ExtractTask",
    "Generate",
    "LabelTask",
    "Labels",
    "OrdinalTask",
    "RelationTask",
    "Request",
    "Score",
    "SeveralTask",
    "SimilarityTask",
    "TagShape",
    "TagTask",
    "Task",
    "ValueTask",
    "Wording",
    "answers",
    "check_sizes",
    "check_splits",
    "check_unseen",
    "extended",
    "infer",
    "judge_on",
    "prompted_answers",
    "role_columns",
    "set_aside",
    "shape_for",
]
