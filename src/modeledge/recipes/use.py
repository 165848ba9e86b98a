"""Asking a finished model: predict, evaluate, embed, generate, fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeledge import files
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import TokenStream
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.generate import Sampling, continue_text, fill_text
from modeledge.machine import tune_malloc
from modeledge.metrics import bits_per_byte, perplexity
from modeledge.model.heads import Pool, pooled
from modeledge.model.transformer import Transformer
from modeledge.objectives import Objective, Shape, Step, collate, prepared
from modeledge.recipes.finetune import TASK_FILE, located, marks
from modeledge.recipes.folder import model_folder
from modeledge.records import Example, FloatArray, Piece, Prepared
from modeledge.seed import Noise
from modeledge.tasks import Answer, Labels, LabelTask, answers
from modeledge.tokens import Tokenizer


class Model:
    """A model with its tokenizer and, where it was fine-tuned, its task: `Model.load(folder)`."""

    def __init__(self, transformer: Transformer, tokenizer: Tokenizer, task: LabelTask | None = None) -> None:
        self.transformer, self.tokenizer, self.task = transformer.eval(), tokenizer, task

    @staticmethod
    def load(folder: str | Path) -> Model:
        """Read a model folder, or the run folder around it."""
        tune_malloc()
        path = model_folder(folder)
        transformer, tokenizer = load_model(path), Tokenizer.load(path)
        return Model(transformer, tokenizer, _task(path / TASK_FILE, tokenizer, transformer))

    def predict(self, rows: Any) -> list[dict[str, Any]]:
        """One row out for each row in: the label and the confidence of each class (or the value).

        `rows` is what `read_table` reads; strings in a list are texts.
        """
        task = self._needed()
        if isinstance(rows, list | tuple) and rows and all(isinstance(row, str) for row in rows):
            rows = [{task.columns[0]: text} for text in rows]
        data = self._rows(rows, labelled=False)
        told = answers(task, self.transformer, task.encode(data, labelled=False))
        return [_shown(answer, task.labels) for answer in told]

    def evaluate(self, rows: Any, *, seed: int = 0) -> dict[str, Any]:
        """Scores on labelled rows, each with its 95 % interval."""
        task = self._needed()
        examples = task.encode(self._rows(rows, labelled=True))
        return marks(task, answers(task, self.transformer, examples), examples, seed)

    def embed(
        self,
        texts: str | Sequence[str],
        *,
        pool: Pool = "mean",
        length: int = 256,
        say: Callable[[str], None] = lambda line: None,
    ) -> FloatArray:
        """One vector a text `[texts, width]`, fp32; a single string is one text.

        An encoder reads `[CLS] text [SEP]`, as it was trained. Texts are cut to `length` tokens; `say` hears how many.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        for number, text in enumerate(texts, 1):
            if not isinstance(text, str) or not text.strip():
                what = "the text is empty" if text is None or isinstance(text, str) else f"a {type(text).__name__}"
                raise ModeledgeError("E-MISSING-FIELD", what, where=f"text {number}", remedy="fill or drop it")
        marks = self.tokenizer.specials
        around = self.transformer.config.encoder is not None and marks.cls is not None and marks.sep is not None
        room = length - 2 if around else length
        whole = self.tokenizer.encode_batch(texts)
        ids = [i[:room] for i in whole]
        if cut := sum(len(i) > room for i in whole):
            say(f"{cut} of {len(ids)} texts are cut to {length} tokens")
        if around:
            ids = [np.concatenate([[marks.cls], i, [marks.sep]]).astype(np.int64) for i in ids]
        out = np.zeros((len(ids), self.transformer.config.width), dtype=np.float32)
        side = "source" if self.transformer.config.encoder is not None else "target"
        order = sorted(range(len(ids)), key=lambda n: (len(ids[n]), n))
        with torch.inference_mode():
            for start in range(0, len(order), 256):
                chosen = order[start : start + 256]
                batch = collate([Prepared(n, **{side: Piece(ids[n])}) for n in chosen], Shape(length))  # type: ignore[arg-type]
                vectors = pooled(self.transformer(batch).last, batch, pool)
                out[batch.indices.numpy()] = vectors.float().numpy()
        return out

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        max_new_tokens: int = 100,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """What a decoder writes after each prompt, without the prompt."""
        return continue_text(
            self.transformer,
            self.tokenizer,
            [prompts] if isinstance(prompts, str) else prompts,
            max_new_tokens=max_new_tokens,
            sampling=Sampling(temperature, top_k, top_p),
            stop=stop,
            noise=Noise(seed),
        )

    def fill(self, text: str, *, top: int = 5) -> list[list[tuple[str, float]]]:
        """For each `[MASK]` in the text the pieces that an encoder finds likeliest, with their probabilities."""
        return fill_text(self.transformer, self.tokenizer, text, top=top)

    def _needed(self) -> LabelTask:
        if self.task is None:
            raise ModeledgeError(
                "E-USAGE", "this model was not fine-tuned on a task", remedy="run `modeledge finetune`"
            )
        return self.task

    def _rows(self, rows: Any, *, labelled: bool) -> list[Mapping[str, Any]]:
        text, pair, label = self._needed().columns
        wanted = [c for c in (text, pair, label if labelled else None) if c is not None]
        return list(located(rows, wanted))


def held_out_loss(
    model: Transformer, objective: Objective, shards: Shards, length: int, *, tokens: int, bytes: int
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
                batch = collate([prepared(objective, e, noise) for e in chunk], Shape(length))
                term = step(batch, noise).terms["lm"]
                total, weight, chunk = total + float(term.total), weight + float(term.weight), []
    mean = total / weight
    scores = {"loss": mean, "perplexity": perplexity(total, int(weight))}
    return scores | ({"bits_per_byte": bits_per_byte(mean * tokens, bytes)} if bytes else {})


def _task(path: Path, tokenizer: Tokenizer, model: Transformer) -> LabelTask | None:
    if not path.exists():
        return None
    said = files.read_json(path)
    return LabelTask(
        Labels(said["kind"], tuple(said["names"])),
        tokenizer,
        model.config,
        length=said["length"],
        text=said["text"],
        pair=said["pair"],
        label=said["label"],
        pool=said["pool"],
        hidden=said["hidden"],
    )


def _shown(answer: Answer, labels: Labels) -> dict[str, Any]:
    if labels.kind == "value":
        return {"prediction": answer.value}
    shares = {f"p({name})": round(p, 6) for name, p in zip(labels.names, answer.probabilities, strict=True)}
    best = int(answer.value)
    return {"prediction": labels.names[best], "confidence": round(answer.probabilities[best], 6), **shares}
