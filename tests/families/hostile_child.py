"""A child process that is watched: what is done in it is told, and what it must not do is found out.

The hook cannot be taken away again (PEP 578), so each watch is a fork of its own. No program is started, nothing is
connected to, nothing is unpickled, no strange module is imported, and no file is opened outside the model's folder, the
package and the standard library. Memory is limited by the kernel to twice the artifact and a constant.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import modeledge
from modeledge.errors import ModeledgeError

Work = Callable[[], Any]

SPARE = 64 << 20  # bytes beside twice the artifact: what Python and torch take for themselves
SECONDS = 5.0
FORBIDDEN = ("subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.spawn", "os.fork", "os.putenv", "socket.",
             "pickle.", "marshal.", "urllib.", "ftplib.", "http.", "webbrowser.", "code.__new__", "ctypes.dlopen",
             "os.remove", "os.rename", "os.mkdir", "os.chmod", "os.link", "os.symlink", "shutil.")  # fmt: skip
PACKAGES = {"modeledge", "torch", "numpy", "safetensors", "tokenizers", "pydantic", "pydantic_core", "pyarrow"}
HOMES = [
    Path(p).resolve() for p in {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()} if p not in ("", "/")
]
HOMES += [Path(modeledge.__file__).resolve().parent, Path("/proc/self")]


class Watch:
    """What happened in this process; `folder` is what may be opened."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.wrong: list[str] = []
        self.opened: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event.startswith(FORBIDDEN):
            self.wrong.append(f"{event} {args!r:.100}")
        elif event == "import" and str(args[0]).partition(".")[0] not in PACKAGES | sys.stdlib_module_names:
            self.wrong.append(f"import {args[0]}")
        elif event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            path = Path(os.fsdecode(args[0]))
            self.opened.append(str(path))
            real = path.resolve()
            if path.parent != Path("/proc/self") and not any(real.is_relative_to(h) for h in (self.folder, *HOMES)):
                self.wrong.append(f"open {path}")


class Hang(BaseException):
    """Raised by the clock."""


def ring(number: int, frame: Any) -> None:
    raise Hang


@contextlib.contextmanager
def limited(folder: Path) -> Iterator[None]:
    """Memory for twice the files of a folder and a constant; a clock that rings."""
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (now + 2 * size + SPARE, hard))
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def one(watch: Watch, folder: Path, work: Work) -> dict[str, Any]:
    """Do it, and say what came of it: our code, what it returned, or what must not happen."""
    watch.wrong, watch.opened = [], []
    told: dict[str, Any] = {"code": "", "what": ""}
    value = None
    with limited(folder):
        watch.folder = folder.resolve()
        try:
            value = work()
        except ModeledgeError as error:
            told = {"code": error.code, "what": str(error)}
        except Hang:
            told = {"code": "HANG", "what": traceback.format_exc()[-800:]}
        except BaseException:
            told = {"code": "CRASH", "what": traceback.format_exc()[-800:]}
        finally:
            watch.folder = None
    return {**told, "value": value, "wrong": watch.wrong, "opened": watch.opened}


def in_child(
    cases: Sequence[tuple[Path, Work]], after: Callable[[int, Any], str] = lambda n, value: ""
) -> list[dict[str, Any]]:
    """What came of each (folder, work), done one after the other in one forked child.

    `after` looks, unwatched, at what a work returned, and says what is wrong with it. A child that says nothing for
    four times the clock is killed; what it was doing is told.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            watch = Watch()
            sys.addaudithook(watch)
            with os.fdopen(writer, "w") as out:
                for n, (folder, work) in enumerate(cases):
                    told = one(watch, folder, work)
                    if told["code"] == "":
                        told["what"] = after(n, told["value"])
                    out.write(json.dumps({**told, "value": None}) + "\n")
                    out.flush()
        finally:
            os._exit(0)
    os.close(writer)
    lines, data, last = [], b"", time.monotonic()
    with os.fdopen(reader, "rb", buffering=0) as source:
        while True:
            if not select.select([source], [], [], 0.5)[0]:
                if time.monotonic() - last > 4 * SECONDS:
                    os.kill(child, signal.SIGKILL)
                continue
            part = source.read(1 << 16)
            last = time.monotonic()
            if not part:
                break
            data += part
    os.waitpid(child, 0)
    lines = [json.loads(line) for line in data.decode().splitlines()]
    missing = {"code": "DIED", "what": "the child died or hung here", "wrong": [], "opened": []}
    return lines + [missing] * (len(cases) - len(lines))
