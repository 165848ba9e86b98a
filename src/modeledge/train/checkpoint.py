"""Checkpoints that are whole or absent: safetensors and JSON in a folder that is renamed into place when its manifest
is written. `latest` is computed, the highest step whose manifest verifies, and never stored."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from modeledge import files
from modeledge.errors import ModeledgeError

SCHEMA = 1


class Checkpoints:
    """The folder `checkpoints/` of a run, with one folder `step-N` a checkpoint; those of the steps `keep` stay."""

    def __init__(
        self, folder: Path, *, keep_last: int = 2, disk_cap: int = 20 * 2**30, keep: Collection[int] = ()
    ) -> None:
        self.folder, self.keep_last, self.disk_cap, self.keep = folder, keep_last, disk_cap, frozenset(keep)

    def save(
        self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, best: int | None = None
    ) -> Path:
        """Commit one checkpoint, then prune: the last `keep_last`, the best one and those of `keep` stay."""
        final = self.folder / f"step-{step}"
        if final.exists():
            with contextlib.suppress(ModeledgeError):
                files.verify_folder(final)
                return final
            files.remove_folder(final)
        plain = {name: value.detach().to("cpu").contiguous() for name, value in tensors.items()}
        self._check_room(sum(t.numel() * t.element_size() for t in plain.values()))
        with files.committed_folder(final, {"schema": SCHEMA, "step": step}) as temporary:
            _save_tensors(plain, temporary / "state.safetensors")
            files.write_json(temporary / "state.json", state)
        self.prune(best)
        return final

    def steps(self) -> list[int]:
        """The steps that have a folder, lowest first; nothing is verified."""
        found = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(name) for name in found if name.isdigit())

    def load(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """One checkpoint, after its manifest was verified; `E-CHECKPOINT` names what is wrong."""
        folder = self.folder / f"step-{step}"
        manifest = files.verify_folder(folder)
        if manifest.get("schema") != SCHEMA or manifest.get("step") != step:
            what = f"schema {manifest.get('schema')}, step {manifest.get('step')} instead of {SCHEMA}, {step}"
            raise ModeledgeError("E-CHECKPOINT", what, where=str(folder))
        try:
            return load_file(folder / "state.safetensors"), files.read_json(folder / "state.json")
        except (SafetensorError, ValueError, OSError) as error:
            raise ModeledgeError("E-CHECKPOINT", str(error), where=str(folder)) from error

    def latest(self, say: Callable[[str], None]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint that verifies; each one passed over is said aloud. `None` where there is none."""
        files.remove_stale(self.folder)
        for step in reversed(self.steps()):
            try:
                return self.load(step)
            except ModeledgeError as error:
                say(f"{error}")
        return None

    def prune(self, best: int | None) -> None:
        """Remove all but the last `keep_last`, the best one and those of `keep`; beyond the disk cap the oldest."""
        steps = self.steps()
        needed = self.keep | ({best} if best is not None else set())
        keep = set(steps[-self.keep_last :]) | needed
        sizes = {step: _size(self.folder / f"step-{step}") for step in steps}
        for step in steps[:-1]:
            over = sum(sizes.values()) > self.disk_cap and step not in needed
            if step not in keep or over:
                files.remove_folder(self.folder / f"step-{step}")
                sizes.pop(step)

    def _check_room(self, needed: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < needed * 1.2:
            what = f"{free:,} bytes are free, a checkpoint needs {int(needed * 1.2):,}"
            raise ModeledgeError("E-DISK", what, where=str(self.folder))


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise ModeledgeError("E-DISK", str(error), where=str(path)) from error


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
