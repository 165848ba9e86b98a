"""The engine on Ray (Moritz et al. 2018, arXiv 1712.05889): the same steps and the same bytes, on many machines.

`RAY_ADDRESS` names a running cluster, whose machines need this library installed; without it Ray is started here and
stopped again at the end of the process. The work goes once to each of `count` actors. An actor is placed where a core
is free and then holds none: steps follow one another, each with its own actors, and a later step that waited for cores
of the one it feeds on would wait for ever. Pieces are dealt in turns, at most two waiting for each actor, and results
are taken in the order of the pieces: which machine was quick changes nothing. An actor whose machine dies is started
again elsewhere and its pieces are done again: a piece of work has no effect but its result.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from typing import Any, TypeVar

from modeledge.errors import ModeledgeError

T = TypeVar("T")
R = TypeVar("R")
RETRIES = 3  # of an actor, and of a piece of work, where a machine dies


class _Worker:
    """What an actor is: one work, done on the pieces that come."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        from modeledge.corpus.workers import ONE_THREAD

        os.environ.update(ONE_THREAD)
        self._work = work

    def do(self, piece: Any) -> Any:
        return self._work(piece)


class Ray:
    """`count` actors of a Ray cluster. Raises `E-EXTRA` where Ray is not installed."""

    def __init__(self, count: int) -> None:
        assert count >= 1
        self.count = count
        try:
            import ray
        except ImportError as error:
            remedy = 'pip install "modeledge[cluster]"'
            raise ModeledgeError("E-EXTRA", "Ray is not installed", where="engine", remedy=remedy) from error
        self._ray = ray

    def __call__(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
        ray = self._ray
        self._start()
        held = ray.put(work)
        again = {"max_restarts": RETRIES, "max_task_retries": RETRIES}
        kind = ray.remote(scheduling_strategy="SPREAD", **again)(_Worker)  # without num_cpus, which it would hold
        actors = [kind.remote(held) for _ in range(self.count)]
        waiting: deque[Any] = deque()
        try:
            for piece, actor in zip(pieces, cycle(actors), strict=False):
                waiting.append(actor.do.remote(piece))
                if len(waiting) > 2 * self.count:
                    yield self._got(waiting.popleft())
            while waiting:
                yield self._got(waiting.popleft())
        finally:
            for actor in actors:
                ray.kill(actor)

    def _start(self) -> None:
        if self._ray.is_initialized():
            return
        if address := os.environ.get("RAY_ADDRESS"):
            self._ray.init(address=address, log_to_driver=False)
        else:  # enough cores on paper for all actors, or one would wait for ever
            cores = max(self.count, os.cpu_count() or 1)
            here = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}  # actors find what we found
            self._ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, runtime_env=here)

    def _got(self, reference: Any) -> Any:
        """A result; an error of ours comes back as itself, and an actor that is dead for good is `E-WORKER`."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            raise (cause if isinstance(cause, ModeledgeError) else error) from error
        except self._ray.exceptions.RayActorError as error:
            what, why = "an actor ended before its work was done", f"it was started again {RETRIES} times"
            raise ModeledgeError("E-WORKER", what, why=why) from error
