"""What an adaptation cost: how much of the model moved, what must be kept for it, how much memory it took.

One body serves many tasks when each keeps only what it moved (Houlsby et al. 2019, arXiv 1902.00751), so `kept_bytes`
counts those weights alone, in fp32: the head of a probe, an adapter, or the whole model of full fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modeledge import files
from modeledge.adapt.quantize import held_bytes
from modeledge.machine import give_back, peak_memory, resident_memory
from modeledge.model.backbone import Backbone
from modeledge.train import Trainer

COST = "cost.json"
FP32 = 4  # bytes


@dataclass(frozen=True)
class Watch:
    """The memory of a run from a moment on, in bytes: `before` were resident in its process then, `model` are those
    that its model holds. A process may have held much else by then: libraries, and what other runs of a study left."""

    before: int
    model: int

    def peak(self) -> int:
        """Those of the model, and the most that came to be resident since."""
        return self.model + max(0, peak_memory() - self.before)


def watch(model: Backbone) -> Watch:
    """Begin to watch the memory of a run, with its model at hand and nothing learned."""
    give_back()  # else the run takes it up again, unseen
    peak_memory(reset=True)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    return Watch(resident_memory(), held_bytes(model))


def write_costs(trainer: Trainer, folder: Path, examples: int, since: Watch) -> None:
    """`cost.json` of a run whose training is over: counts of weights, bytes, and the examples that it learned from.

    `peak_bytes` are the model's and those that came on the host since a watch began, `device_bytes` those allocated on
    a GPU.
    """
    moved = sum(trainer.optimizer.parameters[name].numel() for name in trainer.optimizer.steps)
    write_cost(trainer.model, folder, moved, FP32 * moved, examples, since)


def write_cost(model: Backbone, folder: Path, moved: int, kept: int, examples: int, since: Watch) -> None:
    """The same of a run without a trainer: `moved` numbers were fitted, and `kept` bytes are needed for them."""
    total = sum(p.numel() for p in model.parameters())
    told: dict[str, Any] = {"moved": moved, "parameters": total, "kept_bytes": kept, "examples": examples}
    told["peak_bytes"] = since.peak()
    if model.device.type == "cuda":
        told["device_bytes"] = torch.cuda.max_memory_allocated()
    files.write_json(folder / COST, told)
