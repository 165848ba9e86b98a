"""What can be asked for in one file: the typed recipes of `pretrain` and `finetune`.

A recipe is a TOML file or a Python value; `run.toml` in a run folder is the recipe with everything resolved.
"""

from __future__ import annotations

import os
import re
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.model.reshape import Decoder
from modeledge.recipes.corpora.mixture import MixtureRecipe
from modeledge.recipes.corpora.texts import CorpusRecipe, ReplayRecipe, TokenizerRecipe, absolute_path, placed
from modeledge.recipes.features.recipe import FeaturesRecipe
from modeledge.recipes.objectives import Aim, CausalAim, ObjectiveRecipe
from modeledge.recipes.pretraining.curriculum import CurriculumRecipe
from modeledge.train.config import TrainConfig

MEMORY = "rows from memory"  # what stands in the place of a data file where rows came as Python values
PRESET = "preset:"  # how a `model` begins that is no folder: fresh weights of a shape by name


class SamplesRecipe(Settings):
    """What the model writes while it is trained, every so many steps (`samples.jsonl`):
    see `recipes/pretraining/samples.py`.

    Without `prompts` the first `count` held-out examples (of the corpus, where none are) are begun and continued.
    """

    every: int = Field(ge=1)
    prompts: tuple[str, ...] = ()
    count: int = Field(default=3, ge=1)
    tokens: int = Field(default=32, ge=1)
    temperature: float = Field(default=0.0, ge=0)


class ModelRecipe(Settings):
    """A model to start from, or a shape to be drawn afresh: a `preset`, or the fields of `TransformerConfig`.

    A `shape` that names its `width` is whole, whatever the preset; another one says in what it differs from it.
    `start` is a folder, or a name on a hub with a `revision` (a commit stays what it is) and a mirror's `endpoint`.
    What is there may become another architecture: a decoder that is read both ways (`bidirectional`), or an encoder
    with a `decoder` that is a copy of it, drawn afresh, or the same weights.
    """

    start: str | None = None
    revision: str | None = None
    endpoint: str | None = None
    bidirectional: bool = False
    decoder: Decoder | None = None
    preset: str | None = "decoder-small"
    shape: dict[str, Any] = Field(default_factory=dict)

    @property
    def unused(self) -> str:
        """What asks for another body than the one that `start` brings; empty if nothing does."""
        other = self.preset not in (None, ModelRecipe.model_fields["preset"].default)
        return "shape" if self.shape else "preset" if other else ""


class Checked(Settings):
    """What every run says of its pre-flight: `check` looks before the first step, `strict` refuses warnings too,
    `allow` names checks whose findings do not stop the run."""

    check: bool = True
    strict: bool = False
    allow: tuple[str, ...] = ()


class PretrainRecipe(Checked):
    """Raw text in, a model out. `held_out` is the share of examples that are never trained on, for the judge.

    With a `mixture` of several corpora `corpus` names no files: what it says holds for every source that does not say
    it itself. `packing` says how documents become rows: see `recipes/corpora/packing.py`.
    """

    kind: Literal["pretrain"] = "pretrain"
    seed: int = 0
    held_out: float = Field(default=0.0, ge=0, lt=1)
    corpus: CorpusRecipe = CorpusRecipe()
    mixture: MixtureRecipe | None = None
    packing: Literal["auto", "split", "fit", "alone"] = "auto"
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    model: ModelRecipe = ModelRecipe()
    objective: ObjectiveRecipe = CausalAim()
    curriculum: CurriculumRecipe = CurriculumRecipe()
    train: TrainConfig = TrainConfig()
    replay: ReplayRecipe | None = None
    samples: SamplesRecipe | None = None
    family: str | None = None
    license: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> PretrainRecipe:
        if self.mixture is None and "corpus" not in self.model_fields_set:
            raise ValueError("corpus is needed and missing, or a mixture of several")
        if self.mixture is not None and (self.corpus.files or self.corpus.shards):
            raise ValueError("corpus names files, and so do the sources of the mixture: make the corpus one of them")
        if self.mixture is not None and self.replay is not None:
            raise ValueError("replay stands beside one corpus: make its text a source of the mixture")
        return self

    @property
    def aim(self) -> Aim:
        """The objective, with what of it follows the run."""
        return self.curriculum.told(self.objective, self.train.batch, self.train.length)

    @property
    def reserved(self) -> tuple[str, ...]:
        """The special tokens without a role that a tokenizer to be trained gets: those of the objective, with as many
        sentinels as are asked for, and the tokenizer's `extra`."""
        return self.tokenizer.reserving(self.aim.reserves(self.train.length))

    @property
    def unused(self) -> str:
        """What is said of a tokenizer, or a body, that is asked for where one is given; empty if nothing is. What adds
        to a given tokenizer is used."""
        given = "tokenizer.path" if self.tokenizer.path else "model.start" if self.model.start else ""
        used: dict[str, Any] = {"path": None, "extend": None, "sentinels": None, "extra": (), "specials": None}
        if self.tokenizer.extend is not None:
            used["min_frequency"] = TokenizerRecipe().min_frequency
        fresh = self.tokenizer.model_copy(update=used) != TokenizerRecipe()
        told = [f"the other keys of [tokenizer] are not used: {given} brings one"] if given and fresh else []
        if self.model.start and self.model.unused:
            told.append(f"model.{self.model.unused} is not used: model.start brings a body")
        return "; ".join(told)


class StrategyRecipe(Settings):
    """Which weights move: a row of `STRATEGIES` and its fields."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)

    def absolute(self) -> StrategyRecipe:
        """The same from any folder: a `source` is a path."""
        source = self.options.get("source")
        if not isinstance(source, str) or not source:
            return self
        return self.model_copy(update={"options": {**self.options, "source": absolute_path(source)}})


class FinetuneTrain(TrainConfig):
    """The numbers of a fine-tuning run: the rate by the width of the model, and a longer warm-up."""

    learning_rate: float | None = Field(default=None, gt=0, le=100)
    warmup: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _of_pretraining(self) -> FinetuneTrain:
        if self.base_width is not None:
            raise ValueError("base_width is a rule for fresh weights: it is read by pretrain alone")
        return self


UNTRAINED = ("length", "device", "precision", "threads")  # keys of `train` that a body which is only run has
# keys of `options` that say how a head is trained
HEAD_OPTIONS = ("pool", "hidden", "smoothing", "balanced", "lm", "r3f", "r3f_noise")


class RowsRecipe(Settings):
    """The rows of one task, and how they are read: a run of it alone says these fields, and so does each of several
    tasks on one body.

    Without a `test` file `test_share` of the rows is set aside; `validation` rows, or `validation_share` of the
    training rows, are what a judge chooses by. `task` is a row of `TASKS`; `columns` names the column of each of its
    roles, and `text`, `pair` and `label` (which is what is learned) are short for three of them; `options` are those of
    the task.
    """

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

    def rows(self) -> RowsRecipe:
        """These fields alone."""
        return RowsRecipe(**{name: getattr(self, name) for name in RowsRecipe.model_fields})


class FinetuneRecipe(Checked, RowsRecipe):
    """A model and labelled rows in, an adapted model and its marks out.

    With `train.judge_every` the judge chooses the best step by `metric` on the validation rows: never on test rows. The
    same rows choose a threshold, or the temperature of confidences; a `validation` file does so without a judge too.
    The head of the task is the one that the
    model's own class has, unless options ask for another. `bidirectional` and `decoder` are as in `ModelRecipe`. The
    first `mark_train` training rows are marked at the end too: how far ahead they are is over-fitting.
    With `features` nothing is trained: a classical head is fitted on the states of the body as it is.
    What an adapter learned is written alone, and opened on `model`; with `merge` the whole model is written, the
    adapter folded into its weights. `quantize` holds the frozen body in fewer bits while adapters are trained on it.
    A `model` "preset:NAME" is fresh weights of that shape, with a `tokenizer` that is trained on the training rows.
    """

    kind: Literal["finetune"] = "finetune"
    seed: int = 0
    model: str
    revision: str | None = None
    endpoint: str | None = None
    bidirectional: bool = False
    decoder: Decoder | None = None
    metric: str | None = None
    fresh: bool = False
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    dropout: float = Field(default=0.1, ge=0, lt=1)
    strategies: tuple[StrategyRecipe, ...] = ()
    features: FeaturesRecipe | None = None
    merge: bool = False
    quantize: Literal["int8", "nf4", "nf4-double"] | None = None
    epochs: float = Field(default=3.0, gt=0)
    train: FinetuneTrain = FinetuneTrain()
    mark_train: int = Field(default=0, ge=0)
    allow_leak: bool = False
    family: str | None = None
    license: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneRecipe:
        if self.train.steps != TrainConfig().steps:
            raise ValueError("train.steps is not read when fine-tuning; set epochs")
        if self.preset is None and self.tokenizer != TokenizerRecipe():
            raise ValueError("tokenizer is of a preset alone; a model that was trained brings its own")
        if self.features is not None:
            self._check_features()
        return self

    def _check_features(self) -> None:
        """Where nothing is trained, what says how is not read."""
        used = self.train.model_copy(update={key: getattr(FinetuneTrain(), key) for key in UNTRAINED})
        keys = {"strategies": (), "epochs": 3.0, "dropout": 0.1, "merge": False, "train": FinetuneTrain()}
        for key, default in keys.items():
            if (used if key == "train" else getattr(self, key)) != default:
                more = f" but for {', '.join(UNTRAINED)}" if key == "train" else ""
                raise ValueError(f"{key} is not read{more} where features are: nothing is trained")

    @property
    def preset(self) -> str | None:
        """The shape of fresh weights to start from, where `model` names one."""
        return self.model.removeprefix(PRESET) if self.model.startswith(PRESET) else None


NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_name(source: object) -> bool:
    """Is this the name of a model on a hub: `org/name`, and no path that exists here?"""
    return isinstance(source, str) and NAME.fullmatch(source) is not None and not os.path.exists(source)


R = TypeVar("R", PretrainRecipe, FinetuneRecipe)


def absolute(recipe: R) -> R:
    """The recipe with its paths made absolute: what `run.toml` keeps, so that a run can go on from any folder."""
    if isinstance(recipe, FinetuneRecipe):
        data = recipe.data if recipe.data == MEMORY else absolute_path(recipe.data)
        return recipe.model_copy(
            update={
                "model": recipe.model if recipe.preset is not None else _named(recipe.model),
                "tokenizer": recipe.tokenizer.model_copy(update={"path": absolute_path(recipe.tokenizer.path)}),
                "data": data,
                "test": recipe.test if recipe.test == MEMORY else absolute_path(recipe.test),
                "validation": absolute_path(recipe.validation),
                "strategies": tuple(strategy.absolute() for strategy in recipe.strategies),
                "features": recipe.features and recipe.features.absolute(),
            }
        )
    return recipe.model_copy(
        update={
            "corpus": placed(recipe.corpus),
            "mixture": None if recipe.mixture is None else recipe.mixture.over(recipe.corpus),
            "replay": None if recipe.replay is None else placed(recipe.replay),
            "tokenizer": recipe.tokenizer.model_copy(update={"path": absolute_path(recipe.tokenizer.path)}),
            "model": recipe.model.model_copy(update={"start": _named(recipe.model.start)}),
        }
    )


def _named(model: str | None) -> str | None:
    """A model's path made absolute; a name on a hub stays one."""
    return model if model is not None and is_name(model) else absolute_path(model)
