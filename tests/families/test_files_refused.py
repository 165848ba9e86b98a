"""Files that are damaged, dangerous or lead elsewhere are refused before a library sees them."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from families_small import refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.families.weights import MAX_ENTRIES, read_weights


class Trap:
    """A pickle that would leave a trace if it were read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
@pytest.mark.parametrize("zipped", [False, True])
def test_no_pickle_is_read_under_any_name(bert: Path, name: str, zipped: bool) -> None:  # case 89
    (bert / "model.safetensors").unlink()
    data = pickle.dumps(Trap(bert / "sprung"))
    if zipped:
        with zipfile.ZipFile(bert / name, "w") as archive:
            archive.writestr("archive/data.pkl", data)
    else:
        (bert / name).write_bytes(data)
    refused(bert, "E-UNSAFE-FORMAT", name, "pickle files can run code", "sandbox")
    if not name.endswith("tensors"):
        refused(bert / name, "E-UNSAFE-FORMAT", name)
    assert not (bert / "sprung").exists()


def test_folders_that_hold_no_model(bert: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "E-NO-FILE")
    refused(bert / "config.json", "E-NOT-A-FILE", "name the folder")
    (bert / "model.safetensors").unlink()
    refused(bert, "E-NO-FILE", "model.safetensors")


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(start: int, stop: int, shape: list[Any] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"\x01\x00", "2 bytes"),
        (packed({}, length=1 << 60), "announces a header of 1,152,921,504,606,846,976 bytes"),
        (packed(b"{" + b" " * (33 << 20) + b"}"), "are allowed"),
        (packed(b"{nonsense"), "not JSON"),
        (packed(b'{"a": 1, "a": 2}'), "twice"),
        (packed(b'{"\xff": 1}'), "not UTF-8"),
        (packed({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "overlap"),
        (packed({"a": entry(0, 8), "b": entry(12, 16)}, bytes(16)), "hole"),
        (packed({"a": entry(0, 8)}, bytes(4)), "8 bytes, the file has 4"),
        (packed({"a": entry(0, 8)}, bytes(12)), "8 bytes, the file has 12"),
        (packed({"a": entry(0, 8, [3])}, bytes(8)), "does not have the 8 bytes"),
        (packed({"a": entry(0, 8, dtype="F64")}, bytes(8)), "does not have the 8 bytes"),
        (packed({"a": entry(0, 8, dtype="F31")}, bytes(8)), "unknown dtype"),
        (packed({"a": entry(8, 0, [0])}, bytes(8)), "'a'"),
        (packed({"a": entry(-8, 0, [2])}, bytes(8)), "'a'"),
        (packed({"a": entry(0, 8, [True, 2])}, bytes(8)), "'a'"),
        (packed({"a": {"dtype": "F32"}}), "fields"),
        (packed({"__metadata__": {"a": 1}}), "__metadata__"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_damaged_safetensors_are_named(bert: Path, data: bytes, words: str) -> None:  # case 90
    (bert / "model.safetensors").write_bytes(data)
    refused(bert, "E-SAFETENSORS", words)


def test_entries_are_counted(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # case 90
    assert MAX_ENTRIES == 100_000
    monkeypatch.setattr("modeledge.families.weights.MAX_ENTRIES", 2)
    (bert / "model.safetensors").write_bytes(packed({f"t{i}": entry(0, 0) for i in range(3)}))
    refused(bert, "E-SAFETENSORS", "3 tensors; 2 are allowed")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.none() | st.floats(0, 1))
def test_no_altered_byte_gives_another_error(tmp_path: Path, place: float, value: int, cut: float | None) -> None:
    """Any one byte, any end: the file is read or refused by us, never by a traceback of a library."""
    data = bytearray(save({"a": torch.ones(2, 3), "b": torch.zeros(1, dtype=torch.bfloat16)}))
    data[int(place * (len(data) - 1))] = value
    path = tmp_path / "x.safetensors"
    path.write_bytes(data if cut is None else data[: int(cut * len(data))])
    try:
        tensors, _ = read_weights(path)
        assert sum(t.numel() for t in tensors.values()) == 7
    except ModeledgeError as error:
        assert error.code in ("E-SAFETENSORS", "E-UNSAFE-FORMAT")  # noqa: PT017


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/x.safetensors",
        "a/../../x.safetensors",
        "C:\\x.safetensors",
        "..\\x.safetensors",
        "",
        "\\\\host\\x.safetensors",
    ],
)
def test_an_index_leads_nowhere_else(bert: Path, name: str) -> None:
    shutil.copy(bert / "model.safetensors", bert.parent / "model.safetensors")
    names = load_file(bert / "model.safetensors")
    (bert / "model.safetensors").unlink()
    (bert / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, name)}))
    refused(bert, "E-UNSAFE-PATH", "leads out of the folder")


def test_an_index_must_say_what_the_shards_hold(bert: Path) -> None:
    names = list(load_file(bert / "model.safetensors"))
    (bert / "model.safetensors").rename(bert / "one.safetensors")
    index = bert / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "one.safetensors")}))
    load_model(bert)
    for placed, code, words in (
        (dict.fromkeys(names[1:], "one.safetensors"), "E-KEYS", f"{names[0]} (one.safetensors) is not listed"),
        (dict.fromkeys([*names, "new"], "one.safetensors"), "E-KEYS", "new (one.safetensors) is not where"),
        (dict.fromkeys(names, "two.safetensors"), "E-NO-FILE", "two.safetensors"),
        (dict.fromkeys(names, "pytorch_model.bin"), "E-UNSAFE-FORMAT", "pytorch_model.bin"),
        (dict.fromkeys(names, "one.h5"), "E-SAFETENSORS", "one.h5"),
        ([], "E-SAFETENSORS", "weight_map"),
        ({"a": 1}, "E-SAFETENSORS", "weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": placed}))
        refused(bert, code, words)
