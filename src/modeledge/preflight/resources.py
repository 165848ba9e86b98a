"""Checks that the run fits: into memory, onto the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from modeledge.preflight.finding import Finding
from modeledge.preflight.trial import Trial
from modeledge.preflight.view import View

SPARE = 1.2  # what a checkpoint must find free, in times of its size (`train/checkpoint.py`)


@dataclass(frozen=True)
class Memory:
    """Bytes by part. `weights` are there already when a run begins; `work` is what one micro-batch keeps."""

    weights: int
    copies: int
    gradients: int
    optimizer: int
    work: int

    @property
    def total(self) -> int:
        return self.weights + self.copies + self.gradients + self.optimizer + self.work


def parts_of_memory(view: View, tokens: float | None = None) -> Memory:
    """What the run will hold, from its weights and from what two small steps kept a token."""
    every = dict(view.model.named_parameters())
    trial = view.trial or Trial()
    moving = [p for n, p in every.items() if n in (trial.moving or every)]
    weights = sum(p.nbytes for p in every.values())
    still = sum(p.nbytes for p in moving)
    half = weights // 2 if view.config.chosen_dtype() is torch.bfloat16 else 0
    states = {"adamw": 2, "sgd": int(view.config.momentum > 0)}[view.config.optimizer]
    states += view.config.ema is not None  # one number more beside each weight, saved with the others
    tokens = tokens_a_micro_batch(view) if tokens is None else tokens
    return Memory(weights, half, still, states * still, round(trial.activations * tokens))


def tokens_a_micro_batch(view: View) -> float:
    """About how many tokens one micro-batch reads, both sides together."""
    lengths = [sum(p.lengths()) for p in view.prepared] or [view.config.length]
    return sum(lengths) / len(lengths) * (view.config.micro_batch or view.config.batch)


def checkpoint_bytes(view: View) -> int:
    """A checkpoint: all weights, their moving average and the optimizer's states."""
    parts = parts_of_memory(view, 0.0)
    return parts.weights + parts.optimizer


def disk_bytes(view: View) -> int:
    """What the run folder holds at its fullest: one checkpoint more than are kept, then the model."""
    config = view.config
    saves = 1 + (0 if config.save_every is None else config.steps // config.save_every)
    kept = min(saves, config.keep_last + 1 + (config.mean_of_last or 0)) + (config.judge_every is not None)
    return kept * checkpoint_bytes(view) + sum(p.nbytes for p in view.model.parameters())


def memory(view: View) -> Iterator[Finding]:
    """What is still to be held (all but the weights) fits into what is free."""
    free = view.room.memory if view.trainer.device.type == "cpu" else torch.cuda.mem_get_info()[0]
    if free is None:
        return
    parts = parts_of_memory(view)
    needed = parts.total - parts.weights
    if needed > 0.85 * free:
        what = f"the run needs about {mib(needed)} more (activations {mib(parts.work)}), {mib(free)} are free"
        remedy = "lower train.micro_batch or train.length, set train.recompute, or move fewer weights"
        yield Finding("E-MEMORY" if needed > free else "W-MEMORY", what, remedy=remedy)


def disk(view: View) -> Iterator[Finding]:
    """Checkpoints and the model fit onto the disk, and under the cap."""
    needed, one = disk_bytes(view), checkpoint_bytes(view)
    if view.room.disk is not None and needed * SPARE > view.room.disk:
        what = f"checkpoints and model need {mib(int(needed * SPARE))}, {mib(view.room.disk)} are free"
        yield Finding("E-DISK", what, remedy="make room, or lower train.keep_last")
    cap = int(view.config.disk_cap_gib * 2**30)
    if one > cap:
        yield Finding("W-DISK", f"one checkpoint takes {mib(one)}, train.disk_cap_gib allows {mib(cap)}")


def mib(count: int) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**20:,.0f} MiB" if count < 2**33 else f"{count / 2**30:,.1f} GiB"
