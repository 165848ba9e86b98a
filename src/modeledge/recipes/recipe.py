"""What can be asked for in one file: the typed recipes of `pretrain` and `finetune`.

A recipe is a TOML file or a Python value; `run.toml` in a run folder is the recipe with everything resolved.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.train.config import TrainConfig


class CorpusRecipe(Settings):
    """Raw files, or shards built before."""

    paths: tuple[str, ...] = ()
    shards: str | None = None
    format: str = "auto"
    text: str = "text"
    encoding: str = "utf-8"
    on_bad_record: Literal["error", "quarantine"] = "quarantine"
    filters: dict[str, Any] = Field(default_factory=lambda: {"empty": True})
    deduplicate: bool = True


class TokenizerRecipe(Settings):
    """A tokenizer to be trained, or a `path` to one."""

    path: str | None = None
    kind: Literal["bpe", "wordpiece", "unigram"] = "bpe"
    vocab_size: int = Field(default=8192, ge=2)
    min_frequency: int = Field(default=2, ge=1)
    lowercase: bool = False


class ModelRecipe(Settings):
    """A model to start from, or a shape to be drawn afresh: a `preset`, or the fields of `TransformerConfig`."""

    start: str | None = None
    preset: str | None = "decoder-small"
    shape: dict[str, Any] = Field(default_factory=dict)


class ObjectiveRecipe(Settings):
    """What pre-training asks."""

    kind: Literal["causal", "masked"] = "causal"
    rate: float = Field(default=0.15, gt=0, lt=1)


class PretrainRecipe(Settings):
    """Raw text in, a model out."""

    kind: Literal["pretrain"] = "pretrain"
    seed: int = 0
    corpus: CorpusRecipe
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    model: ModelRecipe = ModelRecipe()
    objective: ObjectiveRecipe = ObjectiveRecipe()
    train: TrainConfig = TrainConfig()
    family: str | None = None


class StrategyRecipe(Settings):
    """Which weights move: a row of `STRATEGIES` and its fields."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)


class FinetuneRecipe(Settings):
    """A model and labelled rows in, an adapted model and its marks out.

    Without a `test` file `test_share` of the rows is set aside. With `train.judge_every` the judge chooses the best
    step by `metric` on the rows of `validation`, or on `validation_share` of the training rows: never on test rows.
    """

    kind: Literal["finetune"] = "finetune"
    seed: int = 0
    model: str
    data: str
    test: str | None = None
    test_share: float = Field(default=0.2, gt=0, lt=1)
    validation: str | None = None
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    metric: str | None = None
    text: str = "text"
    pair: str | None = None
    label: str = "label"
    task: Literal["auto", "classification", "regression"] = "auto"
    fresh: bool = False
    pool: Literal["first", "last", "mean", "max"] | None = None
    dropout: float = Field(default=0.1, ge=0, lt=1)
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    balanced: bool = False
    strategies: tuple[StrategyRecipe, ...] = ()
    epochs: float = Field(default=3.0, gt=0)
    train: TrainConfig = TrainConfig(learning_rate=3e-4, warmup=0.1, batch=32)
    allow_leak: bool = False
    family: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneRecipe:
        if self.train.steps != TrainConfig().steps:
            raise ValueError("train.steps is not read when fine-tuning; set epochs")
        return self
