"""What an adaptation cost: how much of the model moved, what must be kept for it, how much memory it took.

One body serves many tasks when each keeps only what it moved (Houlsby et al. 2019, arXiv 1902.00751), so `kept_bytes`
counts those weights alone, in fp32: the head of a probe, an adapter, or the whole model of full fine-tuning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modeledge import files
from modeledge.machine import peak_memory
from modeledge.model.backbone import Backbone
from modeledge.train import Trainer

COST = "cost.json"
FP32 = 4  # bytes


def watch() -> None:
    """Begin to watch the memory: what `costs` tells as the peak is counted from here."""
    peak_memory(reset=True)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def write_costs(trainer: Trainer, folder: Path, examples: int) -> None:
    """`cost.json` of a run whose training is over: counts of weights, bytes, and the examples that it learned from.

    `peak_bytes` are those resident on the host since `watch`, the model and the data among them, `device_bytes` those
    allocated on a GPU.
    """
    moved = sum(trainer.optimizer.parameters[name].numel() for name in trainer.optimizer.steps)
    write_cost(trainer.model, folder, moved, FP32 * moved, examples)


def write_cost(model: Backbone, folder: Path, moved: int, kept: int, examples: int) -> None:
    """The same of a run without a trainer: `moved` numbers were fitted, and `kept` bytes are needed for them."""
    total = sum(p.numel() for p in model.parameters())
    told: dict[str, Any] = {"moved": moved, "parameters": total, "kept_bytes": kept, "examples": examples}
    told["peak_bytes"] = peak_memory()
    if model.device.type == "cuda":
        told["device_bytes"] = torch.cuda.max_memory_allocated()
    files.write_json(folder / COST, told)
