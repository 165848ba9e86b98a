"""How the tasks of a run pull on their body, written down beside it: `conflicts.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.evaluate.conflict import gradient_cosines
from modeledge.objectives import Shape, collate, prepared
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train import StepRecord, Trainer

CONFLICTS = "conflicts.jsonl"
PROBE = 32  # examples of each task that its gradient is measured on


class Conflicts:
    """A listener that measures the cosines every so many steps and writes them down, and leaves training as it is."""

    def __init__(self, folder: Path, trainer: Trainer, examples: Mapping[str, Sequence[Example]], every: int) -> None:
        self.path, self.trainer, self.every = folder / CONFLICTS, trainer, every
        objective, offsets = trainer.module.objective, trainer.stream.offsets  # type: ignore[attr-defined]
        self.probes = {}
        for (name, own), first in zip(examples.items(), offsets, strict=True):
            chosen = [replace(example, index=example.index + first) for example in own[:PROBE]]
            ready = [prepared(objective, example, Noise(0)) for example in chosen]
            self.probes[name] = collate(ready, Shape(trainer.config.length)).to(trainer.device)
        told = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.lines = [line for line in map(json.loads, told) if line["step"] <= trainer.done]

    def __call__(self, record: StepRecord) -> None:
        if record.step % self.every == 0:
            self.lines.append({"step": record.step, "cosines": gradient_cosines(self.trainer.module, self.probes)})
            files.write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def summary(self) -> dict[str, Any]:
        """Of each pair of tasks the mean cosine, and the share of measurements in which they pull apart."""
        pairs: dict[str, list[float]] = {}
        for line in self.lines:
            for pair, value in line["cosines"].items():
                pairs.setdefault(pair, []).append(value)
        return {
            pair: {"mean": sum(v) / len(v), "conflicting": sum(x < 0 for x in v) / len(v), "n": len(v)}
            for pair, v in pairs.items()
        }
