"""A checkpoint is whole or it does not count; what was damaged is named and passed over."""

from __future__ import annotations

import errno
import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.train import Checkpoints


def value(step: int) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3, 4), float(step)), "b": torch.arange(5) + step, "empty": torch.zeros(0)}


def state(step: int) -> dict[str, object]:
    return {"done": step, "text": "é\u2028"}


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep_last=3)
    for step in (1, 2, 3):
        checkpoints.save(step, value(step), state(step))
    return checkpoints


def found(checkpoints: Checkpoints) -> tuple[int | None, list[str]]:
    """The step that `latest` chose, and what it said on the way."""
    said: list[str] = []
    newest = checkpoints.latest(said.append)
    if newest is None:
        return None, said
    step = int(newest[1]["done"])
    assert newest[1] == state(step)
    assert all(torch.equal(newest[0][name], tensor) for name, tensor in value(step).items())
    return step, said


def test_the_newest_is_found(kept: Checkpoints) -> None:
    assert found(kept) == (3, [])
    assert found(Checkpoints(kept.folder.parent / "none")) == (None, [])


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_anywhere_is_found(kept: Checkpoints, seed: int) -> None:
    lots = random.Random(seed)
    path = lots.choice(sorted(p for p in (kept.folder / "step-3").iterdir()))
    data = bytearray(path.read_bytes())
    data[lots.randrange(len(data))] ^= 1 << lots.randrange(8)
    path.write_bytes(bytes(data))
    step, said = found(kept)
    assert step == 2
    assert len(said) == 1
    assert "E-CHECKPOINT" in said[0]
    assert "step-3" in said[0]


def cut(folder: Path) -> None:
    path = folder / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def grown(folder: Path) -> None:
    with (folder / "state.json").open("a") as file:
        file.write(" ")


def swapped(folder: Path) -> None:
    shutil.copy(folder.parent / "step-2" / "state.safetensors", folder / "state.safetensors")


def renamed(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "step-2", folder)


def newer(folder: Path) -> None:
    manifest = folder / files.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": 99}))


DAMAGE = {
    "cut short": (cut, "state.safetensors"),
    "grown": (grown, "state.json"),
    "a file gone": (lambda folder: (folder / "state.json").unlink(), "state.json is missing"),
    "a file too many": (lambda folder: (folder / "more").write_text("x"), "more is not in the manifest"),
    "a file of another step": (swapped, "state.safetensors"),
    "another step under this name": (renamed, "step 2"),
    "no manifest": (lambda folder: (folder / files.MANIFEST).unlink(), "MANIFEST.json is missing"),
    "an empty manifest": (lambda folder: (folder / files.MANIFEST).write_text(""), "MANIFEST.json cannot be read"),
    "a manifest of a list": (lambda folder: (folder / files.MANIFEST).write_text("[]"), "MANIFEST.json cannot be read"),
    "a later schema": (newer, "schema 99"),
    "an empty folder": (lambda folder: [p.unlink() for p in folder.iterdir()], "MANIFEST.json is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_damage_is_named_and_passed_over(kept: Checkpoints, damage: str) -> None:
    spoil, words = DAMAGE[damage]
    spoil(kept.folder / "step-3")
    step, said = found(kept)
    assert step == 2
    assert words in said[0]


def test_a_damaged_checkpoint_is_written_again(kept: Checkpoints) -> None:
    cut(kept.folder / "step-3")
    kept.save(3, value(3), state(3))
    assert found(kept) == (3, [])


def test_what_a_killed_save_left_is_removed(kept: Checkpoints) -> None:
    stale = kept.folder / ".step-4.tmp-abcd1234"
    shutil.copytree(kept.folder / "step-3", stale)
    assert found(kept) == (3, [])
    assert not stale.exists()


def test_the_last_ones_and_the_best_one_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step in range(1, 8):
        checkpoints.save(step, value(step), state(step), best=3 if step >= 3 else None)
    assert checkpoints.steps() == [3, 6, 7]


def test_the_cap_takes_the_oldest_first_and_never_the_newest(tmp_path: Path) -> None:
    first = Checkpoints(tmp_path, keep_last=9)
    first.save(1, value(1), state(1))
    size = sum(p.stat().st_size for p in (tmp_path / "step-1").iterdir())
    checkpoints = Checkpoints(tmp_path, keep_last=9, disk_cap=int(size * 2.5))
    for step in (2, 3, 4):
        checkpoints.save(step, value(step), state(step))
    assert checkpoints.steps() == [3, 4]
    Checkpoints(tmp_path, disk_cap=1).save(5, value(5), state(5))
    assert checkpoints.steps() == [5]


def test_a_full_disk_is_known_before_a_byte_is_written(kept: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))  # type: ignore[attr-defined]
    with pytest.raises(ModeledgeError, match="E-DISK") as caught:
        kept.save(4, value(4), state(4))
    assert "10 bytes are free" in str(caught.value)
    assert found(kept) == (3, [])


@pytest.mark.parametrize("name", ["fsync", "rename"])
def test_a_disk_that_fails_while_saving_leaves_the_others(
    kept: Checkpoints, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, name, fail)
        with pytest.raises(ModeledgeError, match="E-DISK"):
            kept.save(4, value(4), state(4))
    assert [p.name for p in sorted(kept.folder.iterdir())] == ["step-1", "step-2", "step-3"]
    assert found(kept) == (3, [])
