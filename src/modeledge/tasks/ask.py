"""Asking a fine-tuned model: examples in, one answer a row out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from modeledge.model.backbone import Backbone
from modeledge.records import Example
from modeledge.tasks.task import Answer, Task


def answers(task: Task, model: Backbone, examples: Sequence[Example], size: int = 256) -> list[Answer]:
    """One answer a row, in the order of the rows. The model is put in evaluation mode while it is asked."""
    training = model.training
    model.eval()
    try:
        return task.settle(task.reply(model, examples, size), examples)
    finally:
        model.train(training)


def judge_on(task: Task, examples: Sequence[Example]) -> Callable[[Backbone], Mapping[str, float]]:
    """A function that marks a model on these examples, for the trainer's judge."""
    return lambda model: task.mark(answers(task, model, examples), examples)
