"""A generated program is stopped within its limits, whatever it tries, and the reason is told."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from modeledge.errors import ModeledgeError
from modeledge.tasks.judge_code import Limits, judge

QUICK, PATIENT = Limits(seconds=1, memory=256 << 20), Limits(seconds=10, memory=256 << 20)


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def add(a, b):\n    return a + b", ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]),
        ("import math, re, heapq, itertools, collections\nx = math.pi", ["assert x > 3", "import random, string"]),
        ("print('x' * 10**6)\nopen('mine.txt', 'w').write('a')", ["assert open('mine.txt').read() == 'a'"]),
        ("import os\nos.mkdir('d')\nos.remove('program.py')", ["assert os.listdir('.') == ['d']"]),
        ("def ä():\n    return '日'", ["assert ä() == '日'"]),
    ],
)
def test_a_right_program_passes(program: str, tests: list[str]) -> None:
    verdict = judge(program, tests)
    assert (verdict.passed, verdict.why) == (True, "")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("x = 1\nassert x == 2", "AssertionError"),
        ("def broken(:", "SyntaxError"),
        ("raise KeyError('k')", "KeyError"),
        ("import sys\nsys.exit(0)", "ended itself"),
        ("import os\nos._exit(0)", "ended itself"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("import numpy", "ModuleNotFoundError"),
        ("while True: pass", "time"),
        ("import time\ntime.sleep(60)", "time"),
        ("try:\n    while True: pass\nexcept BaseException: pass", "time"),
        ("x = []\nwhile True: x.append(bytearray(10**7))", "memory"),
        ("x = ' ' * 10**12", "memory"),
        ("import os\nwhile True: os.fork()", "refused: os.fork"),
        ("import subprocess\nsubprocess.run(['true'])", "refused"),
        ("import os\nos.system('true')", "refused: os.system"),
        ("import os\nos.execv('/bin/true', ['true'])", "refused: os.exec"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "refused: import '_socket'"),
        ("import multiprocessing", "refused"),
        ("import ctypes", "refused"),
        ("open('/etc/hostname').read()", "refused: open"),
        ("import os\nos.listdir('/')", "refused: os.listdir"),
        ("import os\nos.kill(os.getppid(), 9)", "refused: os.kill"),
        ("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))", "refused: resource"),
        ("try:\n    open('/etc/hostname')\nexcept BaseException:\n    pass", "refused: open"),
        ("open('big', 'wb').write(b'x' * 10**8)", "OSError"),
    ],
)
def test_a_wrong_program_fails_within_its_limits(program: str, why: str) -> None:
    begun = time.monotonic()
    limits = QUICK if why == "time" else PATIENT  # a busy machine must not make another failure look like this one
    verdict = judge(program, ["pass"], limits)
    assert not verdict.passed
    assert why in verdict.why
    assert time.monotonic() - begun < 2 * limits.seconds + 5


def test_nothing_outside_is_written(tmp_path: Path) -> None:
    target, kept = tmp_path / "out.txt", tmp_path / "kept.txt"
    kept.write_text("kept")
    for act in (f"open({str(target)!r}, 'w')", f"import os\nos.remove({str(kept)!r})",
                f"import os\nos.rename({str(kept)!r}, 'x')", f"import os\nos.symlink({str(tmp_path)!r}, 'l')",
                "import pathlib\npathlib.Path('../out.txt').write_text('x')"):  # fmt: skip
        verdict = judge(act, [], PATIENT)
        assert not verdict.passed
        assert "refused" in verdict.why
    assert not target.exists()
    assert kept.read_text() == "kept"


def test_neither_environment_nor_descriptors_are_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "word")
    with socket.socket() as listening:
        os.set_inheritable(listening.fileno(), True)
        seen = (
            "import os\nopened = []\nfor n in range(3, 30):\n    try:\n        os.fstat(n)\n        opened.append(n)\n"
        )
        seen += "    except OSError: pass\n"
        # what is open is the child's own answer, and nothing of ours
        verdict = judge(seen, ["assert 'SECRET' not in os.environ", "assert len(opened) <= 2, opened"], PATIENT)
    assert verdict.why == ""


def test_what_is_left_running_is_killed() -> None:
    """A thread that never ends does not keep the judge."""
    begun = time.monotonic()
    verdict = judge("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()", [], QUICK)
    assert time.monotonic() - begun < 40
    assert verdict.passed or "thread" in verdict.why or verdict.why == "time"


def test_an_answer_without_the_seal_is_none() -> None:
    """A program that writes `passed` to every descriptor has not passed."""
    lie = 'import os\nsaid = b\'{"seal": "0", "why": ""}\'\n'
    lie += "for n in range(9):\n    try: os.write(n, said)\n    except OSError: pass\n"
    assert not judge(lie + "os._exit(0)", [], PATIENT).passed


def test_limits_that_no_program_fits_are_refused() -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        Limits(seconds=0)
