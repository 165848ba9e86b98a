"""Work on many texts, in order: in this process, in several that we start, or on a Ray cluster (`corpus.cluster`).

Whoever does the work, results come back in the order of the work, and each is a function of its own piece. So the
engine and the number of its workers can change nothing but the time. Filters, the signatures of de-duplication,
tidying and tokenization all go through this one seam: `engine(kind, count)(work, pieces)`.

`work` goes to each worker once and stays there: it may hold a tokenizer, or make one at the first piece.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, Protocol, TypeVar

from modeledge.errors import ModeledgeError
from modeledge.records import Document

T = TypeVar("T")
R = TypeVar("R")
Engine = Literal["none", "processes", "ray"]
BATCH = 1 << 18  # characters of text that a piece of work holds: enough to be worth a message, little to keep
MOST = 4096  # documents of a piece of work
#: A worker is one thread: so many workers as cores are meant to be all that runs.
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Ordered(Protocol):
    """Calls `work` on each piece and gives the results in the order of the pieces."""

    def __call__(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]: ...


def in_this_process(work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
    """One piece after the other, here."""
    return map(work, pieces)


class Processes:
    """`count` processes; `work` must be a value that can be sent, pieces and results plain values or arrays.

    At most two pieces a process wait at a time, so memory does not grow with the input. A script that uses it needs
    the usual `if __name__ == "__main__":`, as each process imports it afresh. Raises `E-WORKER` where one is killed.
    """

    def __init__(self, count: int) -> None:
        assert count >= 1
        self.count = count

    def __call__(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.count, context, initializer=_hold, initargs=(work,)) as pool:
            waiting: deque[Future[Any]] = deque()
            try:
                for piece in pieces:
                    waiting.append(pool.submit(_do, piece))
                    if len(waiting) > 2 * self.count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BrokenProcessPool as error:
                why = "it was killed, perhaps for want of memory"
                raise ModeledgeError("E-WORKER", "a process ended before its work was done", why=why) from error
            finally:
                for future in waiting:
                    future.cancel()


_HELD: list[Callable[[Any], Any]] = []  # in a worker: the one work that it was started for


def _hold(work: Callable[[Any], Any]) -> None:
    os.environ.update(ONE_THREAD)
    _HELD[:] = [work]


def _do(piece: Any) -> Any:
    return _HELD[0](piece)


def in_worker() -> bool:
    """Is this one of several processes at work? Then it keeps to one thread."""
    return os.environ.get("RAYON_NUM_THREADS") == "1"


def engine(kind: Engine | None, count: int) -> Ordered:
    """The engine of a recipe; left out, one process is this one and more are processes.

    Raises `E-CONFIG` for an engine without processes that is given some, `E-EXTRA` where Ray is not installed.
    """
    if kind == "none" and count > 1:
        what = f'engine = "none" works in this process, and processes = {count}'
        raise ModeledgeError("E-CONFIG", what, remedy='set engine = "processes", or processes = 1')
    if kind == "ray":
        from modeledge.corpus.cluster import Ray

        return Ray(count)
    return Processes(count) if kind == "processes" or count > 1 else in_this_process


def batches_of(documents: Iterable[Document], most: int | None = None) -> Iterator[list[Document]]:
    """The documents in lists that reach `BATCH` characters or `most` documents (left out: `MOST`), but for the last;
    where they end in an error, those before it come first, so that what was read is accounted for.

    A document may be a whole book, and what a tokenizer keeps of a text while it works is many times the text.
    """
    held: list[Document] = []
    length = 0
    try:
        for document in documents:
            held.append(document)
            length += len(document.text)
            if length >= BATCH or len(held) >= (most or MOST):
                yield held
                held, length = [], 0
    except Exception:
        if held:
            yield held
        raise
    if held:
        yield held
