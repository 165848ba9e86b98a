"""Several runs of a study at a time: worker processes that are given the name of a run and say how it ended.

A run of a small model uses one core well and four badly, so runs side by side are what several cores are good for.
A worker lives as long as its input does: when the study's process dies, however it dies, the worker finishes or is
stopped in its run and reads the end of its input. A worker that dies itself (killed, out of memory) is the failure of
the run that it had, and another one takes its place.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from modeledge import files
from modeledge.recipes.compare.grid import Unit

Say = Callable[[str], None]
DONE, FAILED = "done", "failed"


class Worker:
    """One process that runs one run after the other."""

    def __init__(self, folder: Path, threads: int) -> None:
        words = [sys.executable, "-m", "modeledge.recipes.compare.worker", str(folder)]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def run(self, unit: Unit) -> str:
        """How a run ended: "done", "failed", or nothing where the process died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(unit.name + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        """Ask it to save what it has, and wait for it."""
        self.process.terminate()
        self.process.communicate()


class Workers:
    """As many workers as are asked for; none is left behind."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder, self.threads = folder, max(1, (os.cpu_count() or 1) // jobs)
        self.started: list[Worker] = []
        self.closed = False
        self.idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for _ in range(jobs):
            self.idle.put(self.start())

    def start(self) -> Worker:
        """Another worker."""
        self.started.append(Worker(self.folder, self.threads))
        return self.started[-1]

    def run(self, unit: Unit, error: Path) -> str:
        """A run in the next idle worker; its death is written to `error`."""
        worker = self.idle.get()
        told = worker.run(unit)
        if not told and not self.closed:
            status = worker.process.wait()
            what = f"its process ended with status {status}" + (" (killed: out of memory?)" if status == -9 else "")
            files.write_json(error, {"code": str(status), "error": what, "traceback": ""})
            worker = self.start()
        self.idle.put(worker)
        return told

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *raised: object) -> None:
        self.closed = True  # runs that end now were stopped, they did not fail
        for worker in self.started:
            worker.stop()


def run_side_by_side(
    chosen: Sequence[Unit],
    folder: Path,
    jobs: int,
    *,
    needs: Callable[[Unit], Sequence[Unit]],
    error_file: Callable[[Unit], Path],
    say: Say,
) -> list[Unit]:
    """Run all of them, `jobs` at a time, each after those that it needs; returns those that failed."""
    waiting, failed = list(chosen), list[Unit]()
    running: dict[Future[str], Unit] = {}
    with ThreadPoolExecutor(jobs) as threads, Workers(folder, jobs) as pool:
        while waiting or running:
            busy = {*waiting, *running.values()}
            ready = [unit for unit in waiting if busy.isdisjoint(needs(unit))][: jobs - len(running)]
            for unit in ready:
                waiting.remove(unit)
                say(f"[{len(chosen) - len(waiting)}/{len(chosen)}] {unit.name}")
                running[threads.submit(pool.run, unit, error_file(unit))] = unit
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit = running.pop(future)
                if future.result() != DONE:
                    failed.append(unit)
    return [unit for unit in chosen if unit in failed]
