"""A tag for each word: parts of speech, chunks, named entities, on an encoder or a decoder.

A row has its words and a tag for each. A word is read at its first piece (`objectives/tag.py`); a sentence that is
longer than a row is cut into windows that overlap, and each word is answered in the one that shows most around it. So
there is one answer a word, always: a word without a piece (control characters) is answered "O", and counted as unread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import torch

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.model.heads import TokenHead
from modeledge.objectives import TagPrepare, TagTokens
from modeledge.objectives.tag import BEGINS, ENDS, owners
from modeledge.records import Example, FloatArray, IntArray
from modeledge.tasks.columns import texts_of, where_of
from modeledge.tasks.decode import Steps, decoded
from modeledge.tasks.labels import Labels, check_unseen, infer
from modeledge.tasks.schemes import OUTSIDE, REFUSED, Span, legal_steps, scheme_of, spans_of
from modeledge.tasks.shapes import checked_smoothing, shape_for
from modeledge.tasks.tag_prompt import TagRequest, asked_for, read_tags
from modeledge.tasks.tagged import (
    Scored,
    Tagged,
    TagShape,
    check_decode,
    check_scheme,
    learned_steps,
    mean_tagged,
    whole_row,
    words_in,
)
from modeledge.tasks.task import Answer, Asked, Request, Row, Say, Task, known_options, role_columns
from modeledge.tasks.words import Words, read_places, stop_places, windows
from modeledge.tokens import Tokenizer

TINY = 1e-300  # below every share; its logarithm is far above `REFUSED`
ANSWERED = ("prediction", "confidences", "spans", "unread")


class TagTask(Task):
    """Words (`tokens`) and their `tags`: two lists of one length."""

    kind: ClassVar[str] = "tag"
    card: ClassVar[str] = "token-classification"
    inputs: ClassVar[tuple[str, ...]] = ("tokens",)
    target: ClassVar[str] = "tags"
    options: ClassVar[tuple[str, ...]] = ("decode", "scheme", "stride", "smoothing")

    objective: TagTokens

    def __init__(
        self, labels: Labels, tokenizer: Tokenizer, facts: Facts, columns: Mapping[str, str], shape: TagShape
    ) -> None:
        self.labels, self.tokenizer, self.columns, self.shape = labels, tokenizer, columns, shape
        self.length, self.left_to_right = shape.length, facts.encoder is None
        self.scheme = scheme_of(labels.names, shape.scheme)
        check_decode(shape, self.scheme is not None)
        if facts.both:
            what = "a decoder that reads an encoder has no state of each word of its source"
            raise ModeledgeError("E-USAGE", what, remedy="tag with an encoder or a decoder alone")
        around = shape_for(tokenizer, facts, "class", shape.length)
        assert around.side != "both", "two stacks were refused"
        last = None if self.left_to_right else around.last
        self.room = shape.length - sum(id is not None for id in (around.first, last))
        self.stride = self.room // 4 if shape.stride is None else shape.stride
        if not 0 <= self.stride < self.room:
            what = f"windows of {self.room} pieces cannot share {self.stride}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.stride", remedy="raise the row length")
        prepare = TagPrepare(around.side, around.first, last, around.types, shape.decode == "crf")
        head = TokenHead(outputs=len(labels.names), dropout=shape.dropout)
        self.objective = TagTokens(prepare, head, smoothing=checked_smoothing(shape.smoothing))
        self.legal: Steps | None = None
        if self.scheme is not None and shape.decode != "argmax":
            self.legal = legal_steps(labels.names, self.scheme)

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> TagTask:
        """The tags of the training rows and the scheme that they fit, said aloud."""
        columns = role_columns(cls, asked.columns)
        shape = TagShape(length=asked.length, dropout=asked.dropout, **known_options(cls, asked.options))
        words = [cls.words(row, columns, i) for i, row in enumerate(rows)]
        told = [cls.gold(row, w, columns, shape, i) for i, (row, w) in enumerate(zip(rows, words, strict=True))]
        labels = cls.named(told, [where_of(row, i) for i, row in enumerate(rows)], shape)
        task = cls(labels, tokenizer, facts, columns, shape)
        own = asked.own("tags", len(labels.names), dropout=asked.dropout)
        if isinstance(own, TokenHead):
            task.objective = TagTokens(task.objective.prepare, own, smoothing=checked_smoothing(shape.smoothing))
        task.introduce(rows, told, say)
        task.shape = replace(shape, scheme="none" if task.scheme is None else task.scheme.name)
        return task

    @classmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> TagTask:
        """The inverse of `described`."""
        return cls(Labels("class", tuple(said["names"])), tokenizer, facts, said["columns"], TagShape(**said["shape"]))

    def described(self) -> dict[str, Any]:
        """Tags, columns and shape."""
        return {"names": list(self.labels.names), "columns": dict(self.columns), "shape": asdict(self.shape)}

    @classmethod
    def words(cls, row: Row, columns: Mapping[str, str], number: int) -> Words:
        """The words of a row; none of them is empty."""
        told, where = texts_of(row, columns["tokens"], number), where_of(row, number)
        empty = [i for i, word in enumerate(told) if not word.strip()]
        if empty or not told:
            what = f"word {empty[0] + 1} is empty" if told else f"column {columns['tokens']!r} holds no word"
            raise ModeledgeError("E-MISSING-FIELD", what, where=where, remedy="drop the word with its tag, or the row")
        return Words.joined(told)

    @classmethod
    def gold(cls, row: Row, words: Words, columns: Mapping[str, str], shape: TagShape, number: int) -> list[str]:
        """The tags of a row, one a word (`E-LENGTH-MISMATCH`), none missing (`E-LABEL-MISSING`)."""
        where, column = where_of(row, number), columns["tags"]
        told = row.get(column)
        missing = [i for i, tag in enumerate(told) if tag in (None, "")] if isinstance(told, list | tuple) else []
        if told is None or missing:
            what = f"word {missing[0] + 1} has no tag" if missing else f"there are no {column}"
            raise ModeledgeError("E-LABEL-MISSING", what, where=where)
        tags = texts_of(row, column, number)
        if len(tags) != len(words):
            raise ModeledgeError("E-LENGTH-MISMATCH", f"{len(words)} words stand against {len(tags)} tags", where=where)
        return tags

    @classmethod
    def named(cls, told: Sequence[Sequence[str]], wheres: Sequence[str], shape: TagShape) -> Labels:
        """The tags that are learned: those that occur."""
        places = [f"{where}, word {n + 1}" for where, tags in zip(wheres, told, strict=True) for n in range(len(tags))]
        return infer(list(chain.from_iterable(told)), places, "class")

    def introduce(self, rows: Sequence[Row], told: Sequence[Sequence[str]], say: Say) -> None:
        """Say what was inferred, and refuse or say what breaks the scheme (`E-TAG-SCHEME`)."""
        names = self.labels.names
        spelled = "no scheme" if self.scheme is None else f"scheme {self.scheme.name}"
        say(f"task: {len(names)} tags, {spelled}: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}")
        if self.left_to_right:
            say("the model reads left to right: a tag is chosen before the words behind it are read")
        if self.scheme is not None:
            check_scheme(self.scheme, self.shape, rows, told, say)
        lost = [(e.where, int(e.channels["unread"][0])) for e in self.encode(rows) if "unread" in e.channels]
        lost = [(where, count) for where, count in lost if count]
        if lost:
            count = sum(n for _, n in lost)
            say(f"{count} words in {len(lost)} rows have no piece (first: {lost[0][0]}): not learned, answered 'O'")

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        """Rows → windows. The first one of a row holds its text, the places of its words and all their tags."""
        words = [self.words(row, self.columns, i) for i, row in enumerate(rows)]
        coded = self.tokenizer.encode_spans_batch([w.text for w in words])
        out: list[Example] = []
        for i, (row, w, (ids, offsets)) in enumerate(zip(rows, words, coded, strict=True)):
            where, reads = where_of(row, i), read_places(w, offsets)
            gold = self._numbers(self.gold(row, w, self.columns, self.shape, i), where) if labelled else None
            stops = stop_places(reads, len(ids))
            parts = windows(reads, len(ids), self.room, self.stride, both=not self.left_to_right)
            for n, (piece, owned) in enumerate(parts):
                ends = BEGINS * (n == 0) + ENDS * (n == len(parts) - 1)
                places = {"reads": reads[owned], "stops": np.minimum(stops[owned], piece.stop)}
                channels = {name: place - piece.start for name, place in places.items()}
                channels |= {"words": owned, "ends": np.array([ends])}
                if n == 0:
                    channels |= whole_row(w, reads) | ({} if gold is None else {"gold": gold})
                label = None if gold is None else tuple(gold[owned].tolist())
                out.append(Example(len(out), ids[piece], label=label, where=where, channels=channels, row=i))
        return out

    def _numbers(self, tags: Sequence[str], where: str) -> IntArray:
        told = [self.labels.number(tag, f"{where}, word {n + 1}") for n, tag in enumerate(tags)]
        return np.array(told, dtype=np.int64)

    def unlabelled(self, example: Example) -> Example:
        """Tags that nobody reads, where there are none."""
        return example if example.label is not None else replace(example, label=(0,) * len(example.channels["reads"]))

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """The scores of each window's words: `settle` joins them."""
        with torch.no_grad():
            scores = self.objective.scores(model, batch).float().cpu().numpy()
        counts = np.bincount(owners(batch).cpu().numpy(), minlength=len(batch.spans))
        parts = np.split(scores, np.cumsum(counts)[:-1])
        learned = learned_steps(model) if self.shape.decode == "crf" else None
        return [Answer(int(i), (), (), Scored(s, learned)) for i, s in zip(batch.indices, parts, strict=True)]

    def settle(self, answers: Sequence[Answer], examples: Sequence[Example]) -> list[Answer]:
        """One tuple of tags a row, out of the scores of its windows."""
        told = {answer.index: answer.details for answer in answers}
        groups = defaultdict[int, list[Example]](list)
        for example in examples:
            assert example.row is not None
            groups[example.row].append(example)
        return [self._joined(row, parts, [told[e.index] for e in parts]) for row, parts in groups.items()]

    def _joined(self, row: int, parts: Sequence[Example], told: Sequence[Scored]) -> Answer:
        known = np.concatenate([part.channels["words"] for part in parts])
        first = next(part for part in parts if "text" in part.channels)
        words = words_in(first)
        scores = np.zeros((len(words), len(self.labels.names)))
        unread = np.ones(len(words), dtype=np.bool_)
        unread[known] = False
        if OUTSIDE in self.labels.names:  # what is answered "O" is "O" to its neighbours too
            scores[unread] = REFUSED
            scores[unread, self.labels.names.index(OUTSIDE)] = 0.0
        scores[known] = np.concatenate([part.scores for part in told])
        best, shares = decoded(scores, self.legal, told[0].learned)
        return self._answer(row, words, best, np.where(unread[:, None], 0.0, shares))

    def _answer(self, row: int, words: Words, best: Any, shares: FloatArray) -> Answer:
        """The tags of a row, "O" where every share is 0: no model could read the word."""
        unread, names = shares.sum(-1) == 0, self.labels.names
        tags = tuple(OUTSIDE if lost else names[tag] for tag, lost in zip(best, unread, strict=True))
        sure = shares[np.arange(len(best)), best]
        return Answer(row, tags, (), Tagged(words, tuple(sure.tolist()), int(unread.sum()), shares=shares))

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """The best tags by each word's mean probabilities; the best sequence of those that a decoding scheme allows."""
        if len(answers) == 1:
            return answers[0]
        words, shares = mean_tagged([one.details for one in answers])
        known = np.where(shares.sum(-1, keepdims=True) > 0, shares, [float(n == OUTSIDE) for n in self.labels.names])
        best, _ = decoded(np.log(np.maximum(known, TINY)), self.legal)
        return self._answer(answers[0].index, words, best, shares)

    @property
    def metrics(self) -> tuple[str, ...]:
        """F1 of spans where the tags spell some, and the share of words that are right."""
        return ("entity_f1", "accuracy") if self.scheme is not None else ("accuracy",)

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """For `entity_f1` lists of the tags of each row; else tag numbers `[words]`, all rows behind each other."""
        told = {answer.index: answer.value for answer in answers}
        names = (*self.labels.names, OUTSIDE)
        numbers = {name: n for n, name in reversed(list(enumerate(names)))}
        gold = [example.channels["gold"] for example in examples]
        guesses = [told[example.row if example.row is not None else example.index] for example in examples]
        if metric == "entity_f1":
            return [list(tags) for tags in guesses], [[names[n] for n in tags] for tags in gold]
        return np.array([numbers[tag] for tags in guesses for tag in tags], dtype=np.int64), np.concatenate(gold)

    @property
    def answered(self) -> tuple[str, ...]:
        """Tags and confidences a word; spans of characters; how many words had no piece to be read at."""
        return ANSWERED

    def shown(self, answer: Answer) -> dict[str, Any]:
        """Spans are those that the tags spell (each word, where they spell none), with their characters in the text
        (of words: joined by single spaces); a span is as sure as its least sure word."""
        told: Tagged = answer.details
        sure = [round(c, 6) for c in told.confidences]
        spans = [
            {
                "text": told.words.word(first, last),
                "start": told.words.places[first][0],
                "end": told.words.places[last - 1][1],
                "label": kind,
                "confidence": min(sure[first:last], default=None),
            }
            for first, last, kind in self._spans(answer.value)
        ]
        return dict(zip(ANSWERED, (list(answer.value), sure, spans, told.unread), strict=True))

    def _spans(self, tags: Sequence[str]) -> list[Span]:
        return spans_of(tags) if self.scheme is not None else [(i, i + 1, tag) for i, tag in enumerate(tags)]

    @property
    def types(self) -> tuple[str, ...]:
        """What spans may be called: the tags without their prefixes."""
        return tuple(dict.fromkeys(kind for name in self.labels.names for _, _, kind in self._spans([name])))

    def check(self, learned: Sequence[Row], asked: Sequence[Row], *, apart: bool) -> None:
        """Refuse tags that training never shows (`E-CLASS-UNSEEN`); slips of case are named when they are read."""
        told, names = [tag for i, row in enumerate(asked) for tag in self._tags(row, i)], self.labels.names
        known = {*names, *(name.strip().lower() for name in names)}
        new = sorted({tag for tag in told if tag not in known and tag.strip().lower() not in known})
        check_unseen(range(len(names)), range(len(names) + len(new)), Labels("class", (*names, *new)))

    def _tags(self, row: Row, number: int) -> list[str]:
        return self.gold(row, self.words(row, self.columns, number), self.columns, self.shape, number)

    def request(self, row: Row) -> Request:
        """`type: text` lines, or where the tags spell no spans `tag: word` lines."""
        return asked_for(self.words(row, self.columns, 0), self.types, every=self.scheme is None)

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """The tags that the lines spell; a line that cannot be read is no span, and is counted."""
        assert isinstance(request, TagRequest)
        tags, unparsed = read_tags(str(told), request, self.scheme)
        return Answer(index, tuple(tags), (), Tagged(request.words, unparsed=unparsed))
