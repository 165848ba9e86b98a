"""What relates two entities of a text: the entities are marked in the text, and the whole is one class.

Baldini Soares et al. 2019 (arXiv 1906.03158) put a marker on each side of both entities, `[E1] … [/E1] … [E2] …
[/E2]`, and read the states of the two opening markers ("entities"); the plain form reads one pooled state, [CLS]
("pool"). A new marker would need a new row in the table of tokens. Here none is added: pieces of the vocabulary that
no text holds serve where it has them (BERT's `[unused1]` …), else the plain signs `@` and `#` (Zhou and Chen 2022,
arXiv 2102.01373, who find them no worse).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import numpy as np

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.model.facts import Facts
from modeledge.model.places import PlacesHead
from modeledge.objectives import Classify, MarkedPrepare
from modeledge.records import Example, IntArray
from modeledge.tasks.columns import field_of, text_of, texts_of, where_of
from modeledge.tasks.confidence import Scaling
from modeledge.tasks.decode import softmax
from modeledge.tasks.label import ClassTask
from modeledge.tasks.labels import Labels
from modeledge.tasks.shapes import checked_smoothing
from modeledge.tasks.task import Answer, Asked, Request, Row, Say, Score
from modeledge.tasks.words import Words
from modeledge.tokens import Tokenizer

UNUSED = ("[unused1]", "[unused2]", "[unused3]", "[unused4]")
SIGNS = (" @", " @", " #", " #")  # before and behind the head, before and behind the tail
MARKERS, READS = ("unused", "plain"), ("entities", "pool")


class RelationTask(ClassTask):
    """`text` with the spans `head` and `tail`, `[start, end]` in characters; or a list of words with spans of words."""

    kind: ClassVar[str] = "relation"
    inputs: ClassVar[tuple[str, ...]] = ("text", "head", "tail")
    optional: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[str, ...]] = (*ClassTask.options, "markers", "read")

    def __init__(
        self,
        labels: Labels,
        tokenizer: Tokenizer,
        config: Facts,
        *,
        head: str = "head",
        tail: str = "tail",
        markers: Literal["unused", "plain"] | None = None,
        read: Literal["entities", "pool"] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(labels, tokenizer, config, **more)
        self.columns = {**self.columns, "head": head, "tail": tail}
        encoder = config.encoder is not None and not config.both
        self.markers = markers or ("unused" if all(tokenizer.id(name) is not None for name in UNUSED) else "plain")
        self.read = read or ("entities" if encoder else "pool")
        for name, value, known in (("markers", self.markers, MARKERS), ("read", self.read, READS)):
            if value not in known:
                what = f"{name} is {value!r}"
                raise ModeledgeError("E-CONFIG-VALUE", what, where=f"options.{name}", remedy=nearest(str(value), known))
        self.marks = self._pieces()
        if self.read == "entities":
            if not encoder:
                why = "a decoder has not read an entity where it begins"
                raise ModeledgeError("E-CONFIG-VALUE", "read is 'entities'", where="options.read", why=why)
            said = {f.name: getattr(self.prepare, f.name) for f in fields(self.prepare) if f.name != "channels"}
            self.prepare = MarkedPrepare(**said)
            places = PlacesHead(outputs=len(labels.names), dropout=more.get("dropout", 0.0))
            self.objective = Classify(
                self.prepare, cast(Any, places), smoothing=checked_smoothing(more.get("smoothing", 0.0))
            )

    def _pieces(self) -> list[IntArray]:
        """The ids of the four markers (`E-SPECIAL-TOKEN` where the vocabulary cannot say them)."""
        if self.markers == "unused":
            ids = [self.tokenizer.id(name) for name in UNUSED]
            told: list[IntArray] = [np.array([id], dtype=np.int64) for id in ids if id is not None]
        else:
            told = [piece for piece in self.tokenizer.encode_batch(SIGNS) if len(piece)]
        if len(told) < 4 or any(self.tokenizer.specials.unk in piece.tolist() for piece in told):
            what = f"the vocabulary has no pieces for {self.markers} markers"
            remedy = "choose the other options.markers"
            raise ModeledgeError("E-SPECIAL-TOKEN", what, remedy=remedy)
        return told

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> RelationTask:
        """As for classes; the markers are said aloud."""
        task = cast(RelationTask, super().made(rows, tokenizer, facts, asked, say))
        signs = UNUSED if task.markers == "unused" else SIGNS
        say(f"entities are marked by {signs[0].strip()} and {signs[2].strip()}; the answer is read from {task.read}")
        return task

    def described(self) -> dict[str, Any]:
        """Columns, classes, length, the markers and what is read."""
        (head,) = self.objective.heads.values()
        shape = {name: getattr(head, name, None) for name in ("pool", "hidden")}
        columns = {name: self.columns[name] for name in ("text", "head", "tail", "label")}
        told = {"length": self.length, "markers": self.markers, "read": self.read, "start": self.prepare.start}
        return {"names": list(self.labels.names), "scaling": asdict(self.scaling), **columns, **told, **shape}

    @classmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> RelationTask:
        """The inverse of `described`."""
        names = ("length", "text", "label", "pool", "hidden", "head", "tail", "markers", "read")
        labels, more = Labels("class", tuple(said["names"])), {name: said[name] for name in names}
        task = cls(labels, tokenizer, facts, start=said.get("start"), **more)
        task.scaling = Scaling.of(said)
        return task

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        """Rows → examples; of a text that is too long the part around both entities stays (`E-TOO-LONG`: they are
        further apart than a row holds)."""
        spelled = [self._segments(row, i) for i, row in enumerate(rows)]
        coded = self.tokenizer.encode_batch([segment for segments, _ in spelled for segment in segments])
        examples = []
        for i, row in enumerate(rows):
            where, order = where_of(row, i), spelled[i][1]
            label = self.labels.number(row.get(self.columns["label"]), where) if labelled else None
            ids, marks, cut = self._marked(coded[5 * i : 5 * i + 5], order, where)
            channels = {"marks": marks, "cut": np.array([cut])}
            examples.append(Example(i, ids, label=label, where=where, channels=channels))
        return examples

    def truncated(self, examples: Sequence[Example]) -> int:
        """How many texts lose tokens to the row length."""
        return sum(int(example.channels["cut"][0]) > 0 for example in examples)

    def _segments(self, row: Row, number: int) -> tuple[list[str], tuple[int, int]]:
        """The text in five parts, entities second and fourth, and which comes first; space goes to what follows it."""
        text, spans = self._spans(row, number)
        order = (0, 1) if spans[0] <= spans[1] else (1, 0)
        (start, end), (start_2, end_2) = (spans[n] for n in order)
        if start_2 < end:
            what = f"head and tail overlap at character {start_2}"
            raise ModeledgeError("E-SPAN", what, where=where_of(row, number), remedy="name two entities apart")
        start, start_2 = (len(text[:place].rstrip()) for place in (start, start_2))
        places = (0, start, end, max(start_2, end), end_2, len(text))
        return [text[a:b] for a, b in pairwise(places)], order

    def _spans(self, row: Row, number: int) -> tuple[str, list[tuple[int, int]]]:
        """The text, and from which to which character head and tail stand (`E-SPAN`)."""
        where, column = where_of(row, number), self.columns["text"]
        worded = not isinstance(field_of(row, column, number), str)
        words = Words.joined(texts_of(row, column, number)) if worded else Words(text_of(row, column, number), ())
        size = len(words) if worded else len(words.text)
        spans: list[tuple[int, int]] = []
        for role in ("head", "tail"):
            told = field_of(row, self.columns[role], number)
            ends: Any = [told.get("start"), told.get("end")] if isinstance(told, Mapping) else told
            fine = isinstance(ends, list | tuple) and len(ends) == 2 and all(type(end) is int for end in ends)
            if not fine or not 0 <= ends[0] < ends[1] <= size:
                unit = "words" if worded else "characters"
                what = f"{self.columns[role]} {printable(repr(told), 40)} is no [start, end] in a text of {size} {unit}"
                raise ModeledgeError("E-SPAN", what, where=where)
            first, last = ends
            spans.append((words.places[first][0], words.places[last - 1][1]) if worded else (first, last))
        return words.text, spans

    def _marked(self, parts: Sequence[IntArray], order: tuple[int, int], where: str) -> tuple[IntArray, IntArray, int]:
        """Ids with markers, cut to the row; where the markers of head and tail open; how many ids are cut."""
        pieces: list[IntArray] = [parts[0]]
        for entity, part, behind in ((order[0], parts[1], parts[2]), (order[1], parts[3], parts[4])):
            pieces += [self.marks[2 * entity], part, self.marks[2 * entity + 1], behind]
        starts = np.cumsum([0, *map(len, pieces)])
        opened = (int(starts[2]) - 1, int(starts[6]) - 1)  # a marker's last piece: the first one may be a mere space
        ids = np.concatenate(pieces)
        room = self.length - sum(id is not None for id in (self.prepare.first, self.prepare.last))
        low, high = int(starts[1]), int(starts[8])
        if high - low > room:
            what = f"both entities with what is between take {high - low} tokens, a row has room for {room}"
            raise ModeledgeError("E-TOO-LONG", what, where=where, remedy="raise the row length")
        first = int(np.clip(low - (room - (high - low)) // 2, 0, max(len(ids) - room, 0)))
        marks = np.array([opened[order.index(entity)] - first for entity in (0, 1)], dtype=np.int64)
        return ids[first : first + room], marks, max(len(ids) - room, 0)

    def request(self, row: Row) -> Request:
        """Which relation's name is likeliest behind the question?"""
        text, spans = self._spans(row, 0)
        head, tail = (text[start:end] for start, end in spans)
        prompt = f'{text}\nThe relation of "{head}" to "{tail}" is:'
        return Score(prompt, tuple(f" {name}" for name in self.labels.names))

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        """Log-likelihoods of the names `[classes]` → a class with probabilities."""
        shares = softmax(np.asarray(told, dtype=np.float64))
        return Answer(index, int(shares.argmax()), tuple(shares.tolist()))
