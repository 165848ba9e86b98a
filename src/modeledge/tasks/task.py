"""What every task is: rows of data, an objective to be fine-tuned, a request to be prompted, the marks of its answers.

rows → `encode` → examples → (fine-tuning) → `reply` → answers → `mark` → scores; or rows → `request` → a prompt for a
model that was never fine-tuned → the same answers, marked by the same code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from modeledge.errors import ModeledgeError, nearest
from modeledge.generate import Way
from modeledge.metrics import METRICS
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.model.heads import Head
from modeledge.objectives import Objective, Shape, collate
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer

Row = Mapping[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """What a model said about one example.

    `value` is of the task's kind: a class number, a number, a tuple of tags, a text. `probabilities` are of each class
    where there are classes; `details` hold what the task needs to join examples of one row (scores of spans).
    """

    index: int
    value: Any
    probabilities: tuple[float, ...] = ()
    details: Any = None


@dataclass(frozen=True)
class Score:
    """A request: which of the choices does the model find likeliest behind the prompt? `names` are what the choices
    stand for, where a choice says more (a candidate with the words behind its gap)."""

    prompt: str
    choices: tuple[str, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generate:
    """A request: what does the model write behind the prompt, up to a stop?"""

    prompt: str
    stop: tuple[str, ...] = ("\n",)
    max_new_tokens: int = 32


Request = Score | Generate
OwnHead = Callable[..., Head | None]


def no_own_head(name: str, outputs: int, **fields: Any) -> None:
    """A model of no family has no head of its own."""


@dataclass(frozen=True)
class Asked:
    """What a recipe asks of a task: the column of each role, the row length, and options of this task alone.

    `own` gives the head that the model's own class has, by its name (`class`, `value`, `tags`, `span`), the number of
    its outputs and fields that are asked to be others; `None` where no class of its family is like that. `start` is the
    token that a decoder begins with which reads an encoder, `writes` how the model does where its towers do not say it.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    length: int = 128
    dropout: float = 0.1
    options: Mapping[str, Any] = field(default_factory=dict)
    own: OwnHead = no_own_head
    start: int | None = None
    writes: Way | None = None


class Replier(Protocol):
    """What answers a task in the place of a head of the model."""

    def __call__(self, task: Task, model: Backbone, examples: Sequence[Example]) -> list[Answer]:
        """One answer an example, in the order of the examples."""
        ...


class Task(ABC):
    """Rows in, marked answers out. A task is made from its training rows (`made`) and restored beside a model.

    `inputs` are the roles that are always read, `optional` those that may be, `target` the role that is learned;
    `options` the names of the options that `made` knows. `columns` maps roles to the columns of the rows. `beside` are
    optional roles that the model does not read (ids). `apart_by` are the roles whose first that has a column groups
    rows: those that are equal in it are set aside together; with `stratified` the same share of each label is.
    """

    kind: ClassVar[str]
    card: ClassVar[str] = "text-classification"  # the pipeline tag of a model card
    inputs: ClassVar[tuple[str, ...]] = ("text",)
    optional: ClassVar[tuple[str, ...]] = ()
    target: ClassVar[str] = "label"
    options: ClassVar[tuple[str, ...]] = ()
    beside: ClassVar[tuple[str, ...]] = ()
    stratified: ClassVar[bool] = True
    apart_by: ClassVar[tuple[str, ...]] = ()  # none: rows that are equal in all inputs

    objective: Objective
    tokenizer: Tokenizer
    columns: Mapping[str, str]
    length: int
    replier: Replier | None = None  # a classical head on the states of the model: it has no head of its own then
    writes: Way | None = None  # how a model that learned this writes, where its towers do not say it
    needs_validation: bool = False  # without validation rows `tune` would have nothing to choose by

    @classmethod
    @abstractmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> Task:
        """The task that the training rows state; what was inferred is said."""

    @classmethod
    def reads(cls, columns: Mapping[str, str]) -> list[str]:
        """The columns of the rows behind roles, in their order."""
        return list(columns.values())

    @classmethod
    @abstractmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> Task:
        """The inverse of `described`."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Plain values that restore the task beside a saved model."""

    @abstractmethod
    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        """Rows → examples, numbered from 0; `Example.row` is the number of its row where a row gives several."""

    @abstractmethod
    def predict(self, model: Backbone, batch: Batch) -> Sequence[Answer]:
        """One answer an example of the batch, in its order."""

    @abstractmethod
    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """Predictions and labels, item by item, as `METRICS[metric]` reads them."""

    @abstractmethod
    def shown(self, answer: Answer) -> dict[str, Any]:
        """The columns of a predictions file for one row."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """The names of the scores that `mark` gives; the first is the one that the judge chooses by."""

    @property
    @abstractmethod
    def answered(self) -> tuple[str, ...]:
        """The names of the columns of `shown`."""

    def request(self, row: Row) -> Request:
        """The prompted way; `E-USAGE` where a task has none."""
        raise ModeledgeError("E-USAGE", f"the task {self.kind!r} cannot be prompted")

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """The answer that a prompted model gave: choice scores `[choices]` for `Score`, a text for `Generate`."""
        raise ModeledgeError("E-USAGE", f"the task {self.kind!r} cannot be prompted")

    def truncated(self, examples: Sequence[Example]) -> int:
        """How many examples lose tokens to the row length."""
        return 0

    def remarks(self, examples: Sequence[Example]) -> Sequence[str]:
        """What a reader should know of these examples beside `truncated`: what was left out, each with its count."""
        return ()

    def check(self, learned: Sequence[Row], asked: Sequence[Row], *, apart: bool) -> None:
        """Refuse rows that cannot be marked by what is learned. `apart`: the asked rows have a file of their own."""
        return

    def check_model(self, model: Backbone) -> None:
        """Refuse a model that could be trained on this task, but not asked (`E-USAGE`)."""
        return

    def settle(self, answers: Sequence[Answer], examples: Sequence[Example]) -> list[Answer]:
        """One answer a row, in the order of the rows, out of one an example."""
        return list(answers)

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """One answer of several models' to one row: the mean of probabilities, or of values."""
        first = answers[0]
        if first.probabilities:
            shares = mean_shares(answers)
            return replace(first, value=max(range(len(shares)), key=shares.__getitem__), probabilities=shares)
        if isinstance(first.value, float):
            return replace(first, value=sum(answer.value for answer in answers) / len(answers))
        what = f"answers of the task {self.kind!r} have no mean"
        raise ModeledgeError("E-USAGE", what, remedy="evaluate each model by itself")

    def rows_of(self, examples: Sequence[Example]) -> list[Example]:
        """One example a row: what `sides` is given beside settled answers."""
        first: dict[int, Example] = {}
        for example in examples:
            first.setdefault(example.index if example.row is None else example.row, example)
        return list(first.values())

    def tune(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Sequence[str]:
        """After training: choose what validation rows decide (a threshold) by their settled answers; what to say."""
        return ()

    def finish(self, model: Backbone) -> None:
        """After training, before saving: let the weights say what the task has added."""
        return

    def config_words(self) -> dict[str, Any]:
        """What a configuration of the reference library says of the answers: `id2label`, `label2id`, `problem_type`."""
        return {}

    def batches(self, examples: Sequence[Example], size: int) -> Iterator[Batch]:
        """Examples as packed batches, similar lengths together; labels may be absent."""
        order = sorted(range(len(examples)), key=lambda i: (self.tokens(examples[i]), i))
        for start in range(0, len(order), size):
            chosen = [self.unlabelled(examples[i]) for i in order[start : start + size]]
            ready = [self.objective.prepare(example, Noise(0)) for example in chosen]
            yield collate(ready, Shape(max(self.seq, *(max(p.lengths()) for p in ready))))

    @property
    def seq(self) -> int:
        """The longest row that an example needs."""
        return self.length

    def tokens(self, example: Example) -> int:
        """About how many tokens an example has: for sorting."""
        return len(example.ids) + (0 if example.pair is None else len(example.pair))

    def unlabelled(self, example: Example) -> Example:
        """The example as `prepare` can take it where its label is not known."""
        return example

    def reply(self, model: Backbone, examples: Sequence[Example], size: int = 256) -> list[Answer]:
        """One answer an example, in the order of the examples; the model is in evaluation mode."""
        if self.replier is not None:
            return self.replier(self, model, examples)
        told: dict[int, Answer] = {}
        for batch in self.batches(examples, size):
            told |= {a.index: a for a in self.predict(model, batch.to(model.device))}
        return [told[example.index] for example in examples]

    def marked_by(self, answers: Sequence[Answer]) -> tuple[str, ...]:
        """Those of `metrics` that these answers hold enough for."""
        return self.metrics

    def mark(self, answers: Sequence[Answer], examples: Sequence[Example]) -> dict[str, float]:
        """Scores by name, of settled answers."""
        gold = self.rows_of(examples)
        return {name: float(METRICS[name](*self.sides(name, answers, gold))) for name in self.marked_by(answers)}


def mean_shares(answers: Sequence[Answer]) -> tuple[float, ...]:
    """The mean probability of each class over several models' answers to one row."""
    by_class = zip(*(answer.probabilities for answer in answers), strict=True)
    return tuple(sum(column) / len(answers) for column in by_class)


def role_columns(kind: type[Task], given: Mapping[str, str]) -> dict[str, str]:
    """The column of each role of a task: as given, or the role's own name. An unknown role is `E-CONFIG-KEY`,
    one column for two roles that are read `E-CONFIG-VALUE`."""
    roles = (*kind.inputs, *kind.optional, kind.target)
    for role in given:
        if role not in roles:
            what = f"the task {kind.kind!r} has no role {role!r}"
            raise ModeledgeError("E-CONFIG-KEY", what, where="columns", remedy=nearest(role, roles))
    always = {role: given.get(role, role) for role in (*kind.inputs, kind.target)}
    columns = always | {role: given[role] for role in kind.optional if role in given}
    read: dict[str, str] = {}
    for role in (role for role in columns if role not in kind.beside):
        if (other := read.setdefault(columns[role], role)) != role:
            what = f"the roles {other!r} and {role!r} are both column {columns[role]!r}"
            why = "the label would be read" if kind.target in (other, role) else "the same would be read twice"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="columns", why=why, remedy="name a column for each role")
    return columns


def known_options(kind: type[Task], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options; one that the task has not is refused (`E-CONFIG-KEY`)."""
    for name in given:
        if name not in kind.options:
            what = f"the task {kind.kind!r} has no option {name!r}"
            raise ModeledgeError("E-CONFIG-KEY", what, where="options", remedy=nearest(name, kind.options))
    return dict(given)
