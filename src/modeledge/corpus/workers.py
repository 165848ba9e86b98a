"""Work on many texts, in order: in this process, or in several that we start.

Whoever does the work, results come back in the order of the work, and each is a function of its own piece. So the
number of workers can change nothing but the time. An engine of another kind (a cluster) is one more `Ordered`.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
BATCH = 1 << 18  # characters of text that a piece of work holds: enough to be worth a message, little to keep
MOST = 4096  # documents of a piece of work


class Ordered(Protocol):
    """Calls `work` on each piece and gives the results in the order of the pieces."""

    def __call__(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]: ...


def in_this_process(work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
    """One piece after the other, here."""
    return map(work, pieces)


class Processes:
    """`count` processes; `work` must be a function of a module, pieces and results plain values or arrays.

    At most two pieces a process wait at a time, so memory does not grow with the input. A script that uses it needs
    the usual `if __name__ == "__main__":`, as each process imports it afresh.
    """

    def __init__(self, count: int) -> None:
        assert count >= 1
        self.count = count

    def __call__(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
        with ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn")) as pool:
            waiting: deque[Future[Any]] = deque()
            try:
                for piece in pieces:
                    waiting.append(pool.submit(work, piece))
                    if len(waiting) > 2 * self.count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def workers(count: int) -> Ordered:
    """The engine for a number of processes: one is this one."""
    return in_this_process if count == 1 else Processes(count)


def batches_of(items: Iterable[T], len_of: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in lists that reach `BATCH` characters or `MOST` items, but for the last."""
    held: list[T] = []
    length = 0
    for item in items:
        held.append(item)
        length += len_of(item)
        if length >= BATCH or len(held) >= MOST:
            yield held
            held, length = [], 0
    if held:
        yield held
