"""Does a program pass its tests? It is run to find out, in a process of its own with limits.

Running what a model wrote is running a stranger's program, so nothing here runs unless it is asked for by name
(`run_code`), and never because a file says so. The child is Python in isolated mode (`-I -S`: no environment, no
site-packages, no user folder), in an empty temporary folder, in a session of its own whose process group is killed at
the end, without inherited descriptors. The kernel limits its seconds of processor, its memory, its files and (for users
other than root) its processes; a hook on audit events refuses programs, sockets and files outside.

**What this protects from**: the accidents of generated code, such as endless loops, memory that grows without end, fork
bombs, deleted files, stray connections. **What it does not**: a program written to break out. An audit hook lives in
the process that it watches (PEP 578 says so itself: it is no sandbox), a bug of the interpreter gets round it, a file
that other users may read in Python's own folders can be read, and a machine can still be kept busy up to the limits.
Against that, run the whole judge in a container or a virtual machine without a network. POSIX only; where the kernel
does not enforce `RLIMIT_AS` (macOS), memory is not limited.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledge.errors import ModeledgeError, printable

CHILD = Path(__file__).with_name("judge_child.py")


@dataclass(frozen=True)
class Limits:
    """Seconds of processor and twice as many of the clock, bytes of memory, bytes a file."""

    seconds: int = 5
    memory: int = 512 << 20
    size: int = 1 << 20

    def __post_init__(self) -> None:
        if min(self.seconds, self.size) < 1 or self.memory < 64 << 20:
            what = f"{self.seconds} seconds, {self.memory} bytes of memory, {self.size} bytes a file"
            raise ModeledgeError("E-USAGE", f"no program runs in {what}", remedy="give at least 1 s and 64 MiB")


@dataclass(frozen=True)
class Verdict:
    """Did the program pass, and if not why: `time`, `memory`, `refused: …`, an error of Python, or a signal."""

    passed: bool
    why: str = ""
    seconds: float = 0.0


def judge(program: str, tests: Sequence[str], limits: Limits = Limits()) -> Verdict:
    """Run the program, then its tests (statements that raise where it is wrong), as one file.

    Raises `E-USAGE` on a system without POSIX limits.
    """
    if os.name != "posix":
        raise ModeledgeError("E-USAGE", "programs are judged on POSIX systems only", remedy="use Linux, or a container")
    seal, begun = secrets.token_hex(16), time.monotonic()
    order = {"seconds": limits.seconds, "memory": limits.memory, "size": limits.size, "seal": seal}
    with tempfile.TemporaryDirectory(prefix="judge-") as made:
        room = os.path.realpath(made)
        text = "\n".join([program, *tests]) + "\n"
        (Path(room) / "program.py").write_text(text, encoding="utf-8", errors="backslashreplace")
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(CHILD)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=room, env={}, close_fds=True, start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = child.communicate(json.dumps(order).encode(), timeout=2 * limits.seconds + 1)
            why = _why(child.returncode, said, seal)
        except subprocess.TimeoutExpired:
            why = "time"
        finally:
            _end(child)
    return Verdict(why == "", why, time.monotonic() - begun)


def _why(status: int, said: bytes, seal: str) -> str:
    """The child's reason; only an answer with the seal is one."""
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return "time"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    try:
        told = json.loads(said)
        if told["seal"] == seal:
            return printable(str(told["why"]))
    except (ValueError, TypeError, KeyError):
        pass
    return "it ended itself before its tests"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the child's process group, and wait for the child."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
