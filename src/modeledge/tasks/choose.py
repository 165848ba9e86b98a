"""Multiple choice: a context (or none) and alternatives, one of which is right. See `modeledge.objectives.choice`.

SWAG, COPA, RACE, ARC, ROCStories and HellaSwag have this form. The alternatives are a list in one column, or stand in
several columns (`choices = "A,B,C,D"`); their number may differ from row to row. A `question` is put before each
alternative, where there is one (RACE; the begun second sentence of SWAG), and is never cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, get_args

import numpy as np
import torch

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.model.heads import ClassHead, Pool
from modeledge.objectives import ChoicePrepare, Choose
from modeledge.records import Example
from modeledge.tasks.alternatives import Numbering, alternatives_of, columns_of, numbering
from modeledge.tasks.columns import text_of, where_of
from modeledge.tasks.shapes import checked_share, shape_for
from modeledge.tasks.task import Answer, Asked, Request, Row, Say, Score, Task, known_options, role_columns
from modeledge.tasks.wording import Wording, shares_of
from modeledge.tokens import Tokenizer

TEXTS = "texts"  # the channel with the alternatives as they were written


class ChoiceTask(Task):
    """One of the alternatives of each row. `most` is the largest number of them in the training rows: rows of a batch
    are wide enough for an example with so many."""

    kind: ClassVar[str] = "choice"
    card: ClassVar[str] = "multiple-choice"
    inputs: ClassVar[tuple[str, ...]] = ("choices",)
    optional: ClassVar[tuple[str, ...]] = ("text", "question")
    options: ClassVar[tuple[str, ...]] = ("pool", "hidden", "lm", "label_is", "first", "template")
    stratified: ClassVar[bool] = False

    def __init__(
        self,
        tokenizer: Tokenizer,
        facts: Facts,
        columns: Mapping[str, str],
        numbers: Numbering,
        *,
        length: int,
        most: int,
        head: ClassHead | None = None,
        lm: float = 0.0,
        wording: Wording = Wording(),  # noqa: B008
    ) -> None:
        if facts.both:
            what = "a decoder that reads an encoder has no row in which choices stand side by side"
            raise ModeledgeError("E-USAGE", what, remedy="take an encoder or a decoder alone, or let the model write")
        self.tokenizer, self.columns, self.numbers, self.length = tokenizer, dict(columns), numbers, length
        self.most, self.wording = most, wording
        self.head = head or plain_head(facts)
        shape = replace(shape_for(tokenizer, facts, "class", length), lm=checked_share(lm, facts) > 0)
        self.prepare = ChoicePrepare(shape)
        self.objective: Choose = Choose(self.prepare, self.head, lm=lm)

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> ChoiceTask:
        """How the labels name the alternatives is read off the training rows, and said."""
        columns = role_columns(cls, asked.columns)
        options = known_options(cls, asked.options)
        if options.get("pool") not in (None, *get_args(Pool)):
            what = f"there is no pooling {options['pool']!r}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.pool", remedy="first, last, mean or max")
        if not rows:
            raise ModeledgeError("E-EMPTY-SPLIT", "there is no training row")
        told = [alternatives_of(row, columns["choices"], i) for i, row in enumerate(rows)]
        wheres = [where_of(row, i) for i, row in enumerate(rows)]
        labels = [row.get(columns["label"]) for row in rows]
        numbers = numbering(labels, told, wheres, options.get("label_is"), options.get("first"))
        counts = sorted({len(texts) for texts in told})
        many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        say(f"task: {many} choices a row; {numbers.said} (options label_is and first say otherwise)")
        head = plain_head(facts, options.get("pool"), options.get("hidden"), asked.dropout)
        wording = Wording.of(options)
        lm = options.get("lm", 0.0)
        more: dict[str, Any] = {"length": asked.length, "most": counts[-1], "head": head, "lm": lm, "wording": wording}
        return cls(tokenizer, facts, columns, numbers, **more)

    def described(self) -> dict[str, Any]:
        """Columns, how labels are written, length and shape."""
        return {
            "columns": dict(self.columns),
            "label_is": self.numbers.kind,
            "first": self.numbers.first,
            "length": self.length,
            "most": self.most,
            "pool": self.head.pool,
            "hidden": self.head.hidden,
            "template": self.wording.template,
        }

    @classmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> ChoiceTask:
        """The inverse of `described`."""
        numbers = Numbering(said["label_is"], said["first"])
        head = plain_head(facts, said["pool"], said["hidden"])
        sizes = {name: said[name] for name in ("length", "most")}
        return cls(tokenizer, facts, said["columns"], numbers, head=head, wording=Wording.of(said), **sizes)

    @classmethod
    def reads(cls, columns: Mapping[str, str]) -> list[str]:
        """Several columns stand behind the role "choices" where it names several."""
        return [c for role, named in columns.items() for c in (columns_of(named) if role == "choices" else [named])]

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        """Rows → examples: the context in `ids`, the alternatives in channels."""
        told = [alternatives_of(row, self.columns["choices"], i) for i, row in enumerate(rows)]
        contexts = self.tokenizer.encode_batch([self.optional_text(row, "text", i) for i, row in enumerate(rows)])
        asked = [self.optional_text(row, "question", i) for i, row in enumerate(rows)]
        spelled = [f"{q} {text}" if q else text for q, texts in zip(asked, told, strict=True) for text in texts]
        ids, place, examples = self.tokenizer.encode_batch(spelled), 0, []
        for i, (row, texts) in enumerate(zip(rows, told, strict=True)):
            mine, where = ids[place : place + len(texts)], where_of(row, i)
            place += len(texts)
            label = self.numbers.number(row.get(self.columns["label"]), texts, where) if labelled else None
            ends = np.cumsum([len(m) for m in mine])
            channels = {"choices": np.concatenate(mine), "ends": ends, TEXTS: np.array(texts, dtype=np.str_)}
            examples.append(Example(i, contexts[i], label=label, where=where, channels=channels))
        return examples

    def optional_text(self, row: Row, role: str, index: int) -> str:
        """The text of a role, or none where the task has no such column."""
        return text_of(row, self.columns[role], index) if role in self.columns else ""

    def check(self, learned: Sequence[Row], asked: Sequence[Row], *, apart: bool) -> None:
        """Every label names one of its row's alternatives."""
        for index, row in enumerate(asked):
            texts = alternatives_of(row, self.columns["choices"], index)
            self.numbers.number(row.get(self.columns["label"]), texts, where_of(row, index))

    def truncated(self, examples: Sequence[Example]) -> int:
        """How many contexts lose tokens to the row length."""
        return sum(self.prepare.truncated(example) > 0 for example in examples)

    def unlabelled(self, example: Example) -> Example:
        """A label that nobody reads, where there is none."""
        return example if example.label is not None else replace(example, label=0)

    @property
    def seq(self) -> int:
        """All alternatives of an example stand in one row."""
        return self.length * self.most

    def tokens(self, example: Example) -> int:
        """The context is read once an alternative."""
        return len(example.ids) * len(example.channels["ends"]) + len(example.channels["choices"])

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """The likeliest alternative of each example, and the probability of each that it has."""
        with torch.no_grad():
            scores = self.objective.scores(model, batch).cpu()
        shares, best = torch.softmax(scores, -1).tolist(), scores.argmax(-1).tolist()
        counts = torch.isfinite(scores).sum(-1).tolist()
        return [
            Answer(int(i), b, tuple(s[:count]))
            for i, b, s, count in zip(batch.indices, best, shares, counts, strict=True)
        ]

    def settle(self, answers: Sequence[Answer], examples: Sequence[Example]) -> list[Answer]:
        """Answers that know the text of what they chose."""
        texts = {example.index: example.channels[TEXTS] for example in examples}
        return [replace(answer, details=str(texts[answer.index][answer.value])) for answer in answers]

    @property
    def metrics(self) -> tuple[str, ...]:
        """How often the right alternative is chosen."""
        return ("accuracy",)

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """Numbers of alternatives `[rows]`."""
        told = {answer.index: answer.value for answer in answers}
        return np.array([told[e.index] for e in examples]), np.array([e.label for e in examples])

    @property
    def answered(self) -> tuple[str, ...]:
        """The answer as labels are written, its text and confidence, and the probability of every alternative."""
        return ("prediction", "choice", "confidence", "probabilities")

    def shown(self, answer: Answer) -> dict[str, Any]:
        """One row of a predictions file."""
        shares = [round(p, 6) for p in answer.probabilities]
        prediction = self.numbers.written(answer.value, str(answer.details))
        return dict(zip(self.answered, (prediction, answer.details, shares[answer.value], shares), strict=True))

    def request(self, row: Row) -> Request:
        """Which alternative is likeliest behind the context (and the question)?"""
        texts = {role: text_of(row, self.columns[role], 0) for role in ("text", "question") if role in self.columns}
        choices = alternatives_of(row, self.columns["choices"], 0)
        prompt = self.wording.prompt(texts) if texts or self.wording.template else ""
        return Score(prompt, tuple(f" {choice}" if prompt else choice for choice in choices))

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """Scores `[choices]` → the likeliest one."""
        assert isinstance(request, Score)
        shares = shares_of(told)
        best = int(np.argmax(shares))
        return Answer(index, best, tuple(float(s) for s in shares), request.choices[best].strip())


def plain_head(facts: Facts, pool: Pool | None = None, hidden: bool | None = None, dropout: float = 0.0) -> ClassHead:
    """One score: behind BERT's pooler at the first token of an encoder, at the last token of a decoder."""
    encoder = facts.encoder is not None
    hidden = encoder if hidden is None else hidden
    return ClassHead(outputs=1, pool=pool or ("first" if encoder else "last"), hidden=hidden, dropout=dropout)
