"""Text to text: a source in, a text out, on an encoder–decoder, a decoder or a prefix-LM (see `objectives.write`).

Summaries, translations, answers, titles, replies and programs differ in their columns, prompts and marks alone; they
are short rows in `tasks.text_kinds`. Answers are written out by the fine-tuned model itself (greedily, by beam search
or by lot) and marked against all references of a row; beside them stands the loss of the first reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.generate import READ_BOTH_WAYS, guesses, written
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.facts import Facts
from modeledge.objectives import Shape, Write, collate
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks.columns import field_of, text_of, texts_of, where_of
from modeledge.tasks.task import Answer, Asked, Generate, Request, Row, Say, Task, known_options, role_columns
from modeledge.tasks.writing import GAP, Writing, check_writing, markable, shape_of, starting
from modeledge.tokens import Tokenizer

LOSS = "nats_per_token"
ROWS = 64  # rows that are written at a time: their caches lie side by side


class WriteTask(Task):
    """`source` names the column that is read, `target` the one that is written: a text, or a list of references, of
    which the first is learned and all are marked against."""

    kind: ClassVar[str] = "write"
    card: ClassVar[str] = "text2text-generation"
    inputs: ClassVar[tuple[str, ...]] = ("source",)
    target: ClassVar[str] = "target"
    options: ClassVar[tuple[str, ...]] = tuple(Writing.model_fields)
    stratified: ClassVar[bool] = False
    settings: ClassVar[type[Writing]] = Writing
    usual: ClassVar[tuple[str, ...]] = ("rouge1", "rouge2", "rougeL", "exact_match")
    defaults: ClassVar[Mapping[str, Any]] = {}

    objective: Write

    def __init__(
        self, tokenizer: Tokenizer, facts: Facts, writing: Writing, *, length: int, columns: Mapping[str, str]
    ) -> None:
        check_writing(writing)
        if facts.both and writing.start is None:
            writing = writing.model_copy(update={"start": starting(tokenizer, None)})
        self.tokenizer, self.writing, self.length, self.columns = tokenizer, writing, length, dict(columns)
        self.prepare = shape_of(tokenizer, facts, writing, length)
        self.objective = Write(self.prepare, smoothing=writing.smoothing)
        self.writes = "prefix" if writing.prefix_lm else None

    @classmethod
    def made(cls, rows: Sequence[Row], tokenizer: Tokenizer, facts: Facts, asked: Asked, say: Say) -> WriteTask:
        """The task as the options say; what a decoder begins with is said where no file names it."""
        columns, options = role_columns(cls, asked.columns), known_options(cls, asked.options)
        writing: Writing = load_config(cls.settings, None, values={**cls.defaults, **options})
        if facts.both and writing.start is None:
            start = starting(tokenizer, asked.start)
            if asked.start is None:
                names = " ".join(tokenizer.token(i) for i in start)
                say(f"the decoder begins with {names}: no file says (options.start says otherwise)")
            writing = writing.model_copy(update={"start": start})
        if writing.prefix_lm is None and asked.writes in READ_BOTH_WAYS and not writing.train_source:
            say(f"the source is read both ways: {READ_BOTH_WAYS[asked.writes]} (options.prefix_lm says otherwise)")
            if guesses(asked.writes):
                say("it has guessed at masks so far, and learns to foretell the next token now")
            writing = writing.model_copy(update={"prefix_lm": True})
        writing = writing.model_copy(update={"metrics": markable(writing.metrics, cls.usual, say)})
        return cls(tokenizer, facts, writing, length=asked.length, columns=columns)

    def described(self) -> dict[str, Any]:
        """Columns, length and options."""
        return {"columns": dict(self.columns), "length": self.length, "options": self.writing.model_dump(mode="json")}

    @classmethod
    def restored(cls, said: Mapping[str, Any], tokenizer: Tokenizer, facts: Facts) -> WriteTask:
        """The inverse of `described`."""
        writing: Writing = load_config(cls.settings, None, values=said["options"])
        return cls(tokenizer, facts, writing, length=said["length"], columns=said["columns"])

    def source_of(self, row: Row, number: int) -> str:
        """The text that the model reads, without the prefix."""
        return text_of(row, self.columns["source"], number)

    def references_of(self, row: Row, number: int) -> list[str]:
        """The texts that are right; the first is learned."""
        column = self.columns[self.target]
        if isinstance(field_of(row, column, number), str):
            return [text_of(row, column, number)]
        found = texts_of(row, column, number)
        if not found or not all(text.strip() for text in found):
            what = f"a reference in column {column!r} is empty" if found else f"column {column!r} has no reference"
            raise ModeledgeError("E-MISSING-FIELD", what, where=where_of(row, number), remedy="fill or drop the row")
        return found

    def encode(self, rows: Sequence[Row], *, labelled: bool = True) -> list[Example]:
        """Rows → examples: ids the source with its prefix, pair the first reference, label all references.

        Raises `E-NO-TARGET` for a target without a token, `E-NO-TARGET-AFTER-TRUNCATION` where the prompts of some
        rows leave theirs no room, with how many, and the errors of columns.
        """
        sources = self.tokenizer.encode_batch([self.writing.prefix + self.source_of(r, i) for i, r in enumerate(rows)])
        wheres = [where_of(row, i) for i, row in enumerate(rows)]
        if not labelled:
            return [Example(i, ids, where=where) for i, (ids, where) in enumerate(zip(sources, wheres, strict=True))]
        references = [self.references_of(row, i) for i, row in enumerate(rows)]
        targets = self.tokenizer.encode_batch([texts[0] for texts in references])
        parts = zip(sources, targets, references, wheres, strict=True)
        found = [Example(i, a, b, tuple(texts), where=where) for i, (a, b, texts, where) in enumerate(parts)]
        self._learnable(found)
        return found

    def _learnable(self, examples: Sequence[Example]) -> None:
        """Every target has a token, before and after cutting."""
        empty = [e for e in examples if e.pair is None or not len(e.pair)]
        if empty:
            raise ModeledgeError("E-NO-TARGET", f"{len(empty)} targets have no token", where=empty[0].where)
        gone = [e for e in examples if not len(self.prepare.target(e))]
        if gone:
            what = f"the prompt leaves no room for the target in {len(gone)} of {len(examples)} rows"
            remedy = f"raise the length ({self.length}), or let the source be cut: options.cut = 'end'"
            raise ModeledgeError("E-NO-TARGET-AFTER-TRUNCATION", what, where=gone[0].where, remedy=remedy)

    @property
    def seq(self) -> int:
        return self.prepare.seq

    def truncated(self, examples: Sequence[Example]) -> int:
        """How many examples lose tokens of their source or of their target."""
        return sum(max(self.prepare.truncated(example)) > 0 for example in examples)

    def remarks(self, examples: Sequence[Example]) -> list[str]:
        """How many targets are cut."""
        lost = sum(self.prepare.truncated(example)[1] > 0 for example in examples)
        told = f"{lost} of {len(examples)} targets are cut to {self.writing.max_target} tokens (options.max_target)"
        return [told] if lost else []

    def tokens(self, example: Example) -> int:
        return len(example.ids)

    def batches(self, examples: Sequence[Example], size: int) -> Iterator[Batch]:
        """The prompts alone: what is written behind them is asked of the model."""
        order = sorted(range(len(examples)), key=lambda i: (self.tokens(examples[i]), i))
        for start in range(0, len(order), size):
            yield collate([self.prepare.asking(examples[i]) for i in order[start : start + size]], Shape(self.seq))

    def check_model(self, model: Backbone) -> None:
        """A model that keeps no cache of its states, as a wrapped one, writes nothing here (`E-USAGE`)."""
        try:
            model.new_cache(1, 1)
        except ModeledgeError as error:
            what = f"the task {self.kind!r} lets a model write, and {error.what}"
            raise ModeledgeError("E-USAGE", what, remedy="take a model of a family that has a page here") from error

    def predict(self, model: Backbone, batch: Batch) -> list[Answer]:
        """What the model writes behind each prompt of the batch."""
        return self.draw(model, batch, 0)

    def draw(self, model: Backbone, batch: Batch, number: int) -> list[Answer]:
        """The same, of draw `number` where tokens are chosen by lot."""
        ids, decoding = batch.side.ids.cpu().numpy(), self.writing.decoding
        prompts = [ids[row, first:last] for row, first, last in batch.spans.tolist()]
        told = written(
            model,
            prompts,
            decoding,
            stop=(self.prepare.eos,),
            start=self.prepare.start,
            both_ways=self.prepare.both_ways,
            noise=[Noise(decoding.seed).at("sample", i, number) for i in batch.indices.tolist()],
        )
        texts = [self.cleaned(self.tokenizer.decode(tokens)) for tokens in told]
        return [Answer(int(i), text) for i, text in zip(batch.indices, texts, strict=True)]

    def cleaned(self, text: str) -> str:
        """An answer without the spaces around it."""
        return text.strip()

    def reply(self, model: Backbone, examples: Sequence[Example], size: int = 256) -> list[Answer]:
        """One text an example; where targets are known `details` hold their (nats, tokens)."""
        size = max(1, min(size, ROWS // self.writing.beams))
        told = super().reply(model, examples, size)
        if not examples or any(example.pair is None for example in examples):
            return told
        return [replace(a, details=s) for a, s in zip(told, self.surprise(model, examples), strict=True)]

    def surprise(self, model: Backbone, examples: Sequence[Example], size: int = ROWS) -> list[tuple[float, int]]:
        """−Σ log p of each example's target, and its number of tokens, the end among them."""
        prepare, found = replace(self.prepare, whole=False), dict[int, tuple[float, int]]()
        order = sorted(range(len(examples)), key=lambda i: (max(prepare(examples[i], Noise(0)).lengths()), i))
        for start in range(0, len(order), size):
            places = order[start : start + size]
            ready = [replace(prepare(examples[i], Noise(0)), index=i) for i in places]
            batch = collate(ready, Shape(self.seq)).to(model.device)
            nats, counts = token_surprise(model, batch)
            found |= {int(i): (n, c) for i, n, c in zip(batch.indices, nats, counts, strict=True)}
        return [found[i] for i in range(len(examples))]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of the options, or the usual ones of this kind of text; then the loss of a token."""
        named = self.writing.metrics or self.usual
        return (*(name for name in named if name != LOSS), LOSS)

    def sides(self, metric: str, answers: Sequence[Answer], examples: Sequence[Example]) -> tuple[Any, Any]:
        """Texts and lists of references, or nats and tokens for the loss."""
        told = {answer.index: answer for answer in answers}
        chosen = [told[example.index] for example in examples]
        if metric == LOSS:
            sums = np.array([answer.details[:2] for answer in chosen], dtype=np.float64)
            return sums[:, 0], sums[:, 1]
        return [answer.value for answer in chosen], [list(example.label) for example in examples]

    def marked_by(self, answers: Sequence[Answer]) -> tuple[str, ...]:
        """A prompted model's answers come without a loss."""
        known = all(answer.details is not None for answer in answers)
        return tuple(name for name in self.metrics if known or name != LOSS)

    @property
    def answered(self) -> tuple[str, ...]:
        return ("prediction",)

    def shown(self, answer: Answer) -> dict[str, Any]:
        return {"prediction": answer.value}

    def request(self, row: Row) -> Request:
        """The source in the prompt of `ask`; the answer ends at a stop."""
        prompt = self.writing.ask.replace(GAP, self.writing.prefix + self.source_of(row, 0))
        return Generate(prompt, self.writing.stop, self.writing.decoding.max_new_tokens)

    def answer(self, index: int, request: Request, told: Any) -> Answer:
        return Answer(index, self.cleaned(str(told)))


@torch.inference_mode()
def token_surprise(model: Backbone, batch: Batch) -> tuple[list[float], list[int]]:
    """−Σ log p over what each example of a batch reads, and how many tokens that is; scores in chunks of 256 tokens."""
    states = model(batch).last
    reads, labels, seq = batch.reads["lm"], batch.labels["lm"], states.shape[1]
    flat = states.reshape(-1, states.shape[-1])
    starts = batch.spans[:, 0] * seq + batch.spans[:, 1]
    owner = torch.bucketize(reads, starts, right=True) - 1
    nats = torch.zeros(len(starts), dtype=torch.float64, device=flat.device)
    for first in range(0, len(reads), 256):
        piece = slice(first, first + 256)
        scores = model.logits(flat[reads[piece]]).float()
        losses = F.cross_entropy(scores, labels[piece], reduction="none")
        nats.index_add_(0, owner[piece], losses.double())
    return nats.tolist(), torch.bincount(owner, minlength=len(starts)).tolist()
