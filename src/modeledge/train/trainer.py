"""The minimiser: count weights, pull, sum losses, divide once, clip, update. It knows no objective and no strategy by
name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from modeledge.adapt.features import FeatureCache, cache_features, frozen_depth, needed_bytes, starting_above
from modeledge.adapt.strategy import Clock, Strategy, apply_moving, compose
from modeledge.corpus.pack import deal
from modeledge.corpus.stream import ListStream, Stream
from modeledge.errors import ModeledgeError, printable
from modeledge.machine import tune_malloc
from modeledge.model.batch import Batch
from modeledge.objectives import Loss, Shape, Step, collate, fill, plan, prepared
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train.average import MovingAverage, averaged_steps
from modeledge.train.config import TrainConfig
from modeledge.train.judge import Judge
from modeledge.train.optim import Optimizer
from modeledge.train.record import StepRecord, detached, means, not_finite
from modeledge.train.still import Still

CACHE = 2**30  # bytes that the states of a frozen body may take


class Trainer:
    """Drives one `Step` over one stream. Everything that moves is in `tensors()` and `state_dict()`."""

    def __init__(
        self,
        step: Step,
        stream: Stream,
        strategies: Sequence[Strategy] = (),
        *,
        config: TrainConfig,
        seed: int,
        judge: Judge | None = None,
    ) -> None:
        tune_malloc()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config, self.noise, self.judge = config, Noise(seed), judge
        self.device = config.chosen_device()
        self.module, self.stream, self.strategies = step.to(self.device), stream, tuple(strategies)
        self.model = step.model
        self.model.compute = config.chosen_dtype()
        self.model.checkpoint_blocks(config.recompute)
        if config.compile:
            self.model.compile_blocks()
        for strategy in self.strategies:
            strategy.attach(self.model, self.noise)
            if strategy.needs_judge and judge is None:
                what = f"{strategy!r} waits for verdicts, and nothing is marked on the way"
                raise ModeledgeError("E-CONFIG", what, where="strategies", remedy="set train.judge_every")
        self.model.check_length(config.length if step.objective.longest is None else step.objective.longest)
        reserve = sum(strategy.reserve for strategy in self.strategies)
        self.shape = Shape(config.length + reserve, packed=config.packed, reserve=reserve)
        if step.objective.couples and config.micro_batch not in (None, config.batch):
            raise ModeledgeError("E-SPLIT", "examples of this objective see each other", where="train.micro_batch")
        parameters = dict(step.named_parameters())
        self.optimizer, self.rate = Optimizer(parameters, config), config.rate
        self.still = Still(step, self.strategies)
        self.average = None if config.ema is None else MovingAverage(parameters, config.ema)
        self.averaged_steps = averaged_steps(config)
        self.done = 0
        self.scores: dict[str, float] = {}
        self.place: Mapping[str, Any] = stream.state_dict()
        self._examples: Iterator[Example] | None = None
        self._moving: dict[str, float] = {}
        self._features: FeatureCache | None = None

    # ---- one update

    def step(self) -> StepRecord:
        """One update from the next `config.batch` examples.

        Raises `E-NON-FINITE-LOSS` before anything changed where the loss or a gradient is not finite, and
        `StopIteration` where the stream is at its end.
        """
        began = time.perf_counter()
        clock = self._clock()
        self._move(clock)
        batches = self.pull()
        weights = self._weights(batches)
        losses = self._accumulate(batches, weights)
        penalties = [p for s in self.strategies if (p := s.penalty(self.model, clock)) is not None]
        if pulling := [p for p in penalties if p.requires_grad]:  # none of the weights of one may move yet
            torch.stack(pulling).sum().backward()  # type: ignore[no-untyped-call]
        moved = [p for name in self._moving if (p := self.optimizer.parameters[name]).grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in moved if p.grad is not None])
        value = float(sum(float(loss.value(weights)) for loss in losses)) + sum(float(p.detach()) for p in penalties)
        if not (math.isfinite(value) and bool(torch.isfinite(norm))):
            self.optimizer.zero_grad()
            raise not_finite(self.done + 1, batches, losses, value, float(norm))
        if self.config.clip is not None and float(norm) > self.config.clip:
            torch.nn.utils.clip_grads_with_norm_(moved, self.config.clip, norm)
        rate = self.rate(self.done)
        self._update(rate)
        for strategy in self.strategies:
            strategy.after_step(self.model, clock)
        self.optimizer.zero_grad()
        self.done += 1
        self.place = batches[-1].place
        terms, logs = means(losses, weights)
        tokens, examples = sum(b.tokens for b in batches), sum(len(b.indices) for b in batches)
        seconds = time.perf_counter() - began
        return StepRecord(
            self.done, value, terms, logs, rate, float(norm), tokens, examples, seconds, of=self.config.steps
        )

    def pull(self) -> list[Batch]:
        """The next global batch, planned as a whole and cut into micro-batches."""
        if self._examples is None:
            self._examples = iter(self.stream)
        window: list[Example] = []
        for example in self._examples:
            window.append(example)
            if len(window) == self.config.batch:
                break
        if not window:
            raise StopIteration
        place = self.stream.state_dict()
        ready = [prepared(self.module.objective, example, self.noise) for example in window]
        rows, width = plan(ready, self.shape)
        parts = math.ceil(len(window) / (self.config.micro_batch or self.config.batch))
        shares = [share for share in deal(rows, parts) if share]
        kept, tight = self.shape.reserve, self.shape.tight
        return [fill(ready, s, width, reserve=kept, narrow=tight, place=place).to(self.device) for s in shares]

    def _weights(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Each term's weight over the global batch: known before the first forward pass. A micro-batch may lack terms
        (those of another task)."""
        counted = [self.module.objective.weights(batch) for batch in batches]
        names = dict.fromkeys(name for c in counted for name in c)
        return {name: torch.stack([c[name] for c in counted if name in c]).sum() for name in names}

    def _accumulate(self, batches: Sequence[Batch], weights: Mapping[str, Tensor]) -> list[Loss]:
        losses: list[Loss] = []
        for number, batch in enumerate(batches):
            with starting_above(self._features, self.model, batch) if self._features is not None else nullcontext():
                loss: Loss = self.module(batch, self.noise.at("step", self.done, number, 0))
            loss.value(weights).backward()  # type: ignore[no-untyped-call]
            losses.append(detached(loss))
        return losses

    def _update(self, rate: float) -> None:
        """Move what moves, and the average behind it."""
        if self.average is not None:
            self.average.begin([n for n in self._moving if self.optimizer.parameters[n].grad is not None])
        self.optimizer.update(rate, self._moving)
        if self.average is not None:
            self.average.follow(self.done + 1)

    def averaged(self) -> AbstractContextManager[None]:
        """Within the block the model has its averaged weights, where an average is kept: it is judged by them."""
        return nullcontext() if self.average is None else self.average.inside()

    def _move(self, clock: Clock) -> None:
        moving = compose(self.strategies, self.module.model, clock)
        moving = {f"model.{name}": factor for name, factor in moving.items()}
        moving |= {f"objective.{n}": 1.0 for n, p in self.module.objective.named_parameters() if p.requires_grad}
        if moving.keys() != self._moving.keys():
            rates = {n.removeprefix("model."): f for n, f in moving.items() if n.startswith("model.")}
            self.module.train()
            apply_moving(self.model, rates)
            self._features = self._cached(rates)
        self._moving = moving

    def _cached(self, rates: Mapping[str, float]) -> FeatureCache | None:
        """The states below everything that moves, run once over all examples in the order of the data; `None` where
        nothing lies below, the examples are prepared with noise, or they take more than `CACHE` bytes."""
        depth = frozen_depth(self.model, rates)
        objective = self.module.objective
        if not depth or not isinstance(self.stream, ListStream) or objective.prepare.noisy or objective.from_embeddings:
            return None
        ready = [prepared(objective, self.stream.example(i), self.noise) for i in range(len(self.stream))]
        if needed_bytes(self.model, sum(max(p.lengths()) for p in ready)) > CACHE:
            return None
        batches = (
            collate(ready[i : i + self.config.batch], self.shape).to(self.device)
            for i in range(0, len(ready), self.config.batch)
        )
        return cache_features(self.model, batches, depth, limit=CACHE)

    def _clock(self) -> Clock:
        """Where training stands; the epoch is that of the stream, where it knows its length."""
        length = len(self.stream) if isinstance(self.stream, Sized) else 0
        epoch = float(self.place.get("position", 0)) / length if length else math.nan
        judged, waited = (0, 0) if self.judge is None else (len(self.judge.history), self.judge.waited)
        return Clock(self.done, self.config.steps, epoch, self.scores, judged, waited)

    def moving_now(self) -> frozenset[str]:
        """The parameters of the model that the next update moves."""
        return frozenset(compose(self.strategies, self.model, self._clock()))

    # ---- many updates

    def fit(self, steps: int | None = None, listeners: Sequence[Callable[[StepRecord], None]] = ()) -> None:
        """Update until `steps` (default: as configured) are done, the stream ends or the judge stops the run."""
        for record in self.records(steps):
            for listener in listeners:
                listener(record)

    def records(self, steps: int | None = None) -> Iterator[StepRecord]:
        """The same as an iterator: what drives it may save, show or stop between two steps."""
        goal = self.config.steps if steps is None else steps
        while self.done < goal and not (self.judge is not None and self.judge.stop):
            try:
                record = self.step()
            except StopIteration:
                return
            if self.judge is not None and self.judge.due(self.done, self.done == self.config.steps):
                with self.averaged():
                    self.scores = self.judge.mark(self.model, self.done)
                record = StepRecord(**{**record.__dict__, "scores": self.scores})
            yield record

    # ---- everything that moves

    def tensors(self) -> dict[str, Tensor]:
        """All weights but those of a base that stays, buffers, optimizer states and averages by name."""
        held = self.module.state_dict()
        weights = {f"step|{name}": value for name, value in held.items() if name not in self.still.names}
        weights |= {} if self.average is None else self.average.tensors()
        return weights | {f"optimizer|{name}": value for name, value in self.optimizer.tensors().items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything else that moves, as JSON values."""
        return {
            "done": self.done,
            "seed": self.noise.seed,
            "place": dict(self.place),
            "fingerprint": self.stream.fingerprint,
            "optimizer": self.optimizer.state_dict(),
            "strategies": [strategy.state_dict() for strategy in self.strategies],
            "judge": None if self.judge is None else self.judge.state_dict(),
            "scores": self.scores,
            "base": self.still.digest,
        }

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go on exactly where `tensors()` and `state_dict()` were taken; what does not fit is `E-RESUME`.

        Weights of another model are `E-KEYS`, tensors that are neither weights nor states `E-CHECKPOINT`, another base
        below what moves `E-BASE`.
        """
        if state["seed"] != self.noise.seed or state["fingerprint"] != self.stream.fingerprint:
            what = "the seed or the data differ from those of the checkpoint"
            raise ModeledgeError("E-RESUME", what, why="the continued run would not be the same run")
        if strangers := sorted(n for n in tensors if n.partition("|")[0] not in ("step", "optimizer", "average")):
            what = f"it holds {printable(strangers[0])!r}, which is neither a weight nor a state of the optimizer"
            raise ModeledgeError("E-CHECKPOINT", what, remedy="remove this checkpoint and resume from an older one")
        self.still.check(state.get("base"))
        self.load_weights(tensors)
        self.optimizer.load(
            {n.partition("|")[2]: v for n, v in tensors.items() if n.startswith("optimizer|")}, state["optimizer"]
        )
        if self.average is not None:
            self.average.load(tensors, state["optimizer"]["steps"])
        elif any(name.startswith("average|") for name in tensors):
            what = "the checkpoint keeps a moving average, this run none"
            raise ModeledgeError("E-RESUME", what, where="train.ema")
        for strategy, kept in zip(self.strategies, state["strategies"], strict=True):
            strategy.load_state_dict(kept)
        if (self.judge is None) != (state["judge"] is None):
            raise ModeledgeError("E-RESUME", "one of the two runs has a judge, the other has none")
        if self.judge is not None:
            self.judge.load_state_dict(state["judge"])
        self.stream.load_state_dict(state["place"])
        self._examples, self._moving = None, {}
        self.done, self.place, self.scores = int(state["done"]), dict(state["place"]), dict(state["scores"])

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights alone out of `tensors()` (`E-KEYS` for those of another model)."""
        weights = {name.partition("|")[2]: value for name, value in tensors.items() if name.startswith("step|")}
        expected = self.module.state_dict().keys()
        if weights.keys() not in (expected - self.still.names, expected):  # earlier versions kept what stays, too
            wrong = sorted((weights.keys() ^ expected) - (self.still.names - weights.keys()))
            raise ModeledgeError("E-KEYS", f"weights differ: {wrong[:5]}")
        self.module.load_state_dict(weights, strict=weights.keys() == expected)
