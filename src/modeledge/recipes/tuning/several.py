"""The recipe of several tasks on one body: see `recipes/tuning/multitask.py`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from modeledge.corpus.sampled import Sampling
from modeledge.recipes.recipe import Checked, FinetuneRecipe, FinetuneTrain, RowsRecipe, StrategyRecipe

ONE_HEAD = ("new-head", "replaced-head")  # strategies that name the head of a model
SHARED = ("model", "seed", "dropout", "train", "epochs", "strategies", "check", "strict", "allow", "allow_leak")


class MultitaskRecipe(Checked):
    """A model and the rows of several tasks in, one body with a head for each out.

    `sampling` says how often a batch is of which task: see `corpus/sampled.py`. An epoch shows as many examples as all
    tasks have together. With `train.judge_every` the judge keeps the step whose mean over the tasks' first scores is
    best. The pre-flight looks at each task as at a run of it alone. `conflict_every` steps the cosine between the
    tasks' gradients is measured (`conflicts.jsonl`).
    """

    kind: Literal["multitask"] = "multitask"
    seed: int = 0
    model: str
    revision: str | None = None
    endpoint: str | None = None
    tasks: dict[str, RowsRecipe]
    sampling: Sampling = "proportional"
    temperature: float = Field(default=1.0, ge=1)
    conflict_every: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    strategies: tuple[StrategyRecipe, ...] = ()
    epochs: float = Field(default=3.0, gt=0)
    train: FinetuneTrain = FinetuneTrain()
    allow_leak: bool = False
    family: str | None = None
    license: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MultitaskRecipe:
        if len(self.tasks) < 2:
            raise ValueError("several tasks are needed; one is `modeledge finetune MODEL DATA`")
        if named := [strategy.kind for strategy in self.strategies if strategy.kind in ONE_HEAD]:
            why = "each task has a head of its own, drawn anew unless the checkpoint brings it"
            raise ValueError(f"{named[0]} is of a model with one head, and here {why}: leave it out")
        return self

    def alone(self, name: str) -> FinetuneRecipe:
        """The recipe of one task by itself."""
        shared = {field: getattr(self, field) for field in SHARED}
        return FinetuneRecipe(**shared, **self.tasks[name].model_dump())
