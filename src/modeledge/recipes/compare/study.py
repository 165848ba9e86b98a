"""What a study asks for: one corpus, named cells, downstream tasks, seeds and sizes, in one TOML file.

A cell says only in what it differs: its `pretrain` table lies over that of the study, which is a `PretrainRecipe`
without corpus and tokenizer; its `finetune` table lies over that of the study and of the task, which together are a
`FinetuneRecipe` without model and data. So every key of both recipes can be an axis of a comparison, and a key that no
recipe has is refused before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from modeledge.config import Settings, load_config, read_toml
from modeledge.config.check import NONE, merged
from modeledge.config.read import load_values
from modeledge.corpus.sampled import Sampling
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.compare.marks import MarkRecipe
from modeledge.recipes.compare.unfold import unfolded
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe

PLACE = "{data}"  # in a path of a study: the folder that `data` names
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
PRETRAIN = "pretrain"  # the name of a cell's first run, beside those of the tasks
SUPERVISED = "supervised"  # the name of the labelled run between the two
TOGETHER = "together"  # the name of the run of a cell that learns all its tasks on one body
SEARCH = "search"  # the name of the folder of a cell's trials, beside those of its seeds


class SupervisedRecipe(Settings):
    """A labelled task as an objective of pre-training: the rows of `source`, which is a row of the study's `sources` or
    of its `tasks`, and how they are learned (`finetune`, over the tables of the study and of the source).

    `finetune.fresh = true` is supervised pre-training alone: from fresh weights of the same shape.
    """

    source: str
    finetune: dict[str, Any] = Field(default_factory=dict)


class TogetherRecipe(Settings):
    """All tasks of a cell on one body, with a head each: how often a batch is of which (`corpus/sampled.py`)."""

    sampling: Sampling = "proportional"
    temperature: float = Field(default=1.0, ge=1)


class Range(Settings):
    """Numbers from `low` to `high`, evenly or by their logarithm."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low is below high, and above 0 where it is logarithmic")
        return self


class SearchRecipe(Settings):
    """Hyper-parameters that are chosen for a cell, once a task and budget, before its seeds are run.

    `keys` are those of a `FinetuneRecipe`: a list is chosen from, `{low, high, log}` is a range. `trials` of them are
    drawn (the first is the cell's own values), each learns from the first seed's training rows without `share` of them,
    and the one with the best first metric on these is taken: the test rows are never looked at. With the `pruner`
    "asha" a trial that is behind ends early (`compare/pruning.py`).
    """

    trials: int = Field(default=6, ge=1, le=100)
    share: float = Field(default=0.25, gt=0, lt=1)
    sampler: Literal["random", "tpe"] = "random"
    pruner: Literal["none", "asha"] = "none"
    keys: dict[str, tuple[Any, ...] | Range] = Field(min_length=1)


class SweepRecipe(Settings):
    """An axis that some cells are repeated along, to see how sensitive they are: `lora` becomes `lora-0.0001` and
    `lora-0.001`, for each of the `values` of a `key` of their `finetune` table."""

    key: str = "train.learning_rate"
    values: tuple[float, ...] = Field(min_length=2)
    cells: tuple[str, ...] = Field(min_length=1)


class CellRecipe(Settings):
    """A row of the table: how a body comes to be, and how it is fine-tuned.

    The body is pre-trained as `pretrain` says (over the study's own table), or it is that `of` another cell, or a
    `model` that exists; `supervised` then trains it on labelled rows, before any task of the table. `label` is what the
    table prints, `group` the block of rows that it stands in; `search` is that of the study, or its own; `swept` is the
    cell that this one repeats at another value of the study's `sweep`; `together` learns the cell's tasks in one run on
    one body. `corpus`, `mixture` and `tokenizer` are tables over those of the study: see `compare/corpora.py`.
    """

    label: str = ""
    group: str = ""
    of: str | None = None
    model: str | None = None
    search: SearchRecipe | None = None
    swept: tuple[str, float] | None = None
    supervised: SupervisedRecipe | None = None
    together: TogetherRecipe | None = None
    corpus: dict[str, Any] = Field(default_factory=dict)
    mixture: dict[str, Any] = Field(default_factory=dict)
    tokenizer: dict[str, Any] = Field(default_factory=dict)
    pretrain: dict[str, Any] = Field(default_factory=dict)
    finetune: dict[str, Any] = Field(default_factory=dict)
    tasks: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_body(self) -> CellRecipe:
        if sum((bool(self.pretrain), self.of is not None, self.model is not None)) > 1:
            raise ValueError("a body is pre-trained, of another cell, or a model that exists: name one of the three")
        if (self.corpus or self.mixture or self.tokenizer) and (self.of is not None or self.model is not None):
            raise ValueError("corpus, mixture and tokenizer are those of a body that is pre-trained here")
        return self


class CutRecipe(Settings):
    """Words for a number: the first below the first of `at`, the second below the next, …; those within `gap` of a cut
    are left out."""

    at: tuple[float, ...] = Field(min_length=1)
    words: tuple[str, ...] = Field(min_length=2)
    gap: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_more(self) -> CutRecipe:
        if len(self.words) != len(self.at) + 1 or sorted(self.at) != list(self.at):
            raise ValueError("as many cuts as words less one, in rising order")
        return self


class TaskRecipe(Settings):
    """A group of columns: labelled rows, and how they are learned and marked.

    `data`, `layout` and `test` are those of a `FinetuneRecipe`. At most `rows` training and `test_rows` test rows are
    taken, by lot; without a `test`, `test_share` is set aside. Rows that are equal in the column `apart` never stand
    on both sides. `values` replaces the words of a column, `lists` makes a column of the field of each item of another
    (`target = "answers.text"`), and `texts` makes one of others, `{column}` standing for a value. The first of
    `metrics` is the one that systems are compared by.

    `budgets` makes a column of each number of labels: `sst2` becomes `sst2-100` and `sst2-1000`, whose `of` is `sst2`.
    A smaller budget is part of a larger one, and all are marked on the same test rows. With `draw = "seed"` each seed
    learns from rows of its own lot, so that the interval knows the luck of the labels too.

    A task that `learns` another one trains nothing: the model of that task answers these rows, all of which are test
    rows, so that it is seen how far a way to adapt carries. Rows that the other one could have learned from are left
    out (equal in letters and digits in the column `apart`). `cuts` makes words of a number.
    """

    label: str = ""
    data: str
    layout: str | None = None
    test: str | None = None
    rows: int | None = Field(default=None, ge=1)
    test_rows: int | None = Field(default=None, ge=1)
    test_share: float = Field(default=0.2, gt=0, lt=1)
    apart: str | None = None
    texts: dict[str, str] = Field(default_factory=dict)
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    lists: dict[str, str] = Field(default_factory=dict)
    metrics: tuple[str, ...] = Field(min_length=1)
    finetune: dict[str, Any] = Field(default_factory=dict)
    budgets: tuple[int, ...] = ()
    draw: Literal["once", "seed"] = "once"
    of: str | None = None
    learns: str | None = None
    cuts: dict[str, CutRecipe] = Field(default_factory=dict)


class StudyRecipe(Settings):
    """A grid of runs: each cell is pre-trained once a seed and fine-tuned once a seed and task; or each begins with the
    `model` that exists, where it says nothing else.

    `data` is the folder that `{data}` stands for in paths. `minutes` is what one run may take at most; one that takes
    longer is stopped and counted as failed. `against` is the cell that the others are compared with. `sources` are
    labelled rows that bodies are trained on and that are no column of the table. `scales` holds tables that `--scale`
    lays over the file. `marks` are columns of the bodies
    themselves (`compare/marks.py`). `search` chooses hyper-parameters a cell and task; `sweep` repeats cells along an
    axis.
    """

    kind: Literal["study"] = "study"
    title: str = "A study"
    note: str = ""
    scale: str = "default"
    data: str = "data"
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    minutes: float | None = Field(default=None, gt=0)
    against: str | None = None
    model: str | None = None
    corpus: CorpusRecipe | None = None
    mixture: dict[str, Any] = Field(default_factory=dict)
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    pretrain: dict[str, Any] = Field(default_factory=dict)
    finetune: dict[str, Any] = Field(default_factory=dict)
    cells: dict[str, CellRecipe] = Field(min_length=1)
    tasks: dict[str, TaskRecipe] = Field(default_factory=dict)
    marks: dict[str, MarkRecipe] = Field(default_factory=dict)
    sources: dict[str, TaskRecipe] = Field(default_factory=dict)
    search: SearchRecipe | None = None
    sweep: SweepRecipe | None = None
    scales: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> StudyRecipe:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is named twice")
        for name in (*self.cells, *self.tasks, *self.sources, *self.marks):
            if not NAME.fullmatch(name) or name in (PRETRAIN, SEARCH):
                raise ValueError(f"{name!r} is no name of a folder: letters, digits, '.', '_', '-', not {PRETRAIN!r}")
        for name, task in self.tasks.items():
            if task.budgets:
                raise ValueError(f"tasks.{name}.budgets: whole numbers above 0 (load_study makes a task of each)")
            if task.learns is not None and (task.learns not in self.tasks or self.tasks[task.learns].learns):
                raise ValueError(f"tasks.{name}.learns: {task.learns!r} is no task that is trained on")
            if name in (SUPERVISED, TOGETHER) or name in self.sources or name in self.marks:
                raise ValueError(f"tasks.{name}: a source, a mark, or the run on a source has this name")
        if NONE in {*self.cells, *self.sources}:
            raise ValueError(f'"{NONE}" is the word for no value, so no key could name such a row: call it otherwise')
        for name, cell in self.cells.items():
            self._check_body(name, cell)
            if cell.together is not None and (cell.search is not None or len(self.learned(name)) < 2):
                raise ValueError(f"cells.{name}.together: several tasks that are trained on, and no search")
            unknown = [task for task in cell.tasks or () if task not in self.tasks]
            if unknown:
                raise ValueError(f"cells.{name}.tasks: there is no task {unknown[0]!r}")
        if self.model is not None and self.corpus is not None:
            raise ValueError("cells are pre-trained on the corpus or begin with the model: name one of the two")
        if self.against is not None and self.against not in self.cells:
            raise ValueError(f"against: {self.against!r} is no cell; {nearest(self.against, self.cells)}")
        return self

    def _check_body(self, name: str, cell: CellRecipe) -> None:
        """A body `of` another cell is one that a run of that cell made; a source is there."""
        at, seen = cell, {name}
        while at.of is not None:
            other = self.cells.get(at.of)
            if other is None or at.of in seen or (other.of is not None and other.supervised is None):
                raise ValueError(f"cells.{name}.of: {at.of!r} is no cell with a body of its own")
            seen.add(at.of)
            at = other
        rows = (*self.sources, *self.tasks)
        if cell.supervised is not None and cell.supervised.source not in rows:
            asked = cell.supervised.source
            raise ValueError(f"cells.{name}.supervised.source: there is no {asked!r}; {nearest(asked, rows)}")

    def rows_of(self, name: str) -> TaskRecipe:
        """The labelled rows of a task or of a source."""
        return self.tasks[name] if name in self.tasks else self.sources[name]

    def tasks_of(self, cell: str) -> tuple[str, ...]:
        """The tasks that a cell is fine-tuned on."""
        named = self.cells[cell].tasks
        return tuple(self.tasks) if named is None else named

    def learned(self, cell: str) -> tuple[str, ...]:
        """Those of them that it is trained on."""
        return tuple(name for name in self.tasks_of(cell) if name in self.tasks and self.tasks[name].learns is None)

    def columns(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The groups of columns, marks before tasks: what each is called, and its metrics."""
        marks = {name: (mark.label or name, mark.chosen) for name, mark in self.marks.items()}
        return {**marks, **{name: (task.label or name, task.metrics) for name, task in self.tasks.items()}}

    def label(self, cell: str) -> str:
        """What the table calls a cell."""
        return self.cells[cell].label or cell

    def place(self, path: str) -> str:
        """A path of the study with `{data}` replaced."""
        return path.replace(PLACE, self.data.rstrip("/") or "/")


def load_study(
    path: Path, scale: str = "default", overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> StudyRecipe:
    """A study out of a TOML file, the tables of its scale over it, `values` and `key=value` over both.

    Raises `E-CONFIG-VALUE` for a scale that the file has not, and what `load_config` raises.
    """
    tree = read_toml(path)
    scales = tree.pop("scales", {})
    if scale != "default" and (not isinstance(scales, dict) or scale not in scales):
        what = f"the study has no scale {scale!r}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=str(path), remedy=nearest(scale, ["default", *scales]))
    tree = merged(tree, scales.get(scale, {}))
    named = {} if scale == "default" and "scale" in tree else {"scale": scale}  # a run.toml knows its scale
    tree = merged(merged(tree, {**(values or {}), **named}), load_values(overrides))
    study = load_config(StudyRecipe, None, values=unfolded(tree))
    return study.model_copy(update={"data": str(Path(study.data).absolute())})
