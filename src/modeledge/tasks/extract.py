"""Extractive question answering: the answer is a piece of the text (SQuAD 1.1 and 2.0).

An encoder reads `[CLS] question [SEP] window [SEP]`, a long text in several windows that overlap, and scores each token
as the first and as the last of the answer (Devlin et al. 2019, sections 4.2 and 4.3; figure 4c). The best span of all
windows is cut out of the text by its characters, so that it is a piece of it to the letter. Where questions may have no
answer (Rajpurkar et al. 2018) the first token's score stands for "none": the text is answered with nothing where that
score is above the best span's by more than a threshold, which validation rows choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np
import torch

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.model.heads import TokenHead
from modeledge.objectives import NOT_HERE, UNKNOWN, Span, SpanPrepare
from modeledge.records import Example, IntArray
from modeledge.tasks.columns import text_of, where_of
from modeledge.tasks.found import Found, found_answer, joined_answer
from modeledge.tasks.gold import Gold, gold_of, pairs_of, truth_of
from modeledge.tasks.shapes import shape_for
from modeledge.tasks.spans import Best, Search, Told, best_of_rows, best_threshold
from modeledge.tasks.task import Answer, Asked, Generate, Request, Row, Say, Task, known_options, role_columns
from modeledge.tasks.windows import tokens_of, trimmed, windows
from modeledge.tokens import Tokenizer

NO_ANSWER = "unanswerable"  # how a prompted model says it
CUT, PLACES, LOST, LONG = range(4)  # what `counts` holds: see `ExtractTask.encode`


class ExtractTask(Task):
    """A question and a text in, a piece of the text out; `""` where it does not answer."""

    kind: ClassVar[str] = "extract"
    card: ClassVar[str] = "question-answering"
    inputs: ClassVar[tuple[str, ...]] = ("question", "context")
    optional: ClassVar[tuple[str, ...]] = ("id", "is_impossible", "title")
    target: ClassVar[str] = "answers"
    beside: ClassVar[tuple[str, ...]] = ("id", "is_impossible", "title")
    stratified: ClassVar[bool] = False
    apart_by: ClassVar[tuple[str, ...]] = ("title", "context")
    options: ClassVar[tuple[str, ...]] = (*Search.__dataclass_fields__, "empty_is_impossible")
    answered: tuple[str, ...] = ("prediction", "start", "end", "confidence")

    def __init__(
        self,
        tokenizer: Tokenizer,
        facts: Facts,
        *,
        length: int,
        columns: Mapping[str, str],
        impossible: bool = False,
        empty_is_impossible: bool = False,
        search: Search | None = None,
    ) -> None:
        if facts.both:
            why, remedy = "two stacks read one text each", "take an encoder or a decoder, or let the model write"
            raise ModeledgeError("E-CONFIG", "an encoder–decoder has no span head here", why=why, remedy=remedy)
        self.tokenizer, self.length, self.search = tokenizer, length, search or Search()
        self.all_columns, self.impossible, self.empty_is_impossible = dict(columns), impossible, empty_is_impossible
        self.columns = {role: columns[role] for role in (*self.inputs, self.target)}
        self.prepare = SpanPrepare(shape_for(tokenizer, facts, "class", length))
        self.objective: Span = Span(self.prepare, TokenHead(outputs=2))

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> ExtractTask:
        """With questions that have no answer, where the training rows hold some. The head has no dropout, as BERT's."""
        columns, options = role_columns(cls, asked.columns), known_options(cls, asked.options)
        empty = options.pop("empty_is_impossible", False)
        task = cls(
            tokenizer,
            facts,
            length=asked.length,
            columns=columns,
            empty_is_impossible=empty,
            search=Search(**options),
        )
        own = asked.own("span", 2)
        if isinstance(own, TokenHead):
            task.objective = Span(task.prepare, own)
        without = sum(task.has_none(row, number) for number, row in enumerate(rows))
        task.impossible = without > 0
        say(f"task: {len(rows)} questions, {without or 'none'} without an answer in their text")
        return task

    def described(self) -> dict[str, Any]:
        """What `predict` must know beside the weights: columns, lengths, and the threshold."""
        return {
            "columns": self.all_columns,
            "length": self.length,
            "impossible": self.impossible,
            "empty_is_impossible": self.empty_is_impossible,
            **asdict(self.search),
        }

    @classmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> ExtractTask:
        """The inverse of `described`."""
        names = ("length", "columns", "impossible", "empty_is_impossible")
        search = Search(**{name: said[name] for name in Search.__dataclass_fields__})
        return cls(tokenizer, facts, search=search, **{name: said[name] for name in names})

    def has_none(self, row: Row, number: int) -> bool:
        """Is this question marked as one without an answer?"""
        column, where = self.all_columns.get("is_impossible", "is_impossible"), where_of(row, number)
        if self.empty_is_impossible and not pairs_of(row.get(self.columns["answers"]), where):
            return True
        return truth_of(row.get(column), column, where)

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        """Rows → windows. `label` is the answer's first and last token, counted in the example.

        Channels: `offsets [tokens, 2]`, the characters of the window's tokens; `context`; `gold`, the right answers;
        `counts`: tokens cut from the question, places in which an answer without offset stands, whether no window
        holds the answer, tokens of an answer that is longer than `max_answer`.
        """
        question, context = self.columns["question"], self.columns["context"]
        asked = self.tokenizer.encode_batch([text_of(row, question, i) for i, row in enumerate(rows)])
        read: dict[str, tuple[IntArray, IntArray]] = {}
        examples = list[Example]()
        for number, row in enumerate(rows):
            text, where = text_of(row, context, number), where_of(row, number)
            if text not in read:
                ids, offsets = self.tokenizer.encode_spans(text)
                read[text] = ids, trimmed(offsets, text).astype(np.int32)
            gold = None
            if labelled:
                gold = gold_of(text, row.get(self.columns["answers"]), self.has_none(row, number), where)
            whole = Example(number, asked[number], read[text][0], where=where, row=number)
            examples += self._windows(whole, text, read[text][1], gold, len(examples))
        return examples

    def _windows(self, whole: Example, text: str, offsets: IntArray, gold: Gold | None, index: int) -> list[Example]:
        """The windows of one row, numbered from `index`."""
        question = whole.ids[: self.search.max_question]
        if self.prepare.room(len(whole.ids)) < 1:
            what = f"the question has {len(whole.ids)} tokens, a row {self.length}"
            raise ModeledgeError("E-QUESTION-TOO-LONG", what, where=whole.where)
        assert whole.pair is not None
        bounds = windows(len(whole.pair), self.prepare.room(len(question)), self.search.stride)
        inside = tokens_of(offsets, gold.start, gold.start + len(gold.texts[0])) if gold and gold.texts else None
        labels = self._labels(bounds, gold, inside, self.prepare.before(len(question)))
        tokens = inside[1] - inside[0] + 1 if inside else 0
        counts = [0, 0, 0, 0]
        counts[CUT], counts[PLACES] = len(whole.ids) - len(question), gold.places if gold else 0
        counts[LOST], counts[LONG] = UNKNOWN in labels, tokens if tokens > self.search.max_answer else 0
        shared: dict[str, Any] = {"context": np.array(text, dtype=object), "counts": np.array(counts)}
        if gold is not None:
            shared["gold"] = np.array(gold.texts, dtype=object)
        return [
            replace(
                whole,
                index=index + n,
                ids=question,
                pair=whole.pair[a:b],
                label=labels[n],
                channels={"offsets": offsets[a:b], **shared},
            )
            for n, (a, b) in enumerate(bounds)
        ]

    def _labels(
        self, bounds: Sequence[tuple[int, int]], gold: Gold | None, inside: tuple[int, int] | None, before: int
    ) -> list[tuple[int, int] | None]:
        """The label of each window: `NOT_HERE` is right only where there is no answer, or another window holds it."""
        if gold is None:
            return [None] * len(bounds)
        if not gold.texts:
            return [NOT_HERE] * len(bounds)
        first, last = inside or (0, -1)
        held = [inside is not None and a <= first and last < b for a, b in bounds]
        elsewhere = NOT_HERE if any(held) else UNKNOWN
        places = [(before + first - a, before + last - a) for a, _ in bounds]
        return [place if here else elsewhere for place, here in zip(places, held, strict=True)]

    def unlabelled(self, example: Example) -> Example:
        """A label that weighs nothing, where there is none."""
        return example if example.label is not None else replace(example, label=UNKNOWN)

    def remarks(self, examples: Sequence[Example]) -> list[str]:
        """What was cut, searched and left out, each with its count."""
        counts = np.array([example.channels["counts"] for example in self.rows_of(examples)]).reshape(-1, 4)
        elsewhere = sum(e.label == NOT_HERE and len(e.channels["gold"]) > 0 for e in examples)
        lost, search = sum(e.label == UNKNOWN for e in examples), self.search
        cut, several, unheld, long = (int(n) for n in (counts > np.array([0, 1, 0, 0])).sum(0))
        told = {
            f"{cut} questions were cut to {search.max_question} tokens": cut,
            f"{several} answers without an offset stand in several places: the first is taken": several,
            f"{unheld} answers fit no window whole: their {lost} windows teach nothing": unheld,
            f"{long} answers are longer than max_answer = {search.max_answer} tokens and cannot be given": long,
            f"{elsewhere} windows lack the answer that another of theirs holds: labelled as without one": elsewhere,
        }
        return [words for words, count in told.items() if count]

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """One answer a window: `details` are the start and end scores of its tokens `[tokens, 2]`; see `settle`."""
        with torch.no_grad():
            scores = self.objective.scores(model, batch).cpu().numpy()
        lengths = (batch.spans[:, 2] - batch.spans[:, 1]).tolist()
        told = zip(batch.indices.tolist(), scores, lengths, strict=True)
        return [Answer(index, None, details=window[:count]) for index, window, count in told]

    def settle(self, answers: Sequence[Answer], examples: Sequence[Example]) -> list[Answer]:
        """One answer a row, out of the best spans of all its windows; `index` is the number of the row."""
        read = [(self.prepare.before(len(example.ids)), example.channels["offsets"]) for example in examples]
        scores = [a.details[n : n + len(o)] for a, (n, o) in zip(answers, read, strict=True)]
        firsts = self.rows_of(examples)
        numbers = {example.row: n for n, example in enumerate(firsts)}
        told = Told(
            rows=np.array([numbers[example.row] for example in examples], dtype=np.int64),
            scores=scores,
            offsets=[offsets for _, offsets in read],
            nulls=np.array([answer.details[0].sum(dtype=np.float64) for answer in answers]),
        )
        best = best_of_rows(told, self.search, impossible=self.impossible)
        return [self._answer(example, found) for example, found in zip(firsts, best, strict=True)]

    def _answer(self, example: Example, best: Best) -> Answer:
        """The answer of one row, and what `tune` must know to choose the other way."""
        number = example.index if example.row is None else example.row
        threshold = self.search.null_threshold if self.impossible else None
        return found_answer(number, best, threshold, example.channels["context"].item())

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """The span with the largest mean share; see `modeledge.tasks.found`. A text that was written has none."""
        if not all(isinstance(answer.details, Found) for answer in answers):
            return super().joined(answers)
        return joined_answer(answers[0].index, [answer.details for answer in answers])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Word F1 and exact match, as the official scripts have them."""
        return ("f1_answer", "exact_match")

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """Texts, and the texts that count as right of each ("" where there is no answer)."""
        told = {answer.index: answer.value for answer in answers}
        rows = [example.index if example.row is None else example.row for example in examples]
        return [told[row] for row in rows], [example.channels["gold"].tolist() or [""] for example in examples]

    def tune(self, answers: Sequence[Answer], examples: Sequence[Example]) -> list[str]:
        """Choose the threshold of "no answer" that marks best on these settled answers."""
        if not self.impossible or not answers:
            return []
        name = self.metrics[0]
        margins = np.array([answer.details.best.margin for answer in answers])
        spoken = [replace(answer, value=answer.details.text) for answer in answers]
        sides = (
            self.sides(name, told, self.rows_of(examples)) for told in (spoken, [replace(a, value="") for a in spoken])
        )
        given, silent = (np.array([METRICS[name]([t], [g]) for t, g in zip(*side, strict=True)]) for side in sides)
        threshold, mark = best_threshold(margins, given, silent)
        self.search = replace(self.search, null_threshold=threshold)
        return [f"null_threshold {threshold:.4g}: {name} {mark:.4f} on {len(margins)} validation rows"]

    def shown(self, answer: Answer) -> dict[str, Any]:
        """The text, the characters at which it starts and ends, and its probability among the best."""
        found: Found | None = answer.details
        if found is None:
            told: tuple[Any, ...] = (answer.value, None, None, None)
        elif answer.value == "":
            told = ("", None, None, round(found.best.null, 6))
        else:
            told = (answer.value, *(found.best.place or ()), round(found.best.share, 6))
        return dict(zip(self.answered, told, strict=True))

    def request(self, row: Row) -> Request:
        """The text, the question, and a place for the answer; where there may be none, how to say so."""
        question, context = (text_of(row, self.columns[role], 0) for role in self.inputs)
        hint = f" (Say {NO_ANSWER} if the text does not tell.)" if self.impossible else ""
        return Generate(f"{context}\nQuestion: {question}{hint}\nAnswer:")

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """What the model wrote, stripped."""
        text = str(told).strip()
        silent = self.impossible and text.rstrip(".!").lower() == NO_ANSWER
        return Answer(index, "" if silent else text)

    def check(self, learned: Sequence[Row], asked: Sequence[Row], *, apart: bool) -> None:
        """Refuse questions without an answer that are only asked: the model never learned to say nothing."""
        without = 0 if self.impossible else sum(self.has_none(row, n) for n, row in enumerate(asked))
        if without:
            what = f"{without} of {len(asked)} evaluation rows have no answer, and no training row is so"
            raise ModeledgeError("E-CLASS-UNSEEN", what)
