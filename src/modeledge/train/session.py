"""A trainer in a run folder: it logs, saves, obeys signals, and goes on exactly where it was stopped."""

from __future__ import annotations

import signal
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

import torch

from modeledge import files
from modeledge.config.changed import check_same, flat
from modeledge.errors import ModeledgeError
from modeledge.machine import describe
from modeledge.train.average import mean_of, overlaid
from modeledge.train.checkpoint import Checkpoints
from modeledge.train.log import RunLog
from modeledge.train.record import StepRecord
from modeledge.train.track import TRACKERS
from modeledge.train.trainer import Trainer

# What of a recipe says how a run goes on, and what of it may change between two halves of a run. Data, seed and base
# are told by what they are, not by their paths: a folder may move.
DECIDES = ("train", "epochs", "dropout", "strategies", "objective", "curriculum", "metric", "sampling", "temperature")
SPENT = ("device", "threads", "micro_batch", "recompute", "compile")  # how the same numbers are come by
SAVED = ("save_every", "keep_last", "disk_cap_gib", "trackers")
FREE = tuple(f"train.{key}" for key in (*SPENT, *SAVED))
PLANS = "train.save_every"  # where the last checkpoints are averaged, it says which those are

Listener = Callable[[StepRecord], None]


class Stopped(SystemExit):
    """The run was asked to stop (SIGTERM 143, SIGINT 130) and has saved what it had."""


class Session:
    """Runs a trainer inside `folder`; `say` receives what a person should read."""

    def __init__(self, folder: Path, trainer: Trainer, *, say: Callable[[str], None] = print) -> None:
        config = trainer.config
        self.folder, self.trainer, self.say = folder, trainer, say
        cap = int(config.disk_cap_gib * 2**30)
        self.checkpoints = Checkpoints(
            folder / "checkpoints", keep_last=config.keep_last, disk_cap=cap, keep=trainer.averaged_steps
        )
        self.trackers = [TRACKERS[name](folder) for name in config.trackers]
        self.asked: int | None = None
        self.saved: int | None = None

    def resume(self) -> int:
        """Load the newest good checkpoint, if any; returns the number of steps done."""
        found = self.checkpoints.latest(self.say)
        if found is None:
            if self.checkpoints.steps():
                raise ModeledgeError("E-NO-CHECKPOINT", "no checkpoint verifies", where=str(self.checkpoints.folder))
            return 0
        tensors, state = found
        if (before := state.get("recipe")) is not None:  # earlier versions kept none
            why, remedy = "the continued run would not be the same run", "restore the recipe, or begin a run of its own"
            check_same(before, deciding(self.folder), self.folder / files.RECIPE, why=why, remedy=remedy)
        for line in changed(state.get("environment", {}), describe(torch.get_num_threads())):
            self.say(f"note: {line}; the continued run may differ in the last bits")
        self.trainer.load(tensors, state)
        self.checkpoints.prune(self._best())
        self.saved = self.trainer.done
        return self.trainer.done

    def run(self, listeners: Sequence[Listener] = (), *, until: int | None = None) -> None:
        """Train to the end (or to step `until`), saving as configured and once more at the end."""
        every = self.trainer.config.save_every
        log = RunLog(self.folder, done=self.trainer.done)
        with self._signals():
            try:
                for record in self.trainer.records(until):
                    for name in log.write(record):
                        self.say(f"note: {name} leapt at step {record.step}: {shown(record, name):.4g}")
                    for listener in (*self.trackers, *listeners):
                        listener(record)
                    best = self.trainer.judge is not None and self.trainer.judge.best_step == record.step
                    if self.asked is not None or best or (every is not None and record.step % every == 0):
                        self.save(log)
                    if self.asked is not None:
                        self.say(
                            f"stopped after step {record.step}; `modeledge resume {self.folder}` goes on from here"
                        )
                        raise Stopped(128 + self.asked)
                self.save(log)
            finally:
                log.close()

    def conclude(self) -> None:
        """Give the model the weights that it is to be finished with, where they are not those of the last step.

        They are the mean of the last checkpoints where that was asked for, else those of the judge's best step; of
        either step its moving average, where one is kept.
        """
        trainer, best = self.trainer, self._best()
        if steps := trainer.averaged_steps:
            trainer.load_weights(mean_of([self.checkpoints.load(step)[0] for step in steps]))
            self.say(f"the model is the mean of the checkpoints of steps {', '.join(map(str, steps))}")
            return
        if trainer.average is None and best in (None, trainer.done):
            return
        tensors = trainer.tensors()
        if best is not None and best != trainer.done:
            tensors, _ = self.checkpoints.load(best)
            assert trainer.judge is not None
            self.say(f"the model of step {best} is kept: {trainer.judge.metric} {trainer.judge.best:.4f}")
        trainer.load_weights(overlaid(tensors))

    def save(self, log: RunLog) -> None:
        """Commit a checkpoint of this step, unless it is there already."""
        if self.saved == self.trainer.done:
            return
        log.sync()
        beside = {"environment": describe(torch.get_num_threads()), "recipe": deciding(self.folder)}
        state = {**self.trainer.state_dict(), **beside}
        self.checkpoints.save(self.trainer.done, self.trainer.tensors(), state, best=self._best())
        self.saved = self.trainer.done

    def _best(self) -> int | None:
        return None if self.trainer.judge is None else self.trainer.judge.best_step

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT set a flag, which is read between two steps; a second SIGINT ends the run at once.

        At once means without a new checkpoint: a step, a judge or a cache of features may take minutes.
        """

        def ask(number: int, frame: FrameType | None) -> None:
            if self.asked is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.asked = number

        try:
            old = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not the main thread: nobody can signal us here
            old = {}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def deciding(folder: Path) -> dict[str, Any]:
    """What the recipe in a run's folder says of how it goes on, key by key; nothing where there is none."""
    path = folder / files.RECIPE
    tree = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = flat({name: tree[name] for name in DECIDES if name in tree})
    free = set(FREE) - ({PLANS} if "train.mean_of_last" in found else set())
    return {key: value for key, value in found.items() if key not in free}


def shown(record: StepRecord, name: str) -> float:
    """The number of a record that a log calls by this name."""
    return record.norm if name == "grad_norm" else record.loss


def changed(before: dict[str, object], now: dict[str, object]) -> list[str]:
    """Facts of the machine that differ and may change the last bits of a result."""
    names = ("packages", "instruction_set", "threads")
    return [f"{n} was {before[n]}, is {now[n]}" for n in names if n in before and before[n] != now[n]]


def write_environment(folder: Path, seed: int, source: Mapping[str, str] = MappingProxyType({})) -> None:
    """`environment.json`: what this run depends on beside its recipe; `source` is where its model was fetched from."""
    said = {**describe(torch.get_num_threads()), "seed": seed, "schema": 1}
    files.write_json(folder / "environment.json", {**said, **({"fetched": dict(source)} if source else {})})
