"""The recipe of several tasks on one body: see `recipes/multitask.py`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.corpus.sampled import Sampling
from modeledge.recipes.recipe import Checked, FinetuneRecipe, FinetuneTrain, StrategyRecipe

SHARED = ("model", "seed", "dropout", "train", "epochs", "strategies", "check", "strict", "allow", "allow_leak")


class TaskRecipe(Settings):
    """The rows of one task: fields as in `FinetuneRecipe`."""

    data: str
    layout: str | None = None
    test: str | None = None
    test_share: float = Field(default=0.2, gt=0, lt=1)
    validation: str | None = None
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    task: str = "auto"
    options: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, recipe: FinetuneRecipe) -> TaskRecipe:
        """What a recipe of one task says of its rows."""
        return cls(**{name: getattr(recipe, name) for name in cls.model_fields})


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
    tasks: dict[str, TaskRecipe]
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
        return self

    def alone(self, name: str) -> FinetuneRecipe:
        """The recipe of one task by itself."""
        shared = {field: getattr(self, field) for field in SHARED}
        return FinetuneRecipe(**shared, **self.tasks[name].model_dump())
