"""Asking a fine-tuned model: batches of examples in, answers in the order of the examples out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.objectives import Shape, collate
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks.label import LabelTask
from modeledge.tasks.task import Answer


def batches(task: LabelTask, examples: Sequence[Example], size: int = 256) -> Iterator[Batch]:
    """Examples as packed batches, similar lengths together; labels may be absent."""
    order = sorted(range(len(examples)), key=lambda i: (_length(examples[i]), i))
    for start in range(0, len(order), size):
        chosen = [examples[i] for i in order[start : start + size]]
        ready = [task.prepare(_labelled(e), Noise(0)) for e in chosen]
        yield collate(ready, Shape(task.prepare.length))


def answers(task: LabelTask, model: Backbone, examples: Sequence[Example], size: int = 256) -> list[Answer]:
    """One answer an example, in the order of the examples. The model is put in evaluation mode while it is asked."""
    training = model.training
    model.eval()
    try:
        told: dict[int, Answer] = {}
        for batch in batches(task, examples, size):
            told |= {a.index: a for a in task.predict(model, batch.to(model.device))}
    finally:
        model.train(training)
    return [told[example.index] for example in examples]


def judge_on(task: LabelTask, examples: Sequence[Example]) -> Callable[[Backbone], Mapping[str, float]]:
    """A function that marks a model on these examples, for the trainer's judge."""
    return lambda model: task.mark(answers(task, model, examples), examples)


def _length(example: Example) -> int:
    return len(example.ids) + (0 if example.pair is None else len(example.pair))


def _labelled(example: Example) -> Example:
    if example.label is not None:
        return example
    return Example(example.index, example.ids, example.pair, 0, example.epoch, example.where)
