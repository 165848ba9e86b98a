"""What a run answered on its test rows, in a file beside its marks: two runs on the same rows are compared by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from modeledge.records import Example
from modeledge.tasks import Answer, Task

ANSWERS = "answers.json"


def answered(task: Task, told: Sequence[Answer], held: Sequence[Example]) -> list[dict[str, Any]]:
    """What was said of each test row beside what is right, as the metrics read it: two runs on the same rows can be
    compared by it item by item. Metrics that read the same stand together."""
    gold, found = task.rows_of(held), list[dict[str, Any]]()
    for name in task.marked_by(told):
        sides = [json.loads(json.dumps(side, default=lambda v: v.tolist())) for side in task.sides(name, told, gold)]
        same = next((f for f in found if [f["predictions"], f["labels"]] == sides), None)
        if same is None:
            found.append({"metrics": [name], "predictions": sides[0], "labels": sides[1]})
        else:
            same["metrics"].append(name)
    return found
