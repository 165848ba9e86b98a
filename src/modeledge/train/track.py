"""Listeners that hand each step to a tracker (extra `trackers`). They only look: a run is the same with and without.

TensorBoard writes into the run folder. W&B and Trackio follow their own environment variables; both are started offline
unless those say otherwise, because nothing of ours uses a network unasked.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modeledge.errors import ModeledgeError
from modeledge.train.record import StepRecord

Listener = Callable[[StepRecord], None]


def tensorboard(folder: Path) -> Listener:
    """Event files in `tensorboard/` of the run folder."""
    _needed("tensorboard")
    writer = _needed("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def listen(record: StepRecord) -> None:
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, record.step)
        writer.flush()

    return listen


def wandb(folder: Path) -> Listener:
    """A W&B run named like the folder, offline unless WANDB_MODE says otherwise."""
    os.environ.setdefault("WANDB_MODE", "offline")
    run = _needed("wandb").init(project="modeledge", name=folder.name, dir=str(folder))
    return lambda record: run.log(scalars(record), step=record.step)


def trackio(folder: Path) -> Listener:
    """A Trackio run named like the folder; it keeps its data on this machine."""
    module = _needed("trackio")
    module.init(project="modeledge", name=folder.name)
    return lambda record: module.log(scalars(record), step=record.step)


TRACKERS: dict[str, Callable[[Path], Listener]] = {"tensorboard": tensorboard, "wandb": wandb, "trackio": trackio}


def scalars(record: StepRecord) -> dict[str, float]:
    """What a tracker is shown of one step."""
    shown = {"loss": record.loss, "learning_rate": record.rate, "grad_norm": record.norm}
    shown["tokens_per_second"] = record.tokens / record.seconds
    parts = (("terms", record.terms), ("logs", record.logs), ("eval", record.scores))
    return shown | {f"{part}/{name}": value for part, values in parts for name, value in values.items()}


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = "pip install 'modeledge[trackers]'"
        raise ModeledgeError("E-EXTRA", f"{name} is not installed", where="train.trackers", remedy=remedy) from error
