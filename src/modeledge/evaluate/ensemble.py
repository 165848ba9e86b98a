"""Several models' answers to the same rows made one: seeds, pre-training checkpoints, or both.

BERT's best SQuAD figures are those of seven systems "which use different pre-training checkpoints and fine-tuning
seeds" (Devlin et al. 2019, table 2). Probabilities are averaged, and values; what a task answers otherwise, it joins
itself (`Task.joined`).
"""

from __future__ import annotations

from collections.abc import Sequence

from modeledge.errors import ModeledgeError
from modeledge.tasks import Answer, Task


def ensemble(task: Task, told: Sequence[Sequence[Answer]]) -> list[Answer]:
    """One answer a row out of each model's settled answers `[models][rows]`, all in one order.

    Raises `E-EMPTY-SPLIT` without a model, `E-LENGTH-MISMATCH` where models answered different rows.
    """
    if not told:
        raise ModeledgeError("E-EMPTY-SPLIT", "no model was named, so there is nothing to join")
    rows = [[answer.index for answer in answers] for answers in told]
    for number, indices in enumerate(rows[1:], 2):
        if indices != rows[0]:
            what = f"model {number} answered {len(indices)} rows, model 1 {len(rows[0])}, or in another order"
            raise ModeledgeError("E-LENGTH-MISMATCH", what, remedy="ask all models the same rows")
    return [task.joined(answers) for answers in zip(*told, strict=True)]
