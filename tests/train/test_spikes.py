"""Leaps of the loss and of the gradient's norm are marked from the lines before them, after a resume as well."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from modeledge.train import RunLog, StepRecord
from modeledge.train.spikes import LEAST, Spikes


def losses(count: int = 400) -> np.ndarray:
    values = 3.0 + 0.1 * np.random.default_rng(0).standard_normal(count)
    values[[20, 200, 300]] = 9.0  # the first one comes before there is anything to compare with
    return values


def marked(values: np.ndarray, start: int = 0, watch: Spikes | None = None) -> list[int]:
    watch = watch or Spikes()
    return [n for n, v in enumerate(values, start) if watch.seen({"loss": v, "grad_norm": 1.0}) == ["loss"]]


def test_a_leap_is_seven_deviations_above_the_mean() -> None:
    values = losses()
    told = [n for n in range(LEAST, len(values)) if values[n] >= values[:n].mean() + 7 * values[:n].std()]
    assert marked(values) == told == [200, 300]


def test_a_constant_series_never_leaps() -> None:
    assert marked(np.full(200, 2.0)) == []


def test_a_resumed_log_marks_the_same_lines(tmp_path: Path) -> None:
    def write(log: RunLog, numbers: range) -> None:
        for n in numbers:
            log.write(StepRecord(n + 1, float(values[n]), {}, {}, 1e-3, 1.0, 8, 1, 0.1))
        log.close()

    values = losses()
    for name, stops in (("whole", [0, 400]), ("parts", [0, 250, 400])):
        (tmp_path / name).mkdir()
        for begin, end in itertools.pairwise(stops):
            write(RunLog(tmp_path / name, done=begin), range(begin, end))
    whole, parts = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [row["step"] for row in rows if "spikes" in row] == [201, 301]
