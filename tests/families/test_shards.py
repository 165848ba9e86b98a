"""Weights in several files: read, kept as they were cut, cut anew, and never half of one model beside another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from families_small import CASES
from safetensors.torch import load_file

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.families.folder import INDEX
from modeledge.families.rules import same_bits
from modeledge.families.shards import place


@pytest.fixture
def cut(saved: dict[str, Any], tmp_path: Path) -> Path:
    """A model that the reference library cut into shards."""
    saved[str(CASES[3])][0].save_pretrained(tmp_path / "cut", max_shard_size="5KB")
    return tmp_path / "cut"


def shards(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.name: load_file(path) for path in sorted(folder.glob("*.safetensors"))}


def assert_same_shards(one: Path, two: Path) -> None:
    first, second = shards(one), shards(two)
    assert {name: sorted(part) for name, part in first.items()} == {n: sorted(part) for n, part in second.items()}
    assert all(same_bits(t, second[file][name]) for file, part in first.items() for name, t in part.items())


def test_shards_are_kept_as_they_were_cut(cut: Path, tmp_path: Path) -> None:
    assert len(shards(cut)) > 2
    save_model(load_model(cut), tmp_path / "again")
    assert_same_shards(cut, tmp_path / "again")
    said = [json.loads((folder / INDEX).read_text()) for folder in (cut, tmp_path / "again")]
    assert said[0]["weight_map"] == said[1]["weight_map"]
    assert said[0]["metadata"]["total_size"] == said[1]["metadata"]["total_size"]


def test_large_models_are_cut_as_the_reference_library_names_it(saved: dict[str, Any], hf: Any, tmp_path: Path) -> None:
    reference, folder = saved[str(CASES[7])]
    model = load_model(folder)
    save_model(model, tmp_path, shard_bytes=9000)
    parts = shards(tmp_path)
    assert sorted(parts) == [f"model-{n + 1:05}-of-{len(parts):05}.safetensors" for n in range(len(parts))]
    assert len(parts) > 2
    assert all(len(part) == 1 or sum(t.nbytes for t in part.values()) <= 9000 for part in parts.values())
    said = json.loads((tmp_path / INDEX).read_text())
    assert said["metadata"]["total_size"] == sum(t.nbytes for part in parts.values() for t in part.values())
    theirs = type(reference).from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in reference.state_dict().items())
    again = load_model(tmp_path).state_dict()
    assert all(same_bits(tensor, again[name]) for name, tensor in model.state_dict().items())


def test_a_model_with_other_weights_is_cut_anew(cut: Path, tmp_path: Path) -> None:
    model = load_model(cut)
    del model.heads["lm"]
    save_model(model, tmp_path / "body")
    assert list(shards(tmp_path / "body")) == ["model.safetensors"]


@pytest.mark.parametrize("first", [100, 10**9])
def test_no_file_of_the_model_before_is_left(cut: Path, tmp_path: Path, first: int) -> None:
    model = load_model(cut)
    model.origin.placed = {}
    save_model(model, tmp_path / "out", shard_bytes=first)
    save_model(model, tmp_path / "out", shard_bytes=5000 if first > 5000 else 10**9)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    single = first < 5000
    assert ("model.safetensors" in names) == single
    assert (INDEX in names) != single
    assert len({name.partition("-of-")[2] for name in names if "-of-" in name}) == (0 if single else 1)
    load_model(tmp_path / "out")


def test_a_disk_that_is_full_leaves_the_old_model(cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(cut)
    save_model(model, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    calls = []

    def full(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("modeledge.families.weights.files.sync_file", full)
    with pytest.raises(ModeledgeError, match="E-DISK"):
        save_model(model, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_places() -> None:
    tensors = {name: torch.zeros(size) for name, size in (("a", 2), ("b", 2), ("c", 9), ("d", 1))}
    first, second, third = (f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))
    assert place(tensors, 16, {}) == {"a": first, "b": first, "c": second, "d": third}
    assert set(place(tensors, 1000, {}).values()) == {"model.safetensors"}
    before = dict.fromkeys(tensors, "x.safetensors")
    assert place(tensors, 16, before) == before
    assert place({"a": tensors["a"]}, 16, before) == {"a": "model.safetensors"}


def test_a_shard_too_many_is_refused(cut: Path) -> None:
    said = json.loads((cut / INDEX).read_text())
    said["weight_map"] |= {f"x{n}": f"x{n}.safetensors" for n in range(600)}
    (cut / INDEX).write_text(json.dumps(said))
    with pytest.raises(ModeledgeError, match="500 are allowed"):
        load_model(cut)


def test_the_cache_of_a_hub_is_no_link_out(saved: dict[str, Any], tmp_path: Path) -> None:
    """Snapshots point to the blobs of their own repository; other links out of a folder are refused."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    for path in saved[str(CASES[1])][1].iterdir():
        shutil.copy(path, blobs / path.name)
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", path.name))
    load_model(snapshot)
    shutil.copytree(snapshot, tmp_path / "elsewhere", symlinks=True)
    with pytest.raises(ModeledgeError, match="E-"):
        load_model(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "config.json").unlink()
    (tmp_path / "elsewhere" / "config.json").symlink_to(blobs / "config.json")
    with pytest.raises(ModeledgeError, match="E-UNSAFE-PATH"):
        load_model(tmp_path / "elsewhere")
