"""Columns that mark a body itself, before any task: how well it foretells held-out text, whether its training leapt,
whether what it writes repeats itself.

Items are texts, steps and prompts, the same for all cells, so these marks have intervals and paired differences like
any other. Texts are measured in bits a byte, which no tokenizer changes: every byte of a text is foretold, its first
token from the end-of-text token, each later one from at most `length` tokens before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from modeledge import files
from modeledge.config import Settings
from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.generate import Sampling, generate
from modeledge.metrics import METRICS
from modeledge.model.transformer import Transformer
from modeledge.objectives import Objective, Shape, collate, prepared
from modeledge.recipes.compare.facts import records
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Example, IntArray, Ledger
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer

MARKS = "marks.json"
WINDOWS = 16  # of a text at a time
FITTING = {
    "text": ("bits_per_byte",),
    "spikes": ("spike_score",),
    "samples": ("self_repetition", "type_token"),
}


class MarkRecipe(Settings):
    """A column of the bodies. `kind` "text": the first `count` texts of `paths` (of `shortest` characters or more) in
    bits a byte. "samples": their first `begun` characters, continued by `tokens` tokens at a `temperature`; without
    `paths` nothing is begun. "spikes": the steps of the pre-training that leapt."""

    kind: Literal["text", "spikes", "samples"] = "text"
    label: str = ""
    metrics: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    text: str = "text"
    split: Literal["file", "paragraph", "line"] = "paragraph"
    format: Literal["auto", "txt", "jsonl", "json", "csv", "tsv", "parquet"] = "auto"
    count: int = Field(default=200, ge=1)
    shortest: int = Field(default=200, ge=1)
    begun: int = Field(default=80, ge=1)
    tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> MarkRecipe:
        for metric in self.metrics:
            if metric not in FITTING[self.kind]:
                raise ValueError(f"{self.kind!r} is marked by {' or '.join(FITTING[self.kind])}, not by {metric!r}")
        if bool(self.paths) == (self.kind == "spikes"):
            raise ValueError("paths name the texts of the kinds text and samples, and of no other")
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """The metrics that are told, the first of which decides."""
        return self.metrics or FITTING[self.kind][:1]


def write_marks(
    marks: Mapping[str, MarkRecipe], recipe: PretrainRecipe, folder: Path, place: Callable[[str], str]
) -> None:
    """`marks.json` of a finished pre-training: of each column the metrics, predictions and labels by item."""
    if not marks:
        return
    model, tokenizer = load_model(folder / "model"), Tokenizer.load(folder / "model")
    model.eval()
    told = {}
    for name, mark in marks.items():
        texts = mark_texts(mark, place)
        predictions: Sequence[Any]
        if mark.kind == "text":
            objective = recipe.objective.build(tokenizer, model.config, recipe.train.length)
            nats = [nats_of(model, objective, tokenizer, text, recipe.train.length) for text in texts]
            predictions, labels = nats, [len(text.encode()) for text in texts]
        elif mark.kind == "spikes":
            predictions = [float("spikes" in row) for row in records(folder / "metrics.jsonl")]
            labels = [0] * len(predictions)
        else:
            predictions = continued(model, tokenizer, mark, texts, recipe.seed)
            labels = [0] * len(predictions)
        told[name] = {"metrics": list(mark.chosen), "predictions": list(predictions), "labels": labels}
        for metric in mark.chosen:
            METRICS[metric](predictions, [""] * len(labels) if mark.kind == "samples" else labels)
    files.write_json(folder / MARKS, told)


def check_marks(marks: Mapping[str, MarkRecipe], recipe: PretrainRecipe) -> None:
    """Refuse columns that a body cannot have: texts for an objective that says no likelihood of them, and for one that
    does not write (`E-CONFIG`)."""
    for name, mark in marks.items():
        if mark.kind != "spikes" and recipe.objective.kind != "causal":
            what = f"a body of objective {recipe.objective.kind!r} says no likelihood of a text"
            remedy = 'train it with objective.kind = "causal", or leave the mark out'
            raise ModeledgeError("E-CONFIG", what, where=f"marks.{name}", remedy=remedy)


def mark_texts(mark: MarkRecipe, place: Callable[[str], str]) -> list[str]:
    """The texts of a column, in the order of their files; none of a column that reads none. `E-NO-RECORDS` where none
    is long enough."""
    if not mark.paths:
        return []
    config = ReadConfig(format=mark.format, text=mark.text, split=mark.split)
    found = []
    for document in read_documents([place(path) for path in mark.paths], config, Ledger()):
        if len(document.text) >= mark.shortest:
            found.append(document.text)
        if len(found) == mark.count:
            break
    if not found:
        raise ModeledgeError("E-NO-RECORDS", f"no text has {mark.shortest} characters", where=", ".join(mark.paths))
    return found


def nats_of(model: Transformer, objective: Objective, tokenizer: Tokenizer, text: str, length: int) -> float:
    """−Σ log p of the tokens of a text, in windows that share a token."""
    ids: IntArray = np.concatenate([[tokenizer.need("eos")], tokenizer.encode(text)]).astype(np.int64)
    windows = [ids[start : start + length + 1] for start in range(0, len(ids) - 1, length)]
    total = 0.0
    for first in range(0, len(windows), WINDOWS):
        chosen = enumerate(windows[first : first + WINDOWS])
        ready = [prepared(objective, Example(number, window), Noise(0)) for number, window in chosen]
        with torch.no_grad():
            total += float(objective.loss(model, collate(ready, Shape(length)), Noise(0)).terms["lm"].total)
    return total


def continued(model: Transformer, tokenizer: Tokenizer, mark: MarkRecipe, texts: Sequence[str], seed: int) -> list[str]:
    """What the model writes after the beginning of each text."""
    ids = [tokenizer.encode(text[: mark.begun]) for text in texts]
    lots = [Noise(seed).at("marks", number) for number in range(len(ids))]
    written = generate(model, ids, max_new_tokens=mark.tokens, sampling=Sampling(mark.temperature), noise=lots)
    special = set(tokenizer.specials.ids())
    return [tokenizer.decode([i for i in new if int(i) not in special]) or "∅" for new in written]
