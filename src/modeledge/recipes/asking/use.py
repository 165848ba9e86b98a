"""Asking a finished model: predict, evaluate, embed, generate, fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from modeledge import files
from modeledge.classical import read_fit
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import TokenStream
from modeledge.errors import ModeledgeError
from modeledge.families import start_of
from modeledge.generate import HiddenWay, Sampling, Way, continue_hidden, continue_text, fill_text, guesses
from modeledge.generate.text import check_stops
from modeledge.machine import tune_malloc
from modeledge.metrics import bits_per_byte, perplexity
from modeledge.model.backbone import Backbone
from modeledge.model.heads import Pool, pooled
from modeledge.objectives import Objective, Shape, Step, collate, prepared
from modeledge.recipes.asking.asked import GUESSED, Laid, asked_rows
from modeledge.recipes.folder import model_folder
from modeledge.recipes.pretraining.writing import way_of
from modeledge.recipes.store.open import open_model, speaking, tokenizer_of
from modeledge.recipes.tuning.finetune import marks
from modeledge.recipes.tuning.task_file import TASK_FILE, TASKS_FILE, restored
from modeledge.records import Example, FloatArray, Prepared
from modeledge.seed import Noise
from modeledge.tasks import Task, answers, reading
from modeledge.tasks.featured import restored_reply
from modeledge.tokens import Tokenizer


class Model:
    """A model with its tokenizer, where one lies beside it, its task, where it was fine-tuned, and how it writes, where
    that is another way than its body's: `Model.load`. `several` are the names of its tasks, where it has many."""

    def __init__(
        self,
        transformer: Backbone,
        tokenizer: Tokenizer | None,
        task: Task | None = None,
        writes: Way | None = None,
        several: Sequence[str] = (),
    ) -> None:
        self.several = tuple(several)
        self.transformer, self.tokenizer, self.task, self.writes = transformer.eval(), tokenizer, task, writes

    @staticmethod
    def load(folder: str | Path, *, say: Callable[[str], None] = print) -> Model:
        """Read a model folder, or the run folder around it; `say` is told where an architecture has no page here."""
        tune_malloc()
        path = model_folder(folder)
        transformer, tokenizer = open_model(path, say), _tokenizer(path)
        task = None if tokenizer is None else _task(path / TASK_FILE, tokenizer, transformer)
        several = files.read_json(path / TASKS_FILE) if (path / TASKS_FILE).exists() else ()
        return Model(transformer, tokenizer, task, way_of(speaking(path)), tuple(several))

    def predict(
        self, rows: Any, *, keep: bool = False, laid: Laid = GUESSED, say: Callable[[str], None] = print
    ) -> list[dict[str, Any]]:
        """One row out for each row in: the label and the confidence of each class (or the value).

        `rows` is a path (a table, or a benchmark's file or folder, whose layout and split `laid` names), a list of
        dicts, a data frame, or, where the task reads one text, a list of texts; `say` is told how it was read and how
        many were cut. With `keep` each row begins with the fields that came in; one that is called as an answer is
        (`prediction`) is `E-USAGE`.
        """
        task = self.needed_task()
        data = self.rows(self._named(rows), labelled=False, laid=laid, say=say)
        kept = [{k: v for k, v in row.items() if k != "__where__"} if keep else {} for row in data]
        taken = [name for name in task.answered if any(name in row for row in kept)]
        if taken:
            what = f"the column {taken[0]!r} is called as an answer is"
            raise ModeledgeError("E-USAGE", what, remedy="rename the column")
        examples = task.encode(data, labelled=False)
        _say_cut(say, task.truncated(examples), len(examples), task.length)
        for remark in task.remarks(examples):
            say(remark)
        told = answers(task, self.transformer, examples)
        return [{**row, **task.shown(answer)} for row, answer in zip(kept, told, strict=True)]

    def evaluate(
        self, rows: Any, *, seed: int = 0, laid: Laid = GUESSED, say: Callable[[str], None] = print
    ) -> dict[str, Any]:
        """Scores on labelled rows (see `predict`), each with its 95 % interval; `say` is told how many were cut."""
        task = self.needed_task()
        examples = task.encode(self.rows(rows, labelled=True, laid=laid, say=say))
        _say_cut(say, task.truncated(examples), len(examples), task.length)
        for remark in task.remarks(examples):
            say(remark)
        return marks(task, answers(task, self.transformer, examples), examples, seed)

    def embed(
        self,
        texts: str | Sequence[str],
        *,
        pool: Pool = "mean",
        length: int = 256,
        say: Callable[[str], None] = print,
    ) -> FloatArray:
        """One vector a text `[texts, width]`, fp32; one text alone gives `[1, width]`.

        An encoder reads `[CLS] text [SEP]`, as it was trained to, where its tokenizer has these tokens; of an encoder
        that a decoder reads these are the encoder's states, and the decoder is not run. Texts longer
        than `length` tokens, or than the model's positions, are cut; `say` is told how many were.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_pool(pool)
        prepare = reading(self.needed_tokenizer(), self.transformer.config, length)
        examples = [Example(n, ids) for n, ids in enumerate(self.needed_tokenizer().encode_batch(texts))]
        empty = [e.index for e in examples if len(e.ids) == 0]
        if empty:
            raise ModeledgeError("E-MISSING-FIELD", f"{len(empty)} texts are empty", where=f"text {empty[0] + 1}")
        _say_cut(say, sum(prepare.truncated(example) > 0 for example in examples), len(examples), prepare.length)
        out = np.zeros((len(examples), self.transformer.config.width), dtype=np.float32)
        order = sorted(examples, key=lambda e: (len(e.ids), e.index))
        with torch.inference_mode():
            for start in range(0, len(order), 256):
                pieces = [(e.index, prepare.piece(e)) for e in order[start : start + 256]]
                ready = [Prepared(n, **{prepare.side: piece}) for n, piece in pieces]  # type: ignore[arg-type]
                batch = collate(ready, Shape(prepare.length)).to(self.transformer.device)
                source = batch.source is not None
                states = self.transformer.encode(batch) if source else self.transformer(batch).last
                vectors = pooled(states, batch, pool)
                out[batch.indices.cpu().numpy()] = vectors.float().cpu().numpy()
        return out

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        max_new_tokens: int = 100,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        start: int | Sequence[int] | None = None,
        steps: int | None = None,
    ) -> list[str]:
        """A decoder's continuation of each prompt, without the prompt, up to a `stop` text; temperature 0 is greedy.

        A decoder that reads an encoder answers the prompt. It begins with the token, or tokens, `start`; without them
        with the one that the model's file names. A model of masked diffusion uncovers `max_new_tokens` hidden tokens in
        `steps` passes (64, or as many as there are tokens), a prefix LM and one of UniLM's kind read the prompt
        both ways: see `generate/ways.py`. Raises `E-USAGE` for another encoder and for settings that make no sense,
        `E-POSITION` for too long a text.
        """
        if self.writes != "uncover" and steps is not None:
            what = "steps are of a model of masked diffusion; this one writes a token at a time"
            raise ModeledgeError("E-USAGE", what, where="steps", remedy="leave it out")
        if guesses(self.writes):
            return self._uncovered(
                [prompts] if isinstance(prompts, str) else list(prompts),
                self.writes,
                (stop,) if isinstance(stop, str) else tuple(stop),
                max_new_tokens=max_new_tokens,
                sampling=Sampling(temperature, top_k, top_p),
                steps=min(64, max(1, max_new_tokens)) if steps is None else steps,
                noise=Noise(seed),
            )
        if start is None and self.transformer.config.both:
            start = start_of(self.transformer)
        begin = [] if start is None else [start] if isinstance(start, int) else list(start)
        return continue_text(
            self.transformer,
            self.needed_tokenizer(),
            [prompts] if isinstance(prompts, str) else list(prompts),
            max_new_tokens=max_new_tokens,
            sampling=Sampling(temperature, top_k, top_p),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            noise=Noise(seed),
            start=begin,
            both_ways=self.writes == "prefix",
        )

    def _uncovered(self, prompts: Sequence[str], way: HiddenWay, stop: Sequence[str], **how: Any) -> list[str]:
        """What a model writes that guesses hidden tokens, up to a stop text."""
        check_stops(stop)
        told = continue_hidden(self.transformer, self.needed_tokenizer(), prompts, way, **how)
        places = [[place for s in stop if (place := text.find(s)) >= 0] for text in told]
        return [text[: min(found)] if found else text for text, found in zip(told, places, strict=True)]

    def fill(self, text: str, top: int = 5) -> list[list[tuple[str, float]]]:
        """For each `[MASK]` in the text the `top` best pieces with their probabilities.

        A decoder that reads an encoder (BART) has read the whole text on the source, and what stands before the gap as
        its own answer. Raises `E-USAGE` for a model that fills no gaps.
        """
        begin = start_of(self.transformer) if self.transformer.config.both else None
        return fill_text(self.transformer, self.needed_tokenizer(), text, top=top, start=begin)

    def has_gap(self, text: str) -> bool:
        """Is the tokenizer's `[MASK]` written in the text?"""
        mask = self.needed_tokenizer().specials.mask
        return mask is not None and str(self.needed_tokenizer().token(mask)) in text

    def _named(self, rows: Any) -> Any:
        """Bare texts as rows of the task's text column; everything else as it is."""
        if isinstance(rows, str | Path | Mapping) or hasattr(rows, "columns") or not isinstance(rows, Iterable):
            return rows
        task, rows = self.needed_task(), list(rows)
        if not rows or not all(isinstance(row, str) for row in rows):
            return rows
        inputs = [column for role, column in task.columns.items() if role != task.target]
        if len(inputs) != 1:
            what = f"the task reads {len(inputs)} columns a row, {', '.join(map(repr, inputs))}"
            raise ModeledgeError("E-USAGE", what, remedy="pass a list of dicts")
        return [{inputs[0]: row} for row in rows]

    def needed_tokenizer(self) -> Tokenizer:
        """The tokenizer, without which no text is read (`E-NO-FILE`)."""
        if self.tokenizer is None:
            remedy = "put its tokenizer.json into the model's folder"
            raise ModeledgeError("E-NO-FILE", "this model came without a tokenizer", remedy=remedy)
        return self.tokenizer

    def needed_task(self) -> Task:
        """The task that the model was fine-tuned on (`E-USAGE` where there is none, or several)."""
        if self.several:
            what, one = f"this model learned several tasks, {', '.join(self.several)}", self.several[0]
            raise ModeledgeError("E-USAGE", what, remedy=f"name one's model: tasks/{one} in the folder of the run")
        if self.task is None:
            raise ModeledgeError(
                "E-USAGE", "this model was not fine-tuned on a task", remedy="run `modeledge finetune`"
            )
        return self.task

    def rows(
        self, rows: Any, *, labelled: bool, laid: Laid = GUESSED, say: Callable[[str], None] = print
    ) -> list[Mapping[str, Any]]:
        """Rows with the columns that the task reads, and their places under `__where__`; see `asked_rows`."""
        return list(asked_rows(rows, self.needed_task(), laid, say, labelled=labelled))


def _say_cut(say: Callable[[str], None], cut: int, count: int, length: int) -> None:
    if cut:
        say(f"{cut} of {count} texts were cut to {length} tokens")


def check_pool(pool: str) -> None:
    """Refuse a pooling that does not exist (`E-USAGE`)."""
    if pool not in get_args(Pool):
        raise ModeledgeError("E-USAGE", f"there is no pooling {pool!r}", remedy="first, last, mean or max")


def held_out_loss(
    model: Backbone, objective: Objective, shards: Shards, length: int, *, tokens: int, bytes: int
) -> dict[str, float]:
    """Loss of an objective on held-out shards: nats a token, perplexity, and bits a byte where `bytes` is known."""
    step, noise = Step(model, objective).eval(), Noise(0)
    stream = TokenStream(shards, length, 0, shuffle=False, epochs=1, shortest=2)
    total = weight = 0.0
    with torch.no_grad():
        chunk: list[Example] = []
        for number, example in enumerate(stream):
            chunk.append(example)
            if len(chunk) == 32 or number == len(stream) - 1:
                batch = collate([prepared(objective, e, noise) for e in chunk], Shape(length)).to(model.device)
                term = step(batch, noise).terms["lm"]
                total, weight, chunk = total + float(term.total), weight + float(term.weight), []
    mean = total / weight
    scores = {"loss": mean, "perplexity": perplexity(total, int(weight))}
    return scores | ({"bits_per_byte": bits_per_byte(mean * tokens, bytes)} if bytes else {})


def _tokenizer(path: Path) -> Tokenizer | None:
    try:
        return tokenizer_of(path)
    except ModeledgeError as error:
        if error.code == "E-NO-FILE":
            return None
        raise


def _task(path: Path, tokenizer: Tokenizer, model: Backbone) -> Task | None:
    if not path.exists():
        return None
    try:
        said = files.read_json(path)
        task = restored(said, tokenizer, model)
        if said.get("features"):
            task.replier = restored_reply(read_fit(path.parent))
        return task
    except ModeledgeError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"it does not state a task ({type(error).__name__}: {error})"
        remedy = "copy the model's folder again, or fine-tune again"
        raise ModeledgeError("E-RUN-FOLDER", what, where=str(path), remedy=remedy) from error
