"""What this machine is, and the two settings that make a CPU run at its own speed. Free of torch until asked."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from typing import Any

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1


@cache
def tune_malloc() -> bool:
    """Let glibc keep large blocks instead of returning them to the kernel after each use.

    An operation whose output is larger than 32 MiB otherwise pays for fresh pages on every call, which costs more than
    some layers. `MODELEDGE_MALLOC=0` leaves the allocator alone. Returns whether it was tuned.
    """
    if os.environ.get("MODELEDGE_MALLOC") == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def give_back() -> None:
    """Return to the kernel what glibc keeps and nobody uses: between runs of unlike shapes, whose blocks do not fit
    each other (measured: six short runs left 1,056 MB, 595 of them used)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def calm_threads() -> None:
    """Let OpenMP threads that wait at a barrier give up their core soon: call before torch is imported.

    By default they spin, and where another process wants the core every barrier then waits for a whole time slice.
    Variables that are set already are left alone.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@cache
def cpu_flags() -> frozenset[str]:
    """The processor's instruction sets as Linux names them; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                (frozenset(line.split(":")[1].split()) for line in file if line.startswith("flags")), frozenset()
            )
    except OSError:
        return frozenset()


def has_fast_bf16() -> bool:
    """Does this CPU multiply bf16 matrices faster than fp32 ones?"""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def available_memory() -> int | None:
    """Bytes that a process may still take: the kernel's estimate, or what a container leaves; `None` if unknown."""
    found = []
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            found += [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
        limit, used = (
            open(f"/sys/fs/cgroup/memory.{name}", encoding="utf-8").read().strip()  # noqa: SIM115
            for name in ("max", "current")
        )
        if limit != "max":
            found.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def peak_memory(*, reset: bool = False) -> int:
    """The most bytes that this process has had resident, since its start or, on Linux, since the last `reset`."""
    try:
        if reset:
            with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
                file.write("5")
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """The bytes that this process has resident now; where the system does not say, the most that it has had."""
    try:
        with open("/proc/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return peak_memory()


def cpu_name() -> str:
    """The processor's model name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                (line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine()
            )
    except OSError:
        return platform.processor() or platform.machine()


def describe(threads: int | None = None) -> dict[str, Any]:
    """Versions and hardware that a bitwise promise depends on, as plain values for `environment.json`."""
    packages = {}
    for name in ("modeledge", "torch", "numpy", "tokenizers", "safetensors"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "not installed"
    isa = sorted(cpu_flags() & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_vnni"})
    return {
        "python": platform.python_version(),
        "packages": packages,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "instruction_set": isa,
        "cores": os.cpu_count() or 1,
        "threads": threads,
    }
