"""A body that states are asked of: by one pass, or out of the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeledge.classical import Bank, Candidate, Fit, Verdict
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.recipes.features.cache import StateCache, key_of
from modeledge.records import Example, FloatArray
from modeledge.tasks import Answer, Task
from modeledge.tasks.featured import answered_by
from modeledge.tasks.states import Look, Reads, check_room, reads_of, states_of
from modeledge.tokens import Tokenizer


@dataclass
class Body:
    """A model under a task, with the cache of its states. `apart`: the two texts of a row are read by themselves.
    `limit` is what the states of one part may take, in bytes; `seconds` is what running the model has taken so far."""

    model: Backbone
    tokenizer: Tokenizer
    task: Task
    cache: StateCache
    apart: bool
    limit: int
    say: Callable[[str], None]
    seconds: float = 0.0

    def reads(self, examples: Sequence[Example]) -> Reads:
        """What the model reads of some examples."""
        return reads_of(self.task, examples, apart=self.apart)

    def bank(self, reads: Reads, look: Look, part: str) -> Bank:
        """The states of some rows. Raises `E-FEATURES` beyond the limit, `E-NOT-FINITE`."""
        width = self.model.config.width
        check_room(reads, look, width, self.limit)
        began, before = time.perf_counter(), self.seconds

        def compute(missing: Look) -> Mapping[str, FloatArray]:
            started = time.perf_counter()
            states = states_of(self.model, reads, missing)
            self.seconds += time.perf_counter() - started
            return states

        key = key_of(self.model, self.tokenizer, reads, self.task.length)
        states = self.cache.states(key, look, (reads.items, width), compute)
        if not all(np.isfinite(one).all() for one in states.values()):
            what, why = f"states of the {part} rows are not finite", "no head reads them"
            raise ModeledgeError(
                "E-NOT-FINITE", what, why=why, remedy='look at the weights, or train.precision = "fp32"'
            )
        how = "by one pass of the body" if self.seconds > before else "from the cache"
        many = f"{reads.items:,} × {len(look.layers)} layers × {', '.join(look.pools)}"
        self.say(f"states of the {part} rows: {many}, {how} in {time.perf_counter() - began:.1f} s")
        return Bank(states, look.layers, self.apart)

    def answers(self, fit: Fit, examples: Sequence[Example], part: str) -> list[Answer]:
        """One answer a row, as `predict` will give it."""
        reads, notes = self.reads(examples), fit.notes
        bank = self.bank(reads, Look(tuple(notes["layers"]), (notes["pool"],)), part)
        told = answered_by(self.task, fit, bank.pools[notes["pool"]], reads, examples)
        return self.task.settle(told, examples)


def told_of(verdict: Verdict, say: Callable[[str], None]) -> None:
    """Say what was chosen, and what its score is worth."""
    say(f"search: {len(verdict.scores)} candidates by {verdict.folds}-fold cross-validation on the training rows")
    best = sorted(verdict.scores, key=lambda one: one[1], reverse=verdict.greater_is_better)
    for one, score in best[:3]:
        say(f"  {verdict.metric} {score:.4f}: {one}")
    say(f"chosen: {verdict.chosen}; the best of many looks better than it is: the test score is the one to believe")


def facts(fit: Fit, chosen: Candidate, verdict: Verdict | None, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What `results.json` keeps: what was chosen, how large it is, what it cost, what else was tried."""
    arrays = [a for part in (fit.combine, fit.projection, fit.head) for a in part.arrays().values()]
    out: dict[str, Any] = {
        "chosen": {**vars(chosen), "layers": list(chosen.layers)},
        "features": fit.combine.outputs,
        "read_by_head": fit.head.inputs,
        "numbers": sum(a.size for a in arrays),
        "bytes": sum(a.nbytes for a in arrays),
        "seconds": dict(seconds),
    }
    if chosen.combine == "mix":
        out["mixture"] = fit.combine.shares.tolist()
    if verdict is not None:
        tried = [{**vars(one), "layers": list(one.layers), "score": score} for one, score in verdict.scores]
        out["search"] = {"metric": verdict.metric, "folds": verdict.folds, "score": verdict.score, "tried": tried}
    return out
