"""Multitask prompt tuning: one prompt that tasks share, bent for each by a matrix of low rank.

Wang et al. (2023, arXiv 2303.02861, section 3.1): the prompt of task k is P̂ₖ = P* ∘ Wₖ with Wₖ = uₖ ⊗ vₖᵀ, so that P*
`[length, width]` holds what the tasks have in common and uₖ `[length]`, vₖ `[width]` what is k's own. In the source
stage examples of many tasks train P* and every uₖ, vₖ; in the target stage (section 3.3) a new task begins with what
was learned and has its own small factors: the mean of the sources', those of one of them, or fresh ones. The paper also
distils prompts that were trained for each source task alone into P*; that is left out here, as it is in the PEFT
library. Factors begin around 1, so that every task begins with P* itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from modeledge.adapt.checks import check_choice, check_count, check_text
from modeledge.adapt.leading import generator_of
from modeledge.adapt.prompt import PromptTuning, begin_table
from modeledge.errors import ModeledgeError
from modeledge.model.batch import Batch, Side
from modeledge.model.heads import members
from modeledge.model.lead import TASK, Lead
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise

SPREAD = 0.02
TRANSFERS = ("average", "exact", "shared")
SHARED, COLUMNS, ROWS = "prompt_embeddings", "prefix_task_cols", "prefix_task_rows"  # as the PEFT library names them
FILE = "adapter_model.safetensors"  # where a run, or the PEFT library, leaves them


class TaskPrompt(Lead):
    """`embedding.weight [length, width]`, `prefix_task_cols [tasks, length, ranks]`, `prefix_task_rows [tasks, ranks,
    width]`. `task` is that of a batch that does not say of which its examples are; `names` are the tasks', where they
    have any."""

    names: tuple[str, ...] = ()

    def __init__(self, asked: MultitaskPromptTuning, width: int) -> None:
        super().__init__()
        self.tokens, self.leads, self.task = asked.length, asked.pooled == "prompt", asked.task
        self.embedding = nn.Embedding(asked.length, width)
        self.prefix_task_cols = nn.Parameter(torch.empty(asked.tasks, asked.length, asked.ranks))
        self.prefix_task_rows = nn.Parameter(torch.empty(asked.tasks, asked.ranks, width))

    def vectors(self) -> Tensor:
        return self.embedding.weight * (self.prefix_task_cols @ self.prefix_task_rows)

    def keep(self, task: int) -> None:
        """Leave the factors of one task alone."""
        for name in (COLUMNS, ROWS):
            setattr(self, name, nn.Parameter(getattr(self, name).detach()[task : task + 1].clone()))
        self.task, self.names = None, ()

    def kinds(self, batch: Batch, side: Side) -> Tensor | None:
        """The task of each token's example, from the batch's labels `task` `[examples]`."""
        count = len(self.prefix_task_cols)
        if count == 1:
            return None
        if TASK not in batch.labels:
            if self.task is None:
                what = f"the prompt is of {count} tasks, and the batch says none of them"
                remedy = "train them from one recipe of several tasks, a new one with mpt:source=RUN; or set mpt.task"
                raise ModeledgeError("E-USAGE", what, where="strategies.mpt", remedy=remedy)
            return torch.full_like(side.segments, self.task)
        asked = batch.labels[TASK]
        if len(asked) and not 0 <= int(asked.min()) <= int(asked.max()) < count:
            what = f"an example is of task {int(asked.max())}, and there are {count}"
            raise ModeledgeError("E-LABEL-RANGE", what, where="strategies.mpt.tasks")
        read = batch.side
        example, place = members(batch, read.positions.shape[1])
        row = torch.div(place, read.positions.shape[1], rounding_mode="floor")
        most = int(max(read.segments.max(), side.segments.max())) + 1
        table = torch.zeros(len(read.segments), most, dtype=torch.long, device=side.segments.device)
        table[row, read.segments.flatten()[place]] = asked[example]
        return table.gather(1, side.segments)


@dataclass(frozen=True)
class MultitaskPromptTuning(PromptTuning):
    """`length` vectors before each example, of `tasks` tasks with factors of `ranks` each.

    In a source stage each example has a label `task` from 0; `task` is the one of texts without. A target stage names
    a `source`, the run or the safetensors file of a source stage (`prompt_embeddings`, `prefix_task_cols`,
    `prefix_task_rows`), and how its factors are taken over: their `average`, those of the `exact` task `task`, or
    `shared`: none.
    """

    tasks: int = 1
    ranks: int = 1
    task: int | None = None
    source: str = ""
    transfer: Literal["average", "exact", "shared"] = "average"
    kind: ClassVar[str] = "mpt"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("mpt.tasks", self.tasks, 1)
        check_count("mpt.ranks", self.ranks, 1)
        check_text("mpt.source", self.source)
        check_choice("mpt.transfer", self.transfer, TRANSFERS)
        if self.task is not None:
            check_count("mpt.task", self.task, 0)
        if self.source and self.tasks > 1:
            what = "a target stage has one task, and takes its start from the source stage's"
            raise ModeledgeError("E-CONFIG", what, where="strategies.mpt.tasks", remedy="leave tasks or source out")
        if self.source and self.transfer == "exact" and self.task is None:
            what = "which task's factors are taken over?"
            raise ModeledgeError("E-CONFIG", what, where="strategies.mpt.task", remedy="give its number")
        if self.source and self.transfer != "exact" and self.task is not None:
            what = f"a task is named, and the transfer is {self.transfer!r}, which takes no single one's factors"
            raise ModeledgeError("E-CONFIG", what, where="strategies.mpt.transfer", remedy='set transfer = "exact"')
        if not self.source and self.task is not None and self.task >= self.tasks:
            what = f"task {self.task} is none of {self.tasks}, counted from 0"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="strategies.mpt.task")

    def build(self, model: Transformer) -> Lead:
        return TaskPrompt(self, model.tokens.shape[1])

    def begin(self, lead: Lead, model: Transformer, noise: Noise) -> None:
        assert isinstance(lead, TaskPrompt)
        begin_table(lead.embedding.weight, self, model, noise)
        for name, factors, by in (
            (COLUMNS, lead.prefix_task_cols, 1.0),
            (ROWS, lead.prefix_task_rows, 1.0 / self.ranks),
        ):
            drawn = torch.empty(factors.shape).normal_(1.0, SPREAD, generator=generator_of(noise, name))
            factors.copy_(drawn * by)
        if self.source:
            self.take_over(lead)

    def take_over(self, lead: TaskPrompt) -> None:
        """Fill the prompt with that of the source stage, and the factors as `transfer` says; `E-KEYS` for a file that
        does not fit."""
        held = read_stage(Path(self.source))
        columns, rows = held[COLUMNS], held[ROWS]
        if self.transfer == "exact" and self.task is not None:
            if self.task >= len(columns):
                what = f"task {self.task} is none of the {len(columns)} of the source stage"
                raise ModeledgeError("E-CONFIG-VALUE", what, where="strategies.mpt.task")
            columns, rows = columns[self.task : self.task + 1], rows[self.task : self.task + 1]
        taken = {SHARED: (lead.embedding.weight, held[SHARED])}
        if self.transfer != "shared":
            taken[COLUMNS] = (lead.prefix_task_cols, columns.mean(0, keepdim=True))
            taken[ROWS] = (lead.prefix_task_rows, rows.mean(0, keepdim=True))
        for name, (ours, theirs) in taken.items():
            if ours.shape != theirs.shape:
                what = f"{name} is {tuple(theirs.shape)} there, {tuple(ours.shape)} here"
                raise ModeledgeError(
                    "E-KEYS", what, where=self.source, remedy="leave length and ranks out, or give its own"
                )
            ours.copy_(theirs)


def stage_file(source: Path) -> Path:
    """The file of a source stage: itself, or that in the folder of its run."""
    found = (folder / FILE for folder in (source / "model", source))
    return next((file for file in found if file.is_file()), source)


def read_stage(source: Path) -> dict[str, Tensor]:
    """The three tensors of a source stage, out of a file in which others (heads) may lie beside them; `E-NO-FILE`,
    `E-SAFETENSORS`, `E-KEYS`."""
    path = stage_file(source)
    if not path.is_file():
        remedy = "name the folder of its run, or the file of its adapter"
        raise ModeledgeError("E-NO-FILE", "there is no source stage", where=str(source), remedy=remedy)
    try:
        held = load_file(path)
    except SafetensorError as error:
        raise ModeledgeError("E-SAFETENSORS", str(error), where=str(path)) from error
    wanted = {SHARED: 2, COLUMNS: 3, ROWS: 3}
    if any(name not in held or held[name].ndim != dims for name, dims in wanted.items()):
        what = f"it holds {', '.join(sorted(held)[:5])}, not {SHARED}, {COLUMNS} and {ROWS} of a source stage"
        raise ModeledgeError("E-KEYS", what, where=str(path), remedy="train one: a recipe of several tasks with mpt")
    return {name: held[name] for name in wanted}
