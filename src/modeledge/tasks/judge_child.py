"""The process behind `judge_code.py`: runs one program and its tests within limits. Imported by nobody.

    python -I -S -B judge_child.py

It reads its orders as JSON from standard input and answers with one JSON line on what was standard output; the program
itself writes into nothing. The limits of the kernel come first (time, memory, processes, sizes of files), then a hook
on Python's audit events (PEP 578) that refuses other programs, other files and the network, and remembers what it
refused: a program that hides the refusal has failed all the same.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import sys
from collections.abc import Callable
from typing import Any

FORBIDDEN = ("subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "pty.",
             "os.kill", "signal.pthread_kill", "socket.", "ctypes.", "os.chdir", "os.symlink", "os.link", "os.chmod",
             "os.chown", "os.setxattr", "shutil.", "urllib.", "ftplib.", "smtplib.", "imaplib.", "poplib.", "http.",
             "resource.", "mmap.", "syslog.", "sys.addaudithook")  # fmt: skip
MODULES = ("ctypes", "_ctypes", "_posixsubprocess", "multiprocessing", "_multiprocessing", "_posixshmem", "_socket")
PATHS = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "os.listdir", "os.scandir",
         "os.chflags", "os.walk", "glob.glob", "tempfile.")  # fmt: skip
LIBRARY = tuple({os.path.realpath(p) + os.sep for p in (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__))})


class Refused(BaseException):
    """The program wanted what it may not do; no `except Exception` of its own stops this."""


def limit(seconds: int, memory: int, size: int) -> None:
    """Limits of the kernel that hold from now on, and cannot be raised again by an ordinary user."""
    for kind, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, size),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    apart = getattr(os, "unshare", None)  # from Python 3.12: no network of its own, where the kernel lets users do so
    if apart is not None:
        try:
            apart(os.CLONE_NEWUSER | os.CLONE_NEWNET)  # type: ignore[attr-defined]
        except OSError:
            return


def watcher(room: str, refused: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """The hook; all it needs is held here, out of reach of a program that changes modules."""
    real, writing = os.path.realpath, os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    fs, inside = os.fsdecode, room + os.sep

    def outside(path: Any, reading: bool) -> bool:
        if path is None or isinstance(path, int):
            return False
        place = real(fs(path))
        return not (place == room or place.startswith(inside) or (reading and (place + os.sep).startswith(LIBRARY)))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        wrong = event.startswith(FORBIDDEN) or (event == "import" and args[0] in MODULES)
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            wrong = outside(args[0], not (args[2] or 0) & writing)
        elif event.startswith(PATHS):
            reads = event in ("os.listdir", "os.scandir")
            wrong = any(outside(path, reads) for path in args if isinstance(path, str | bytes | os.PathLike))
        if wrong:
            about = f" {args[0]!r}"[:80] if event in ("open", "import") else ""
            refused.append(f"{event}{about}")
            raise Refused(refused[-1])

    return hook


def run(order: dict[str, Any]) -> str:
    """Why the program failed; nothing where it passed."""
    refused: list[str] = []
    sys.addaudithook(watcher(os.getcwd(), refused))
    why = ""
    try:
        runpy.run_path("program.py", run_name="program")
    except MemoryError:
        why = "memory"
    except SystemExit:
        why = "it ended itself before its tests"
    except Refused as error:
        why = f"refused: {error}"
    except BaseException as error:
        why = f"{type(error).__name__}: {error}"[:200]
    return f"refused: {refused[0]}" if refused else why


def main() -> None:
    """Orders in, one line out."""
    order = json.loads(sys.stdin.buffer.read())
    answer, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    limit(order["seconds"], order["memory"], order["size"])
    why = run(order)
    os.write(answer, json.dumps({"seal": order["seal"], "why": why}).encode("ascii", "replace"))
    os._exit(0)


if __name__ == "__main__":
    main()
