"""What is written of a task beside the weights, and read again: the row of `TASKS`, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone
from modeledge.model.linear import Linear
from modeledge.tasks import TASKS, Task
from modeledge.tokens import Tokenizer

TASK_FILE = "task.json"
TASKS_FILE = "tasks.json"  # beside the weights of a run of several tasks: what each says of itself, by name


def described(task: Task) -> dict[str, Any]:
    """What `predict` must know beside the weights: the row of `TASKS`, and what the task says of itself."""
    return {"task": task.kind, **task.described()}


def restored(said: Mapping[str, Any], tokenizer: Tokenizer, model: Backbone) -> Task:
    """The inverse of `described`; a task that this version does not know is `E-CONFIG-VALUE`."""
    kind = said.get("task", "label")
    found = next((task for task in TASKS.values() if task.kind == kind), None)
    if found is None:
        remedy = nearest(str(kind), TASKS)
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no task {kind!r}", where=TASK_FILE, remedy=remedy)
    length = said.get("length", 1)
    if isinstance(length, bool) or not isinstance(length, int):
        raise ModeledgeError("E-CONFIG-VALUE", f"length is {length!r}, not a number of tokens", where=TASK_FILE)
    task = found.restored(said, tokenizer, model.config)
    for name, head in task.objective.heads.items():
        last = getattr(model.heads[name], "output", None) if name in model.heads else None
        ours, theirs = getattr(head, "outputs", None), last.weight.shape[0] if isinstance(last, Linear) else None
        if None not in (ours, theirs) and ours != theirs:
            what, why = f"it names {ours} classes", f"the model's head {name!r} scores {theirs}"
            remedy = "take the file that was written with the weights"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=TASK_FILE, why=why, remedy=remedy)
    return task
