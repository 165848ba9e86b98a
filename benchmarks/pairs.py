"""Two sides of a comparison, run in turns: persistent workers, ABBA order, the median of paired ratios, an A/A control.

Each side is a function `make(**options) -> block`; `block()` does a fixed amount of work and returns a number that
shows it did (a loss). A side runs in a process of its own, which imports, builds and warms up before anything is timed;
only one worker computes at a time. A ratio is time(other) / time(ours): above 1 we are faster.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing as mp
import os
import statistics
import time
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def _worker(pipe: Connection, module: str, name: str, options: dict[str, Any], threads: int, warm: int) -> None:
    import torch

    torch.set_num_threads(threads)
    block = getattr(importlib.import_module(module), name)(**options)
    for _ in range(warm):
        value = block()
    pipe.send(value)
    while pipe.recv():
        began = time.perf_counter()
        value = block()
        pipe.send((time.perf_counter() - began, value))


class Side:
    """One worker process."""

    def __init__(self, module: str, name: str, options: dict[str, Any], threads: int, warm: int) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_worker, args=(theirs, module, name, options, threads, warm), daemon=True)
        self.process.start()
        self.warm = self.pipe.recv()
        self.times: list[float] = []
        self.value: Any = None

    def run(self) -> float:
        self.pipe.send(True)
        seconds, self.value = self.pipe.recv()
        self.times.append(seconds)
        return float(seconds)

    def close(self) -> None:
        self.pipe.send(False)
        self.process.join()


def compare(ours: Side, other: Side, pairs: int) -> dict[str, float]:
    """The median of other/ours over ABBA pairs, with the middle half of the pairs as its spread."""
    ratios = []
    for number in range(pairs):
        if number % 2 == 0:
            a = ours.run()
            b = other.run()
        else:
            b = other.run()
            a = ours.run()
        ratios.append(b / a)
    low, _, high = statistics.quantiles(ratios, n=4)
    return {"ratio": statistics.median(ratios), "low": low, "high": high, "pairs": pairs}


def main(
    title: str,
    module: str,
    ours: tuple[str, dict[str, Any]],
    others: dict[str, tuple[str, dict[str, Any]]],
    unit: str,
    work: float,
    warm: int = 3,
    same: bool = False,
) -> None:
    """Run the comparison, print it, and keep it as a dated file.

    `work` is what one block does, in `unit`s; `warm` the number of blocks before the clock. With `same` the values of
    all sides must be equal, which is asserted before a clock runs.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="comma-separated names of the other sides to run")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    mine = Side(module, ours[0], ours[1], options.threads, warm)
    rows: dict[str, Any] = {}
    chosen = {k: v for k, v in others.items() if not options.only or k in options.only.split(",")}
    for name, (function, arguments) in {"A/A control": ours, **chosen}.items():
        side = Side(module, function, arguments, options.threads, warm)
        assert not same or side.warm == mine.warm, f"{name}: {side.warm} is not ours, {mine.warm}"
        row = compare(mine, side, options.pairs)
        row |= {f"{unit}/s": work / statistics.median(side.times), "value": side.value, "warm value": side.warm}
        rows[name] = row
        spread = f"{row['ratio']:6.2f}x  [{row['low']:.2f}, {row['high']:.2f}]"
        print(f"{name:34s} {spread}  {row[f'{unit}/s']:12,.0f} {unit}/s  {side.value}")
        side.close()
    rate = work / statistics.median(mine.times)
    print(f"{'ours':34s} {1:6.2f}x  {'':14s}  {rate:12,.0f} {unit}/s  {mine.value}")
    mine.close()
    if not options.no_save:
        save(
            title, {"ours": {f"{unit}/s": rate, "value": mine.value, "warm value": mine.warm}, **rows}, options.threads
        )


def save(title: str, rows: dict[str, Any], threads: int) -> None:
    """`results/DATE-title.json`, with the machine described."""
    from modeledge.machine import describe

    RESULTS.mkdir(exist_ok=True)
    about = {"title": title, "date": date.today().isoformat(), "load": os.getloadavg()}
    path = RESULTS / f"{about['date']}-{title.replace(' ', '-')}.json"
    path.write_text(json.dumps({**about, "machine": describe(threads), "rows": rows}, indent=1) + "\n")
    print(f"written to benchmarks/results/{path.name}")
