"""The process behind `sandbox.py`: reads one pickle of weights with limits, writes safetensors. Imported by nobody.

    python unpickle.py IN OUT BYTES SECONDS

The one place of this package that opens a pickle, and only with `weights_only=True`; a file that this refuses is
refused, there is no second attempt.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from typing import Any

WRAPPERS = ("state_dict", "model")  # what training scripts put around the weights
FORBIDDEN = ("subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.spawn", "os.fork", "socket.", "ctypes.",
             "os.remove", "os.rename", "os.chmod", "os.mkdir", "shutil.", "pty.", "urllib.")  # fmt: skip


def weights_in(loaded: Any) -> tuple[dict[str, Any], list[str]]:
    """The tensors of what was unpickled, and the names of what was none."""
    import torch

    left: list[str] = []
    for name in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            left += [str(key) for key in loaded if key != name]
            loaded = loaded[name]
    if not isinstance(loaded, Mapping):
        sys.exit(f"it holds a {type(loaded).__name__}, not tensors by name")
    tensors = {str(n): t for n, t in loaded.items() if isinstance(t, torch.Tensor)}
    if len({str(n) for n in loaded}) != len(loaded) or any(t.layout != torch.strided for t in tensors.values()):
        sys.exit("names that are no words, or tensors that are no plain ones")
    left += [str(n) for n, t in loaded.items() if not isinstance(t, torch.Tensor)]
    if not tensors:
        sys.exit("it holds no tensors by name")
    return tensors, left


def limit(memory: int, seconds: int) -> None:
    """Limits that hold from now on: bytes above what the process has, and seconds of the processor."""
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(source: str, target: str, memory: str, seconds: str) -> None:
    """Read, then write."""
    import torch
    from safetensors.torch import save_file

    torch.zeros(2).sum()  # whatever is loaded at the first use is loaded now
    limit(int(memory), int(seconds))

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN) or (event == "open" and str(args[0]) != target and _writes(args)):
            raise PermissionError(f"it wanted {event}")

    sys.addaudithook(watch)
    with open(source, "rb") as file:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    tensors, left = weights_in(loaded)
    save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, target, {"format": "pt"})
    for name in left:
        print("left", ascii(name))


def _writes(args: tuple[Any, ...]) -> bool:
    """Does this `open` write? Its mode is a word or null, its flags a number."""
    mode, flags = str(args[1] or ""), args[2] if len(args) > 2 and isinstance(args[2], int) else 0
    return any(letter in mode for letter in "wax+") or bool(flags & 3)


if __name__ == "__main__":
    main(*sys.argv[1:5])
