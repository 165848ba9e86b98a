"""What a model is asked to do: `TASKS` is the table."""

from modeledge.tasks.ask import answers, judge_on
from modeledge.tasks.choose import ChoiceTask
from modeledge.tasks.cloze import Cloze, without_last_word
from modeledge.tasks.code import Code
from modeledge.tasks.confidence import Scaling
from modeledge.tasks.dialogue import Dialogue, reference_lengths
from modeledge.tasks.entities import EntityTask
from modeledge.tasks.extract import ExtractTask
from modeledge.tasks.label import ClassTask, LabelTask, ValueTask
from modeledge.tasks.labels import Labels, check_sizes, check_unseen, extended, infer
from modeledge.tasks.lead import lead, lead_answers, sentences
from modeledge.tasks.ordinal import OrdinalTask
from modeledge.tasks.prompted import prompted_answers
from modeledge.tasks.rank import RankTask, reading
from modeledge.tasks.relate import RelationTask
from modeledge.tasks.retrieve import Bm25, open_book
from modeledge.tasks.several import SeveralTask
from modeledge.tasks.shapes import shape_for
from modeledge.tasks.similarity import SimilarityTask
from modeledge.tasks.split import set_aside
from modeledge.tasks.tag import TagTask
from modeledge.tasks.tagged import TagShape
from modeledge.tasks.task import Answer, Asked, Generate, Request, Score, Task, role_columns
from modeledge.tasks.text_kinds import ClosedBook, DataToText, Summarise, Title, Translate
from modeledge.tasks.wording import Wording
from modeledge.tasks.write import WriteTask

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
    "write": WriteTask,
    "summarise": Summarise,
    "translate": Translate,
    "data-to-text": DataToText,
    "closed-book": ClosedBook,
    "title": Title,
    "dialogue": Dialogue,
    "code": Code,
    "cloze": Cloze,
    "rank": RankTask,
}

__all__ = [
    "TASKS",
    "Answer",
    "Asked",
    "Bm25",
    "ChoiceTask",
    "ClassTask",
    "ClosedBook",
    "Cloze",
    "Code",
    "DataToText",
    "Dialogue",
    "EntityTask",
    "ExtractTask",
    "Generate",
    "LabelTask",
    "Labels",
    "OrdinalTask",
    "RankTask",
    "RelationTask",
    "Request",
    "Scaling",
    "Score",
    "SeveralTask",
    "SimilarityTask",
    "Summarise",
    "TagShape",
    "TagTask",
    "Task",
    "Title",
    "Translate",
    "ValueTask",
    "Wording",
    "WriteTask",
    "answers",
    "check_sizes",
    "check_unseen",
    "extended",
    "infer",
    "judge_on",
    "lead",
    "lead_answers",
    "open_book",
    "prompted_answers",
    "reading",
    "reference_lengths",
    "role_columns",
    "sentences",
    "set_aside",
    "shape_for",
    "without_last_word",
]
