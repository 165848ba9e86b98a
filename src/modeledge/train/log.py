"""What a run writes while it goes: `metrics.jsonl`, one line a step, the same bytes on every machine that computes the
same numbers, and `speed.jsonl` beside it for what a clock says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.train.record import StepRecord
from modeledge.train.spikes import Spikes


class RunLog:
    """Appends records; after a resume it first forgets the lines of steps that will be run again."""

    def __init__(self, folder: Path, *, done: int) -> None:
        self.spikes = Spikes()
        self.metrics = reopened(folder / "metrics.jsonl", done, self.spikes.seen)
        self.speed = reopened(folder / "speed.jsonl", done)

    def write(self, record: StepRecord) -> list[str]:
        """Add one step to both files; the numbers of it that are spikes."""
        row: dict[str, Any] = {
            "step": record.step,
            "loss": record.loss,
            "terms": dict(record.terms),
            "lr": record.rate,
            "grad_norm": record.norm,
            "tokens": record.tokens,
            "examples": record.examples,
        }
        if record.logs:
            row["logs"] = dict(record.logs)
        if record.scores:
            row["eval"] = dict(record.scores)
        spikes = self.spikes.seen(row)
        if spikes:
            row["spikes"] = spikes
        self.metrics.write(json.dumps(row, sort_keys=True) + "\n")
        self.metrics.flush()
        speed = {
            "step": record.step,
            "seconds": round(record.seconds, 6),
            "tokens_per_second": round(record.tokens / record.seconds),
        }
        self.speed.write(json.dumps(speed, sort_keys=True) + "\n")
        self.speed.flush()
        return spikes

    def sync(self) -> None:
        """Make the lines durable: a checkpoint must not know steps that the log forgot."""
        for file in (self.metrics, self.speed):
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        self.sync()
        self.metrics.close()
        self.speed.close()


def reopened(path: Path, done: int, seen: Callable[[Mapping[str, Any]], object] = lambda row: None) -> IO[str]:
    """A file of lines with a `step`, open to be appended to, without the lines of steps that will be run again.

    Each row that stays is shown to `seen`. A torn last line is what a killed process leaves; any other is
    `E-RUN-FOLDER`.
    """
    kept: list[str] = []
    if path.exists():
        lines = path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines):
            try:
                row = json.loads(line)
                if int(row["step"]) <= done:
                    seen(row)
                    kept.append(line)
            except (ValueError, KeyError, TypeError) as error:
                if number < len(lines) - 1:
                    raise ModeledgeError(
                        "E-RUN-FOLDER", "not a line of metrics", where=f"{path}:{number + 1}"
                    ) from error
    files.write_text(path, "".join(line + "\n" for line in kept))
    return path.open("a", encoding="utf-8")
