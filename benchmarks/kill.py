"""Kill a run at random moments, go on with it, and compare it with the run that nobody touched.

A run here is the whole recipe, as the command runs it: `pretrain` from raw text (tokenizer, shards, masked language
model with dropout), `finetune` from rows (judge, keep-best, two rates, layers that thaw on plateaus) and the same with
LoRA. Children are forked from a server that has
imported everything; each is sent SIGKILL after a random time, the next goes on in the same folder, until the run is
finished. What a run leaves must then be the same bytes, file by file.

    python benchmarks/kill.py --n 1000
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing as mp
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # torch's optimizers want it: a second that no child shall spend

from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe
from modeledge.recipes.objectives import MaskedAim
from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain, ModelRecipe, PretrainRecipe, StrategyRecipe
from modeledge.recipes.resume import resume
from modeledge.recipes.tuning.finetune import finetune
from modeledge.train import TrainConfig
from modeledge.train.checkpoint import Checkpoints

KINDS = ("pretrain", "finetune", "lora")
BATCH = 4
WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
_STACK = {
    "layers": 2,
    "attention": {"heads": 2, "qk_norm": "head"},
    "feedforward": {"width": 32},
    "position": {"kind": "rotary"},
    "dropout": {"hidden": 0.1, "embed": 0.1},
}


# ---- one run, and what may be done to it


def recipe(kind: str, inputs: Path) -> PretrainRecipe | FinetuneRecipe:
    """The recipe of a run that takes about a second."""
    train = TrainConfig(batch=BATCH, length=32, save_every=2, threads=1, precision="fp32")
    if kind == "pretrain":
        return PretrainRecipe(
            corpus=CorpusRecipe(paths=(str(inputs / "texts"),)),
            tokenizer=TokenizerRecipe(vocab_size=320),
            model=ModelRecipe(shape={"width": 16, "encoder": _STACK}),
            objective=MaskedAim(),
            train=train.model_copy(update={"steps": 24}),
        )
    thawing = (
        StrategyRecipe(kind="rates", options={"body": 0.5, "head": 2.0}),
        StrategyRecipe(kind="unfreeze", options={"per": "plateau"}),
    )
    return FinetuneRecipe(
        model=str(inputs / "pretrain"),
        data=str(inputs / "rows.csv"),
        strategies=thawing if kind == "finetune" else (StrategyRecipe(kind="lora", options={"rank": 2}),),
        epochs=1.0,
        train=FinetuneTrain(**train.model_dump() | {"judge_every": 3, "patience": 6, "save_every": 4}),
    )


def write_inputs(folder: Path) -> None:
    """Texts and labelled rows: words at random, the same ones every time."""
    lots = random.Random(0)
    (folder / "texts").mkdir(parents=True)
    for n in range(4):
        lines = (" ".join(lots.choices(WORDS, k=12)) for _ in range(60))
        (folder / "texts" / f"{n}.txt").write_text("\n".join(lines) + "\n")
    with (folder / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for n in range(120):
            rows.writerow([f"number {n} " + " ".join(lots.choices(WORDS, k=6)), ("up", "down")[n % 2]])


def go(kind: str, inputs: Path, folder: Path, sabotage: str | None = None, crash_at: int | None = None) -> None:
    """Run the recipe in `folder`, or go on with what is there; in a process of its own.

    With `crash_at` the process kills itself at its n-th touch of a file below `folder`.
    """
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(folder.with_suffix(".log"), "a", buffering=1)  # noqa: SIM115
    if sabotage is not None:
        Checkpoints.load = SABOTAGE[sabotage](Checkpoints.load)  # type: ignore[method-assign]
    if crash_at is not None:
        count_touches(folder, crash_at)
    if (folder / "run.toml").exists():
        resume(folder)
    elif kind == "pretrain":
        pretrain(recipe(kind, inputs), folder)  # type: ignore[arg-type]
    else:
        finetune(recipe(kind, inputs), folder)  # type: ignore[arg-type]


def count_touches(folder: Path, crash_at: int) -> None:
    """Watch Python's own account of opened, renamed and removed files, and die at the n-th."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}:
            return
        if not any(str(a).startswith(f"{folder}{os.sep}") for a in arguments[:2]):
            return
        seen += 1
        if seen == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


Loaded = tuple[dict[str, torch.Tensor], dict[str, Any]]
Load = Callable[[Checkpoints, int], Loaded]


def _sabotaged(spoil: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> Callable[[Load], Load]:
    def around(load: Load) -> Load:
        def loaded(self: Checkpoints, step: int) -> Loaded:
            tensors, state = load(self, step)
            spoil(tensors, state)
            return tensors, state

        return loaded

    return around


def _drop_key(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    for name in [n for n in tensors if n.endswith("feedforward.up.weight|exp_avg")]:
        del tensors[name]


def _one_ulp(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    weight = next(t for n, t in tensors.items() if n.startswith("step|") and n.endswith("feedforward.up.weight"))
    weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(torch.inf))


def _skip_batch(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    state["place"]["position"] += BATCH


# What a resume could get wrong: each of them must be found, or the test proves nothing.
SABOTAGE = {
    "dropped key": _sabotaged(_drop_key),
    "one ulp": _sabotaged(_one_ulp),
    "skipped batch": _sabotaged(_skip_batch),
}


# ---- the harness


@dataclass
class Verdict:
    """What became of the runs. `faults` is empty where every finished run was the untouched run, byte for byte."""

    kills: int = 0
    runs: int = 0
    resumed: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Arena:
    """A folder with inputs and, for each kind, the untouched run and the time it took."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inputs = folder, folder / "inputs"
        write_inputs(self.inputs)
        self.server = mp.get_context("forkserver")
        self.server.set_forkserver_preload([__name__])
        with importable(Path(__file__).parent):
            forkserver.ensure_running()
        self.seconds: dict[str, float] = {}
        for kind in KINDS:
            for name in ("warm", kind):  # the second one is measured, and kept
                began = time.perf_counter()
                code = self.finish(self.start(kind, self.inputs / name if name == kind else folder / f"{kind}-{name}"))
                self.seconds[kind] = time.perf_counter() - began
                if code:
                    raise RuntimeError((self.inputs / name).with_suffix(".log").read_text())

    def start(self, kind: str, folder: Path, sabotage: str | None = None, crash_at: int | None = None) -> Any:
        process = self.server.Process(target=go, args=(kind, self.inputs, folder, sabotage, crash_at))
        process.start()
        return process

    @staticmethod
    def finish(process: Any, limit: float = 120.0) -> int | None:
        process.join(limit)
        code: int | None = process.exitcode
        if code is None:
            process.kill()
            process.join()
        return code

    def differences(self, kind: str, folder: Path) -> list[str]:
        """The files of a finished run that are not those of the untouched one."""
        own, other = contents(folder), contents(self.inputs / kind)
        return sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let a process that is started now import modules from `folder` (a fork server asks the environment alone)."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def contents(run: Path) -> dict[str, bytes]:
    """Everything that a run left and that a clock had no part in."""
    found = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = path.relative_to(run).as_posix()
        if name in ("speed.jsonl", ".lock", "corpus/.lock"):
            continue
        data = path.read_bytes()
        if name == "cost.json":  # the memory that the last process took is no part of the run's result
            data = json.dumps(json.loads(data) | {"peak_bytes": None}).encode()
        found[name] = data
    return found


AFTER = "after a checkpoint"


def torment(
    arena: Arena, kind: str, kills: int, lots: random.Random, *, sabotage: str | None = None, name: str = "run"
) -> Verdict:
    """Kill runs of one kind at random moments until `kills` have hit, finishing and checking each run in between.

    Half of the kills are timed from the start of the process, half from the run's first checkpoint, so that both
    halves of a run are hit at whatever speed the machine has just now. There are more until one fell between a
    checkpoint and the finished model.
    """
    verdict, number = Verdict(), 0
    while verdict.kills < kills or verdict.moments[AFTER] == 0:
        number += 1
        verdict.runs += 1
        folder = arena.folder / f"{name}-{kind}-{number}"
        hits = 0
        while True:
            process = arena.start(kind, folder, sabotage)
            spared = hits >= 40 or (verdict.kills >= kills and verdict.moments[AFTER] > 0)
            if not spared and lots.random() < 0.5:
                wait_for_checkpoint(process, folder)
            code = arena.finish(process, 120.0 if spared else lots.uniform(0.0, arena.seconds[kind]))
            if code is not None:
                break
            verdict.kills += 1
            hits += 1
            verdict.moments[moment(folder)] += 1
        log = folder.with_suffix(".log").read_text() if folder.with_suffix(".log").exists() else ""
        verdict.resumed += len(re.findall("^resumed after step [1-9]", log, re.MULTILINE))
        if code != 0:
            verdict.faults.append(f"{kind} run {number} ended with {code}: {log.strip().splitlines()[-1:]}")
        elif different := arena.differences(kind, folder):
            verdict.faults.append(f"{kind} run {number} differs in {different}")
    return verdict


def wait_for_checkpoint(process: Any, folder: Path) -> None:
    """Return when a run has a whole checkpoint, or has ended."""
    while not any(folder.glob("checkpoints/step-*")) and process.is_alive():
        time.sleep(0.002)


def moment(folder: Path) -> str:
    """Where a killed run was, as far as its folder tells."""
    if any(folder.glob("checkpoints/.*.tmp-*")):
        return "while a checkpoint was written"
    if any(folder.glob(".*.tmp-*")):
        return "while a result was written"
    if (folder / "model").exists():
        return "after the model was written"
    if any(folder.glob("checkpoints/step-*")):
        return AFTER
    return "before the first checkpoint"


def crash(arena: Arena, kind: str, at: int) -> tuple[int | None, list[str], str]:
    """Let a run die at its `at`-th touch of a file and finish it: its exit code then, what differs, its log."""
    folder = arena.folder / f"crash-{kind}-{at}"
    first = arena.finish(arena.start(kind, folder, crash_at=at))
    if first == 0:
        return first, arena.differences(kind, folder), ""
    assert first == -signal.SIGKILL, folder.with_suffix(".log").read_text()
    code = arena.finish(arena.start(kind, folder))
    log = folder.with_suffix(".log").read_text()
    return code or -signal.SIGKILL, arena.differences(kind, folder) if code == 0 else ["unfinished"], log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="kills, shared by the kinds of runs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        arena = Arena(Path(folder))
        print({kind: f"{seconds:.2f} s untouched" for kind, seconds in arena.seconds.items()})
        for kind in KINDS:
            verdict = torment(arena, kind, options.n // len(KINDS), random.Random(options.seed))
            rows[kind] = {**vars(verdict), "moments": dict(verdict.moments)}
            print(kind, json.dumps(rows[kind], indent=1))
        for sabotage in SABOTAGE:
            verdict = torment(arena, "pretrain", 6, random.Random(options.seed), sabotage=sabotage, name=sabotage)
            rows[f"control: {sabotage}"] = {"found": bool(verdict.faults), "resumed": verdict.resumed}
            print(f"control: {sabotage}: {'found' if verdict.faults else 'NOT FOUND'}")
    from pairs import save

    save("kill", rows, threads=1)
    if any(rows[kind]["faults"] for kind in KINDS) or not all(rows[f"control: {s}"]["found"] for s in SABOTAGE):
        sys.exit(1)


if __name__ == "__main__":
    import kill  # under its own name, so that the server can import it before it forks

    kill.main()
