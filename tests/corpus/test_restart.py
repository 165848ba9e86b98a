"""A build that is killed at any moment goes on and leaves what an untouched build leaves, byte for byte."""

from __future__ import annotations

import multiprocessing as mp
import os
import random
import signal
import time
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import restart_small as small

from modeledge.corpus import restart
from modeledge.errors import ModeledgeError
from modeledge.tokens import train_tokenizer

pytestmark = pytest.mark.xdist_group("restart")


class Arena:
    """Inputs, a tokenizer, the untouched corpus, and a server that forks children which have imported everything."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.texts, self.tokenizer = folder, folder / "texts", folder / "tokenizer"
        small.write_inputs(self.texts)
        train_tokenizer([p.read_text() for p in sorted(self.texts.iterdir())], vocab_size=300).save(self.tokenizer)
        self.server = mp.get_context("forkserver")
        self.server.set_forkserver_preload(["restart_small"])
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))
        forkserver.ensure_running()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        self.out("warm").mkdir(parents=True)
        assert self.run("warm") == 0
        began = time.perf_counter()
        assert self.run("whole") == 0, self.log("whole")
        self.seconds = time.perf_counter() - began
        self.whole = small.contents(self.out("whole") / "c")

    def out(self, name: str) -> Path:
        return self.folder / name

    def log(self, name: str) -> str:
        path = self.out(name) / "c.log"
        return path.read_text() if path.exists() else ""

    def run(self, name: str, crash_at: int = 0, sabotage: str = "", limit: float = 60.0) -> int | None:
        """One child in the folder of a name: how it ended, None where it was killed after `limit` seconds."""
        self.out(name).mkdir(exist_ok=True)
        arguments = (self.texts, self.tokenizer, self.out(name) / "c", crash_at, sabotage)
        process: Any = self.server.Process(target=small.child, args=arguments)
        process.start()
        process.join(limit)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            return None
        return int(process.exitcode)


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    return Arena(tmp_path_factory.mktemp("arena"))


def test_a_whole_build_leaves_nothing_beside(arena: Arena) -> None:
    assert sorted(p.name for p in arena.out("whole").iterdir()) == ["c", "c.log"]
    assert {"ledger.json", "dropped.jsonl", "tokens-00001.bin", "MANIFEST.json"} <= arena.whole.keys()


def test_random_kills_change_nothing(arena: Arena) -> None:
    lots, kills, seconds = random.Random(1), 0, arena.seconds
    for number in range(20):  # three builds, and more where a busy machine told too long a time: few were killed then
        if number >= 3 and kills >= 4:
            break
        name = f"killed-{number}"
        for _ in range(6):
            began = time.perf_counter()
            code = arena.run(name, limit=lots.uniform(0, seconds))
            kills += code is None
            if code is not None:
                seconds = min(seconds, time.perf_counter() - began)
                break
        assert arena.run(name) == 0, arena.log(name)
        assert small.contents(arena.out(name) / "c") == arena.whole
        assert "Traceback" not in arena.log(name)
    assert kills >= 4


def test_death_at_a_touch_of_a_file(arena: Arena) -> None:
    last = int(arena.log("whole").split()[-1])
    assert last > 200
    for at in sorted(random.Random(2).sample(range(1, last + 1), 8)):
        name = f"crash-{at}"
        assert arena.run(name, crash_at=at) == -signal.SIGKILL
        assert arena.run(name) == 0, arena.log(name)
        assert small.contents(arena.out(name) / "c") == arena.whole, at


@pytest.mark.parametrize("sabotage", ["doubled", "lost"])
def test_a_doubled_or_lost_document_would_be_found(arena: Arena, sabotage: str) -> None:
    """The negative controls: killed in the middle of tokenization, and gone on with in a wrong way."""
    for at in range(260, 170, -20):
        name = f"{sabotage}-{at}"
        if arena.run(name, crash_at=at) == -signal.SIGKILL:
            if not (restart.work_folder(arena.out(name) / "c") / restart.PROGRESS).exists():
                continue
            arena.run(name, sabotage=sabotage)
            assert small.contents(arena.out(name) / "c") != arena.whole
            return
    raise AssertionError("no build was killed in the middle of tokenization")


def test_another_key_is_another_build(arena: Arena) -> None:
    out = arena.out("keys") / "c"
    assert arena.run("keys", crash_at=40) == -signal.SIGKILL
    with pytest.raises(ModeledgeError, match="E-RESUME"):
        small.build(arena.texts, arena.tokenizer, out, key="other")
    small.build(arena.texts, arena.tokenizer, out, key="other", resume=False)
    assert small.contents(out) == arena.whole


def test_two_builds_at_once_are_refused(arena: Arena) -> None:
    out = arena.out("two") / "c"
    with restart.begun(out, "k", resume=True), pytest.raises(ModeledgeError, match="another process"):
        small.build(arena.texts, arena.tokenizer, out)
