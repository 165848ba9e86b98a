"""A task answered by a classical head on the states of its model: what `predict` and `evaluate` go on with.

The body beside the head must be the one that the head was fitted on: states of other weights mean something else, and a
head would answer all the same. So the head knows the digest of its body, and another one is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np
import torch

from modeledge.adapt.graft import Added, Grafts
from modeledge.classical import Fit
from modeledge.errors import ModeledgeError
from modeledge.metrics import tempered
from modeledge.metrics.calibrate import SMALLEST
from modeledge.model.backbone import Backbone
from modeledge.model.lead import Lead, Leads
from modeledge.records import Example, FloatArray
from modeledge.tasks.label import LabelTask
from modeledge.tasks.states import Look, Reads, reads_of, states_of
from modeledge.tasks.tag import TagTask
from modeledge.tasks.tagged import Scored
from modeledge.tasks.task import Answer, Task

PLAIN = (int, float, str, tuple, NoneType)  # fields that are values; functions stand there by their names
STILL = ("training", "site", "dropout", "gaussian")  # fields of an adapter that change no state
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def body_digest(model: Backbone) -> str:
    """The digest of all that a body computes by, heads left out: its weights, buffers among them, by their names, and
    what adapters compute by beside their weights."""
    digest = hashlib.blake2b(digest_size=20)
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith("heads."):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(flat.numpy().data)
    digest.update("".join(beside(model)).encode())
    return digest.hexdigest()


def beside(model: Backbone) -> Iterator[str]:
    """What adapters compute by beside their weights, a line each: what acts, its kind and its plain fields (scale,
    activation, how many positions). Nothing for a model without one."""
    for path, module in model.named_modules():
        if isinstance(module, Grafts | Leads) and len(module):
            yield f"{path} {module.active}\n"
        if isinstance(module, Added | Lead):
            said = {name: getattr(value, "__name__", value) for name, value in sorted(vars(module).items())}
            plain = {n: v for n, v in said.items() if isinstance(v, PLAIN) and n[0] != "_" and n not in STILL}
            yield f"{path} {type(module).__name__} {plain}\n"


@dataclass
class Featured:
    """The replier of a task that has no head in its model: runs the body, and asks the fit."""

    fit: Fit
    checked: bool = False

    def __call__(self, task: Task, model: Backbone, examples: Sequence[Example]) -> list[Answer]:
        notes = self.fit.notes
        self.check(model)
        reads = reads_of(task, examples, apart=self.fit.combine.apart)
        before, model.compute = model.compute, PRECISIONS[notes["precision"]]
        try:
            states = states_of(model, reads, Look(tuple(notes["layers"]), (notes["pool"],)))[notes["pool"]]
        finally:
            model.compute = before
        return answered_by(task, self.fit, states, reads, examples)

    def check(self, model: Backbone) -> None:
        """Refuse another body than the head was fitted on (`E-FEATURES`)."""
        if self.checked:
            return
        found, wanted = body_digest(model), str(self.fit.notes["body"])
        if found != wanted:
            what, why = f"the body is {found[:12]}, and the head was fitted on {wanted[:12]}", "its states are others"
            raise ModeledgeError(
                "E-FEATURES", what, why=why, remedy="put the head beside its own body, or fit it again"
            )
        self.checked = True


def restored_reply(fit: Fit) -> Featured:
    """The replier of a fit that was read; notes that do not say what is read are `E-RUN-FOLDER`."""
    notes = fit.notes
    layers = notes.get("layers")
    fits = isinstance(layers, list) and all(type(n) is int and n >= 0 for n in layers)
    if not fits or notes.get("precision") not in PRECISIONS or not {"pool", "body"} <= notes.keys():
        raise ModeledgeError("E-RUN-FOLDER", "the notes of the head do not say which states it reads")
    return Featured(fit)


def answered_by(task: Task, fit: Fit, states: FloatArray, reads: Reads, examples: Sequence[Example]) -> list[Answer]:
    """One answer an example, out of the states of what was read `[items, layers, width]`."""
    told = fit.told(states)
    if reads.words is None:
        return answers_of(task, told, examples)
    return tags_told(told, [len(words) for words in reads.words], examples)


def answers_of(task: Task, told: FloatArray, examples: Sequence[Example]) -> list[Answer]:
    """One label an example, out of probabilities `[examples, classes]` or values `[examples, 1]`."""
    assert isinstance(task, LabelTask)
    if task.labels.kind == "value":
        return [Answer(e.index, float(v)) for e, v in zip(examples, told[:, 0], strict=True)]
    best = told.argmax(1).tolist()
    if task.scaling.temperature != 1:
        told = tempered(np.log(np.maximum(told, SMALLEST)), task.scaling.temperature)
    return [Answer(e.index, b, tuple(s)) for e, b, s in zip(examples, best, told.tolist(), strict=True)]


def tags_told(told: FloatArray, counts: Sequence[int], examples: Sequence[Example]) -> list[Answer]:
    """The scores of each window's words, which the task joins: log probabilities `[words, tags]`."""
    parts: list[Any] = np.split(np.log(np.maximum(told, SMALLEST)), np.cumsum(counts)[:-1])
    return [Answer(e.index, (), (), Scored(part, None)) for e, part in zip(examples, parts, strict=True)]


def labels_of(task: Task, examples: Sequence[Example]) -> tuple[Any, int]:
    """The labels of the items `[items]` and how many classes there are; values, and 0."""
    if isinstance(task, TagTask):
        return np.array([tag for e in examples for tag in e.label], dtype=np.int64), len(task.labels.names)
    assert isinstance(task, LabelTask)
    if task.labels.kind == "value":
        return np.array([e.label for e in examples], dtype=np.float64), 0
    return np.array([e.label for e in examples], dtype=np.int64), len(task.labels.names)
