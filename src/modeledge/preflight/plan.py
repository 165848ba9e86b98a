"""What a run takes, before it is run: a few steps of it are made, and the rest is arithmetic.

Time is the steady seconds a step times the steps; the first step is left out, which pays for the optimizer's states
and the pages that later steps use again. Memory is the peak that the kernel (or CUDA) has seen in these steps; its
parts are counted from the weights, and what is left over is work: states kept for the backward pass, workspace, the
libraries.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from io import StringIO
from typing import Any

import torch

from modeledge.errors import ModeledgeError
from modeledge.machine import peak_memory
from modeledge.model.flops import measured
from modeledge.preflight.resources import checkpoint_bytes, disk_bytes, mib, parts_of_memory
from modeledge.preflight.view import View
from modeledge.train.record import StepRecord
from modeledge.train.trainer import Trainer

STEPS, SECONDS = 24, 20.0  # at most so many steps, and no new one after so many seconds (two at least)


@dataclass(frozen=True)
class Plan:
    """A run's needs: counts, bytes, seconds. `peak` is the resident memory at its highest, libraries included; `work`
    what of it is neither weights, copies, gradients nor optimizer; `epochs` is how often each corpus is read."""

    parameters: int
    moving: int
    steps: int
    weights: int
    copies: int
    gradients: int
    optimizer: int
    work: int
    peak: int
    tokens_a_second: float
    tokens_a_step: float
    seconds: float
    checkpoint: int
    disk: int
    measured_steps: int
    flops_a_token: float = 0.0
    epochs: Mapping[str, float] = field(default_factory=dict)
    fill: float | None = None

    def as_plain(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def table(self) -> str:
        """For a terminal."""
        from rich.console import Console
        from rich.table import Table

        rows = [
            ("parameters", f"{self.parameters:,}"),
            ("  that move", f"{self.moving:,}"),
            ("steps", f"{self.steps:,}"),
            ("memory, at the highest", mib(self.peak)),
            ("  weights (fp32)", mib(self.weights)),
            ("  copies for products", mib(self.copies)),
            ("  gradients", mib(self.gradients)),
            ("  optimizer, average", mib(self.optimizer)),
            ("  work and libraries", mib(self.work)),
            ("tokens a second", f"{self.tokens_a_second:,.0f}"),
            ("tokens a step", f"{self.tokens_a_step:,.0f}"),
            ("FLOPs a token, measured", f"{self.flops_a_token:.3g}"),
            ("FLOP/s, of products alone", f"{self.flops_a_token * self.tokens_a_second:.3g}"),
            ("time", spelled(self.seconds)),
            ("disk, at the fullest", mib(self.disk)),
            ("  one checkpoint", mib(self.checkpoint)),
            *((f"epochs of {name}", f"{count:.2f}") for name, count in self.epochs.items()),
            *([] if self.fill is None else [("rows are full to", f"{100 * self.fill:.1f} %")]),
        ]
        table = Table("what", "how much", title=f"from {self.measured_steps} steps", box=None, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console = Console(file=StringIO(), width=80, no_color=True)
        console.print(table)
        assert isinstance(console.file, StringIO)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def make_plan(view: View) -> Plan:
    """Make the run's own first steps on its own weights (nothing follows), and say what the whole of it takes."""
    trainer, sizes = view.trainer, parts_of_memory(view, 0.0)
    moving = sum(p.numel() for n, p in view.model.named_parameters() if view.trial is None or n in view.trial.moving)
    disk, one = disk_bytes(view), checkpoint_bytes(view)
    view.forget()
    on_gpu = trainer.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        peak_memory(reset=True)
    records: list[StepRecord] = []
    began = time.perf_counter()
    while len(records) < min(STEPS, max(3, trainer.config.steps)):
        if len(records) > 2 and time.perf_counter() - began > SECONDS:
            break
        try:
            records.append(trainer.step())
        except StopIteration:
            break
    if not records:
        raise ModeledgeError("E-NO-RECORDS", "there is no example to step on")
    steady = records[1:] or records
    each = statistics.median(r.seconds for r in steady)
    tokens = statistics.fmean(r.tokens for r in steady)
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_memory()
    parts = (sizes.weights, sizes.copies, sizes.gradients, sizes.optimizer)
    return Plan(
        parameters=sum(p.numel() for p in view.model.parameters()),
        moving=moving,
        steps=trainer.config.steps,
        weights=sizes.weights,
        copies=sizes.copies,
        gradients=sizes.gradients,
        optimizer=sizes.optimizer,
        work=max(0, peak - sum(parts)),
        peak=peak,
        tokens_a_second=tokens / each,
        tokens_a_step=tokens,
        seconds=records[0].seconds + each * (trainer.config.steps - 1),
        checkpoint=one,
        disk=disk,
        measured_steps=len(records),
        flops_a_token=flops_a_token(trainer),
        epochs={read.name: read.epochs for read in view.reads},
        fill=view.fill,
    )


def flops_a_token(trainer: Trainer) -> float:
    """The arithmetic of one step more, forwards and backwards, by its tokens; 0 where the data are at their end."""
    records: list[StepRecord] = []

    def step() -> None:
        with contextlib.suppress(StopIteration):
            records.append(trainer.step())

    work = measured(step)
    return work / records[0].tokens if records else 0.0


def spelled(seconds: float) -> str:
    """Seconds as a person reads them."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{whole // 60} min {whole % 60:02d} s"
